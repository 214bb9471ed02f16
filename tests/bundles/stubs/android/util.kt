package android.util

class Size { val width: Int get() = TODO(); val height: Int get() = TODO() }

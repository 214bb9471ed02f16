@file:Suppress("UNUSED_PARAMETER", "unused")

package android.widget

import android.content.Context
import android.graphics.Bitmap
import android.view.View
import android.view.ViewGroup

open class TextView(context: Context) : View(context) { var text: CharSequence? = ""; var textSize: Float = 0f }
class Button(context: Context) : TextView(context)
class ImageView(context: Context) : View(context) {
    fun setImageBitmap(bitmap: Bitmap?) {}
    fun setImageDrawable(drawable: Nothing?) {}
}
open class FrameLayout(context: Context) : ViewGroup(context) {
    class LayoutParams(width: Int, height: Int) : ViewGroup.LayoutParams(width, height)
}
class LinearLayout(context: Context) : ViewGroup(context) {
    class LayoutParams(width: Int, height: Int, weight: Float) : ViewGroup.LayoutParams(width, height) {
        constructor(width: Int, height: Int) : this(width, height, 0f)
    }
    var orientation: Int = 0
    companion object { const val VERTICAL = 1 }
}

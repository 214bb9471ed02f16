@file:Suppress("UNUSED_PARAMETER", "unused")

package android.view

open class View(context: android.content.Context) {
    var visibility: Int = 0
    fun setBackgroundColor(color: Int) {}
    fun setPadding(left: Int, top: Int, right: Int, bottom: Int) {}
    fun setOnClickListener(listener: OnClickListener?) {}
    fun interface OnClickListener { fun onClick(view: View) }
    companion object { const val VISIBLE = 0; const val INVISIBLE = 4 }
}
open class ViewGroup(context: android.content.Context) : View(context) {
    open class LayoutParams(width: Int, height: Int) {
        companion object { const val MATCH_PARENT = -1; const val WRAP_CONTENT = -2 }
    }
    fun addView(view: View, params: LayoutParams) {}
}

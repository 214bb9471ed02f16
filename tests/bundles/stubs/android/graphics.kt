// As much of android.graphics as the app calls.
@file:Suppress("UNUSED_PARAMETER", "unused")

package android.graphics

class Bitmap {
    enum class Config { ARGB_8888 }
    val width: Int get() = TODO()
    val height: Int get() = TODO()
    fun getPixels(pixels: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int) {}
    fun setPixel(x: Int, y: Int, color: Int) {}
    companion object {
        @JvmStatic fun createBitmap(width: Int, height: Int, config: Config): Bitmap = TODO()
        @JvmStatic fun createBitmap(colors: IntArray, width: Int, height: Int, config: Config): Bitmap = TODO()
        @JvmStatic fun createBitmap(source: Bitmap, x: Int, y: Int, width: Int, height: Int, m: Matrix?, filter: Boolean): Bitmap = TODO()
    }
}
object BitmapFactory {
    class Options { @JvmField var inScaled: Boolean = true }
    fun decodeStream(stream: java.io.InputStream, outPadding: Rect?, options: Options?): Bitmap? = TODO()
}
class Rect
class RectF(@JvmField var left: Float, @JvmField var top: Float, @JvmField var right: Float, @JvmField var bottom: Float) {
    constructor() : this(0f, 0f, 0f, 0f)
}
class Canvas(bitmap: Bitmap) {
    fun drawRect(rect: RectF, paint: Paint) {}
    fun drawRect(left: Float, top: Float, right: Float, bottom: Float, paint: Paint) {}
    fun drawText(text: String, x: Float, y: Float, paint: Paint) {}
}
class Paint(flags: Int) {
    constructor() : this(0)
    enum class Style { STROKE }
    var style: Style = Style.STROKE
    var strokeWidth: Float = 0f
    var textSize: Float = 0f
    var color: Int = 0
    fun measureText(text: String): Float = TODO()
    companion object { const val ANTI_ALIAS_FLAG = 1 }
}
object Color {
    const val WHITE = -1
    const val BLACK = -16777216
    fun HSVToColor(hsv: FloatArray): Int = TODO()
}
class Matrix { fun postRotate(degrees: Float): Boolean = TODO() }
class ImageDecoder {
    class ImageInfo { val size: android.util.Size get() = TODO() }
    class Source
    fun interface OnHeaderDecodedListener { fun onHeaderDecoded(decoder: ImageDecoder, info: ImageInfo, source: Source) }
    var allocator: Int = 0
    fun setTargetSampleSize(size: Int) {}
    companion object {
        const val ALLOCATOR_SOFTWARE = 1
        @JvmStatic fun createSource(resolver: android.content.ContentResolver, uri: android.net.Uri): Source = TODO()
        @JvmStatic fun decodeBitmap(source: Source, listener: OnHeaderDecodedListener): Bitmap = TODO()
    }
}

package @ID@

import android.graphics.Bitmap
import android.graphics.RectF
import java.util.Locale

/** A class in a picture: its probability, score, or share of the pixels, and for objects where it is. */
class Found(val label: Int, val name: String, val share: Float, val box: RectF? = null) {
    override fun toString(): String = String.format(Locale.getDefault(), "%s  %.1f %%", name, 100 * share)
}

/** What was found, and a drawing of it that lies over the picture. */
class Answer(val found: List<Found>, val drawing: Bitmap? = null)

/** The pixels of a picture as the reader takes them. */
fun pixelsOf(picture: Bitmap): IntArray = IntArray(picture.width * picture.height).also {
    picture.getPixels(it, 0, picture.width, 0, 0, picture.width, picture.height)
}

import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Paint
import android.graphics.RectF
import kotlin.math.abs
import kotlin.math.max
import org.json.JSONObject

/** The answer of a detector: objects, drawn as boxes. */
object Answers {
    @Suppress("UNUSED_PARAMETER")
    fun of(picture: Bitmap, model: Model, names: List<String>, threshold: Float = 0.3f, most: Int = 0): Answer {
        val input = PhonecvReader.preprocess(pixelsOf(picture), picture.width, picture.height)
        val outputs = model.run(input.values)
        fun floats(name: String) = outputs.getValue(name).floats
//if raw
        val every = PhonecvReader.detections(floats("class_logits"), floats("box_codes"), input, threshold)
//end
//if boxes
        val every = PhonecvReader.detections(floats("scores"), floats("boxes"), input, threshold)
//end
//if final
        val labels = outputs.getValue("labels").ints
        val every = PhonecvReader.detections(floats("boxes"), floats("scores"), labels, input, threshold)
//end
//if masks
        val masks = floats("masks")
//end
        val drawing = Bitmap.createBitmap(picture.width, picture.height, Bitmap.Config.ARGB_8888)
        val canvas = Canvas(drawing)
        val unit = max(picture.width, picture.height) / 400f
        val line = Paint().apply {
            style = Paint.Style.STROKE
            strokeWidth = 2 * unit
        }
        val text = Paint(Paint.ANTI_ALIAS_FLAG).apply { textSize = 11 * unit }
        val found = every.map { one ->
            Found(one.label, names[one.label], one.score, RectF(one.left, one.top, one.right, one.bottom))
        }
        for (place in found.indices.reversed()) { // the best on top
            val one = found[place]
            val box = RectF(every[place].left, every[place].top, every[place].right, every[place].bottom)
            line.color = Color.HSVToColor(floatArrayOf(one.label * 137.5f % 360f, 0.9f, 0.85f))
//if masks
            val mask = PhonecvReader.mask(masks, every[place], input)
            val tint = (line.color and 0xFFFFFF) or (120 shl 24)
            for (y in 0 until mask.height) for (x in 0 until mask.width) {
                if (mask.inside[y * mask.width + x]) drawing.setPixel(mask.left + x, mask.top + y, tint)
            }
//end
            canvas.drawRect(box, line)
            text.color = line.color
            val top = max(0f, box.top - 15 * unit)
            canvas.drawRect(box.left, top, box.left + text.measureText(one.toString()) + 6 * unit, top + 15 * unit, text)
            text.color = Color.WHITE
            canvas.drawText(one.toString(), box.left + 3 * unit, top + 11 * unit, text)
        }
        return Answer(found, drawing)
    }

    /**
     * How far this is from a bundle's expected.json: the largest difference of a score, or of a side as a share of the
     * picture; 1 where an object is not found at all.
     */
    fun difference(answer: Answer, expected: JSONObject): Float {
        val longest = max(expected.getInt("width"), expected.getInt("height"))
        val objects = expected.getJSONArray("objects")
        return (0 until objects.length()).map { objects.getJSONObject(it) }.maxOfOrNull { wanted ->
            fun number(name: String) = wanted.getDouble(name).toFloat()
            answer.found.filter { it.label == wanted.getInt("label") }.minOfOrNull { one ->
                val box = one.box ?: RectF()
                val sides = listOf("left" to box.left, "top" to box.top, "right" to box.right, "bottom" to box.bottom)
                max(abs(one.share - number("score")), sides.maxOf { (name, side) -> abs(side - number(name)) } / longest)
            }?.coerceAtMost(1f) ?: 1f
        } ?: 0f
    }
}

import android.graphics.Bitmap
import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min
import kotlin.math.roundToInt
import org.json.JSONObject

/** The answer of a segmenter: colours of the classes, and their shares. */
object Answers {
    /** `most`: pixels of the map's longer side; fewer are faster. */
    @Suppress("UNUSED_PARAMETER")
    fun of(picture: Bitmap, model: Model, names: List<String>, threshold: Float = 0f, most: Int = 384): Answer {
        val input = PhonecvReader.preprocess(pixelsOf(picture), picture.width, picture.height)
        val scale = min(1f, most.toFloat() / max(picture.width, picture.height))
        val height = max(1, (picture.height * scale).roundToInt())
        val width = max(1, (picture.width * scale).roundToInt())
//if raw
        val logits = model.run(input.values).getValue("logits")
        val (mapHeight, mapWidth) = logits.shape.takeLast(2)
        val map = PhonecvReader.labels(logits.floats, mapHeight, mapWidth, input, height, width)
//end
//if final
        val map = PhonecvReader.labels(model.run(input.values).getValue("classes").ints, input, height, width)
//end
        // Half seen through; black leaves the picture as it is.
        val colours = IntArray(names.size) { PhonecvReader.COLOURS[it].let { rgb -> if (rgb == 0) 0 else rgb or (140 shl 24) } }
        val pixels = IntArray(map.size) { colours[map[it]] }
        val drawing = Bitmap.createBitmap(pixels, width, height, Bitmap.Config.ARGB_8888)
        val shares = PhonecvReader.shares(map)
        val found = shares.indices.filter { shares[it] > 0 }.map { Found(it, names[it], shares[it]) }
        return Answer(found.sortedByDescending { it.share }, drawing)
    }

    /** How far this is from a bundle's expected.json: the largest difference of a share of the picture. */
    fun difference(answer: Answer, expected: JSONObject): Float {
        val shares = expected.getJSONArray("shares")
        val wanted = (0 until shares.length()).map { shares.getJSONObject(it) }
            .associate { it.getInt("label") to it.getDouble("share").toFloat() }
        val found = answer.found.associate { it.label to it.share }
        return (wanted.keys + found.keys).maxOf { abs((wanted[it] ?: 0f) - (found[it] ?: 0f)) }
    }
}

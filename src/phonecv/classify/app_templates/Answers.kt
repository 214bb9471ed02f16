import android.graphics.Bitmap
import kotlin.math.abs
import org.json.JSONObject

//if one
/** The answer of a classifier: the most probable classes. */
//end
//if many
/** The answer of a classifier whose labels do not exclude each other: those it tells. */
//end
object Answers {
    @Suppress("UNUSED_PARAMETER")
    fun of(picture: Bitmap, model: Model, names: List<String>, threshold: Float = 0f, most: Int = 0): Answer {
        val input = PhonecvReader.preprocess(pixelsOf(picture), picture.width, picture.height)
        val logits = model.run(input).getValue("logits").floats
//if one
        return Answer(PhonecvReader.top(logits, 5).map { (label, share) -> Found(label, names[label], share) })
//end
//if many
        // With `most` all are asked for, as the check of the test picture does.
        val labels = if (most > 0) PhonecvReader.top(logits, most) else PhonecvReader.told(logits)
        return Answer(labels.map { (label, share) -> Found(label, names[label], share) })
//end
    }

    /** How far this is from a bundle's expected.json: the largest difference of a probability. */
    fun difference(answer: Answer, expected: JSONObject): Float {
        val found = answer.found.associate { it.label to it.share }
        val best = expected.getJSONArray("best")
        return (0 until best.length()).map { best.getJSONObject(it) }
            .maxOf { abs(it.getDouble("probability").toFloat() - (found[it.getInt("label")] ?: 0f)) }
    }
}

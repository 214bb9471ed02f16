// Pictures to the input of @NAME@, and its outputs to labels. Made by phonecv @VERSION@ from the model's own record.
// Kotlin without dependencies. On Android, from an upright ARGB_8888 bitmap:
//
//   val pixels = IntArray(bitmap.width * bitmap.height)
//   bitmap.getPixels(pixels, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
//   val input = PhonecvReader.preprocess(pixels, bitmap.width, bitmap.height)   // @LAYOUT_TEXT@
//   ... run the model ...
//if one
//   PhonecvReader.top(logits, 5)                                                // index and probability
//end
//if many
//   PhonecvReader.told(logits)                                                  // index and probability
//end
import kotlin.math.abs
import kotlin.math.exp
import kotlin.math.max
import kotlin.math.min

object PhonecvReader {
    const val RESIZE = @RESIZE@ // short side before the crop, pixels
    const val SIZE = @SIZE@ // side of the square crop, pixels
    const val BICUBIC = @BICUBIC@
    const val NORMALISE = @NORMALISE@ // false: the model takes pixel values 0..255
    const val CHANNELS_FIRST = @CHANNELS_FIRST@
    val MEAN = floatArrayOf(@MEAN@) // of values in 0..1, @COLOURS@
    val STD = floatArrayOf(@STD@)
//if many
    val THRESHOLDS = floatArrayOf(
        @THRESHOLDS@
    ) // probability of each label from which on it is told
//end

    private const val BITS = 22

    private class Taps(val first: Int, val weights: IntArray)

    private fun filter(value: Double): Double {
        val x = abs(value)
        if (!BICUBIC) return if (x < 1) 1 - x else 0.0
        val a = -0.5
        return when {
            x < 1 -> ((a + 2) * x - (a + 3)) * x * x + 1
            x < 2 -> (((x - 5) * x + 8) * x - 4) * a
            else -> 0.0
        }
    }

    // Weights of `count` output pixels from `start` on, of a line of `from` pixels resized to `to`; in fixed point as
    // Pillow has them, so that results are equal to the bit.
    private fun taps(from: Int, to: Int, start: Int, count: Int): Array<Taps> {
        val scale = from.toDouble() / to
        val stretch = max(scale, 1.0)
        val support = (if (BICUBIC) 2.0 else 1.0) * stretch
        return Array(count) { i ->
            val centre = (start + i + 0.5) * scale
            val first = max(0, (centre - support + 0.5).toInt())
            val last = min(from, (centre + support + 0.5).toInt())
            val weights = DoubleArray(last - first) { filter((first + it - centre + 0.5) / stretch) }
            val sum = weights.sum()
            Taps(first, IntArray(weights.size) {
                val scaled = weights[it] / sum * (1 shl BITS)
                (if (scaled < 0) scaled - 0.5 else scaled + 0.5).toInt()
            })
        }
    }

    private fun rounded(sum: Int): Int = (sum shr BITS).coerceIn(0, 255)

    // Halves go to the even neighbour, as Python rounds.
    private fun half(difference: Int): Int {
        val low = difference / 2
        return if (difference % 2 == 0 || low % 2 == 0) low else low + 1
    }

    /** The model's input, from packed 0xAARRGGBB pixels, row by row. */
    fun preprocess(pixels: IntArray, width: Int, height: Int): FloatArray {
        require(width >= 1 && height >= 1 && pixels.size >= width * height) { "phonecv: no picture was given" }
        // Very long pictures lose their ends first, as in evaluation.
        val longest = 16 * min(width, height)
        val x0 = max(0, (width - longest) / 2)
        val y0 = max(0, (height - longest) / 2)
        val w = min(width, longest)
        val h = min(height, longest)
        val wide = if (w <= h) RESIZE else (RESIZE.toDouble() * w / h).toInt()
        val tall = if (w <= h) (RESIZE.toDouble() * h / w).toInt() else RESIZE
        val columns = taps(w, wide, half(wide - SIZE), SIZE)
        val rows = taps(h, tall, half(tall - SIZE), SIZE)
        val top = rows.first().first
        val bottom = rows.last().first + rows.last().weights.size
        val narrow = IntArray((bottom - top) * SIZE * 3)
        for (y in top until bottom) for (x in 0 until SIZE) {
            val tap = columns[x]
            for (c in 0 until 3) {
                var sum = 1 shl (BITS - 1)
                val line = (y0 + y) * width + x0 + tap.first
                for (i in tap.weights.indices) sum += ((pixels[line + i] shr (16 - 8 * c)) and 255) * tap.weights[i]
                narrow[((y - top) * SIZE + x) * 3 + c] = rounded(sum)
            }
        }
//if gray
        // Gray as Pillow's "L" has it, the luma of ITU-R 601-2.
        val luma = intArrayOf(19595, 38470, 7471)
        val input = FloatArray(SIZE * SIZE)
        for (y in 0 until SIZE) for (x in 0 until SIZE) {
            val tap = rows[y]
            var gray = 0x8000
            for (c in 0 until 3) {
                var sum = 1 shl (BITS - 1)
                for (i in tap.weights.indices) sum += narrow[((tap.first - top + i) * SIZE + x) * 3 + c] * tap.weights[i]
                gray += luma[c] * rounded(sum)
            }
            val value = (gray shr 16).toFloat()
            input[y * SIZE + x] = if (NORMALISE) (value / 255f - MEAN[0]) / STD[0] else value
        }
        return input
//end
//if rgb
        val input = FloatArray(3 * SIZE * SIZE)
        for (y in 0 until SIZE) for (x in 0 until SIZE) for (c in 0 until 3) {
            val tap = rows[y]
            var sum = 1 shl (BITS - 1)
            for (i in tap.weights.indices) sum += narrow[((tap.first - top + i) * SIZE + x) * 3 + c] * tap.weights[i]
            val value = rounded(sum).toFloat()
            val place = if (CHANNELS_FIRST) (c * SIZE + y) * SIZE + x else (y * SIZE + x) * 3 + c
            input[place] = if (NORMALISE) (value / 255f - MEAN[c]) / STD[c] else value
        }
        return input
//end
    }

//if many
    /** The labels of the picture, none or several: index (line of labels.txt, from 0) and probability, best first. */
    fun told(logits: FloatArray): List<Pair<Int, Float>> =
        top(logits, logits.size).filter { (label, share) -> share >= THRESHOLDS[label] }

    /** The most probable labels, told or not; they do not exclude each other. */
    fun top(logits: FloatArray, count: Int): List<Pair<Int, Float>> =
        logits.indices.sortedByDescending { logits[it] }.take(count).map { it to (1 / (1 + exp(-logits[it].toDouble()))).toFloat() }
//end
//if one
    /** The most probable classes: index (line of labels.txt, from 0) and probability, best first. */
    fun top(logits: FloatArray, count: Int): List<Pair<Int, Float>> {
        val largest = logits.max()
        val shares = logits.map { exp((it - largest).toDouble()) }
        val total = shares.sum()
        return shares.indices.sortedByDescending { shares[it] }.take(count).map { it to (shares[it] / total).toFloat() }
    }
//end
}

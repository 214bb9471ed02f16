// Pictures to the input of @NAME@, and its output to a class for every pixel.
// Made by phonecv @VERSION@ from the file's own record. Kotlin without dependencies. On Android, from an upright
// ARGB_8888 bitmap:
//
//   val pixels = IntArray(bitmap.width * bitmap.height)
//   bitmap.getPixels(pixels, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
//   val input = PhonecvReader.preprocess(pixels, bitmap.width, bitmap.height)
//   ... run the model on input.values, @LAYOUT_TEXT@ ...
//if raw
//   val map = PhonecvReader.labels(logits, mapHeight, mapWidth, input)   // sizes of the output: @MAP_TEXT@
//end
//if final
//   val map = PhonecvReader.labels(classes, input)
//end
//   val shares = PhonecvReader.shares(map)                               // of NAMES
//
// The map has the size of the picture, row by row. On large pictures a smaller one is faster and often enough: give its
// height and width as the last two arguments.
import kotlin.math.max
import kotlin.math.min

object PhonecvReader {
//include phonecv.dense:input

    /** 0xRRGGBB of every class for drawing; black: better left as it is. */
    val COLOURS = intArrayOf(
        @COLOURS@
    )

//if raw
    /** The class of every pixel, from logits of one map for each class, one after the other. */
    fun labels(
        logits: FloatArray,
        mapHeight: Int,
        mapWidth: Int,
        input: Input,
        height: Int = input.pictureHeight,
        width: Int = input.pictureWidth,
    ): IntArray {
        val classes = NAMES.size
        val area = mapHeight * mapWidth
        // Twice, as the evaluation does: to the input's size, where the padding is cut off, and to the picture's.
        val mapRows = Line(mapHeight, input.height)
        val mapColumns = Line(mapWidth, input.width)
        val rows = Line(input.usedHeight, height)
        val columns = Line(input.usedWidth, width)
        // Rows at the input's size; neighbours differ in the last bit of their number.
        val kept = Array(2) { FloatArray(input.usedWidth * classes) }
        val held = intArrayOf(-1, -1)
        fun row(y: Int): FloatArray {
            val values = kept[y and 1]
            if (held[y and 1] == y) return values
            held[y and 1] = y
            for (label in 0 until classes) {
                val upper = label * area + mapRows.low[y] * mapWidth
                val lower = label * area + mapRows.high[y] * mapWidth
                for (x in 0 until input.usedWidth) {
                    val left = mapColumns.low[x]
                    val right = mapColumns.high[x]
                    val share = mapColumns.share[x]
                    values[x * classes + label] = between(
                        between(logits[upper + left], logits[upper + right], share),
                        between(logits[lower + left], logits[lower + right], share),
                        mapRows.share[y],
                    )
                }
            }
            return values
        }
        val found = IntArray(height * width)
        for (y in 0 until height) {
            val upper = row(rows.low[y])
            val lower = row(rows.high[y])
            for (x in 0 until width) {
                val left = columns.low[x] * classes
                val right = columns.high[x] * classes
                val share = columns.share[x]
                var best = Float.NEGATIVE_INFINITY
                for (label in 0 until classes) {
                    val value = between(
                        between(upper[left + label], upper[right + label], share),
                        between(lower[left + label], lower[right + label], share),
                        rows.share[y],
                    )
                    if (value > best) {
                        best = value
                        found[y * width + x] = label
                    }
                }
            }
        }
        return found
    }
//end
//if final
    /** The class of every pixel, from the model's map of classes at the input's size. */
    fun labels(
        classes: IntArray,
        input: Input,
        height: Int = input.pictureHeight,
        width: Int = input.pictureWidth,
    ): IntArray {
        val tall = input.usedHeight.toFloat() / height.toFloat()
        val wide = input.usedWidth.toFloat() / width.toFloat()
        val found = IntArray(height * width)
        for (y in 0 until height) {
            val from = min(((y + 0.5f) * tall).toInt(), input.usedHeight - 1)
            for (x in 0 until width) {
                val at = min(((x + 0.5f) * wide).toInt(), input.usedWidth - 1)
                found[y * width + x] = classes[from * input.width + at]
            }
        }
        return found
    }
//end

    /** Share of every class in a map, 0..1. */
    fun shares(map: IntArray): FloatArray {
        val counts = IntArray(NAMES.size)
        for (label in map) counts[label]++
        return FloatArray(NAMES.size) { counts[it].toFloat() / map.size }
    }
}

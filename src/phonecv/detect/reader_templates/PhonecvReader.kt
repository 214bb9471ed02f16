// Pictures to the input of @NAME@, and its outputs to objects.
// Made by phonecv @VERSION@ from the file's own record. Kotlin without dependencies. On Android, from an upright
// ARGB_8888 bitmap:
//
//   val pixels = IntArray(bitmap.width * bitmap.height)
//   bitmap.getPixels(pixels, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
//   val input = PhonecvReader.preprocess(pixels, bitmap.width, bitmap.height)
//   ... run the model on input.values, @LAYOUT_TEXT@ ...
//if raw
//   for (found in PhonecvReader.detections(classLogits, boxCodes, input, 0.3f))
//end
//if boxes
//   for (found in PhonecvReader.detections(scores, boxes, input, 0.3f))
//end
//if final
//   for (found in PhonecvReader.detections(boxes, scores, labels, input, 0.3f))
//end
//     println("${PhonecvReader.NAMES[found.label]} ${found.score}")   // sides in pixels of the picture as given
//if raw
import kotlin.math.exp
import kotlin.math.ln
//end
//if masks free_maps
import kotlin.math.ceil
//end
//if masks
import kotlin.math.floor
//end
import kotlin.math.max
import kotlin.math.min

object PhonecvReader {
//include phonecv.dense:input

    const val SCORE_THRESHOLD = @SCORE_THRESHOLD@ // scores have to be above it
//if raw boxes
    const val OVERLAP = @OVERLAP@ // intersection over union above which the weaker of two boxes goes
    const val CANDIDATES = @CANDIDATES@ // considered of each level
    const val MAX_DETECTIONS = @KEEP@ // of a picture
    const val CLASS_AGNOSTIC = @CLASS_AGNOSTIC@ // whether boxes of different classes drop each other, too

    // Anchors: for each level its map, then for each kind the box at the map's first cell (x1 y1 x2 y2, pixels).
    private const val KINDS = @KINDS@
    private val STRIDES = floatArrayOf(@STRIDES@)
//end
//if fixed_maps
    private val ROWS = intArrayOf(@ROWS@)
    private val COLUMNS = intArrayOf(@COLUMNS@)
//end
//if raw
    private val CELLS = floatArrayOf(
        @CELLS@
    )
    private val STDS = floatArrayOf(@STDS@) // of the box codes
    private const val VALUES = @VALUES@ // logits of an anchor
    private const val SOFTMAX = @SOFTMAX@ // over classes and background, the last; otherwise a sigmoid for each class
    private val LIMIT = ln(62.5f) // a box is at most so many times its anchor
//end
//if final
    const val PLACES = @PLACES@ // objects in the outputs, found or not
//end
//if masks
    const val MASK_SIDE = @MASK_SIDE@
//end

    /** An object: place of its class in NAMES, score 0..1, sides in pixels of the picture as given. */
    class Detection(
        val label: Int,
        val score: Float,
        val left: Float,
        val top: Float,
        val right: Float,
        val bottom: Float,
//if masks
        val place: Int, // in the outputs, for `mask`
//end
    )

//if raw
    /** Objects from the threshold on, best first; both outputs have a row for each anchor. */
    fun detections(
        classLogits: FloatArray,
        boxCodes: FloatArray,
        input: Input,
        threshold: Float = 0.3f,
    ): List<Detection> {
        val least = max(threshold, SCORE_THRESHOLD)
        // What is below cannot have such a score; that spares most exponentials.
        val bar = (if (SOFTMAX) ln(least) else ln(least / (1f - least))) - 0.001f
//end
//if boxes
    /** Objects from the threshold on, best first; both outputs have a row for each anchor. */
    fun detections(scores: FloatArray, boxes: FloatArray, input: Input, threshold: Float = 0.3f): List<Detection> {
//end
//if raw boxes
        val every = ArrayList<Found>()
        var first = 0 // anchor of the level
        for (level in STRIDES.indices) {
//end
//if fixed_maps
            val rows = ROWS[level]
            val columns = COLUMNS[level]
//end
//if free_maps
            val rows = ceil(input.height / STRIDES[level]).toInt()
            val columns = ceil(input.width / STRIDES[level]).toInt()
//end
//if raw boxes
            val count = rows * columns * KINDS
            var found: List<Candidate> = ArrayList<Candidate>().apply {
                for (anchor in 0 until count) {
//end
//if raw
                    val row = (first + anchor) * VALUES
                    val bound = if (SOFTMAX) bar + classLogits[row + VALUES - 1] else bar
                    for (label in NAMES.indices) {
                        if (!(classLogits[row + label] > bound)) continue
                        val score = scoreOf(classLogits, row, label)
//end
//if boxes
                    for (label in NAMES.indices) {
                        val score = scores[(first + anchor) * NAMES.size + label]
//end
//if raw boxes
                        if (score >= threshold && score > SCORE_THRESHOLD) add(Candidate(anchor, label, score))
                    }
                }
            }
            if (found.size > CANDIDATES) found = found.sortedByDescending { it.score }.take(CANDIDATES)
            for (candidate in found) {
                val at = (first + candidate.anchor) * 4
//end
//if raw
                val box = decode(level, columns, candidate.anchor, boxCodes, at)
//end
//if boxes
                val box = boxes.copyOfRange(at, at + 4)
//end
//if raw boxes
                if (cut(box, input)) every.add(Found(candidate.label, candidate.score, box))
            }
            first += count
        }
        return suppressed(every).map { found ->
            val box = restored(found.box, input)
            Detection(found.label, found.score, box[0], box[1], box[2], box[3])
        }
    }

    private class Candidate(val anchor: Int, val label: Int, val score: Float)

    private class Found(val label: Int, val score: Float, val box: FloatArray)
//end
//if raw

    private fun scoreOf(logits: FloatArray, row: Int, label: Int): Float {
        if (!SOFTMAX) return 1f / (1f + exp(-logits[row + label]))
        var total = 0f
        for (other in 0 until VALUES) total += exp(logits[row + other] - logits[row + label])
        return 1f / total
    }

    // The box of an anchor, from its codes.
    private fun decode(level: Int, columns: Int, anchor: Int, codes: FloatArray, from: Int): FloatArray {
        val cell = anchor / KINDS
        val at = (level * KINDS + anchor % KINDS) * 4
        val left = (cell % columns) * STRIDES[level] + CELLS[at]
        val top = (cell / columns) * STRIDES[level] + CELLS[at + 1]
        val width = CELLS[at + 2] - CELLS[at]
        val height = CELLS[at + 3] - CELLS[at + 1]
        val x = left + width / 2 + codes[from] * STDS[0] * width
        val y = top + height / 2 + codes[from + 1] * STDS[1] * height
        val halfX = width * exp((codes[from + 2] * STDS[2]).coerceIn(-LIMIT, LIMIT)) / 2
        val halfY = height * exp((codes[from + 3] * STDS[3]).coerceIn(-LIMIT, LIMIT)) / 2
        return floatArrayOf(x - halfX, y - halfY, x + halfX, y + halfY)
    }
//end
//if raw boxes

    // The best of those that overlap, within each class.
    private fun suppressed(every: List<Found>): List<Found> {
        val kept = ArrayList<Found>()
        for (found in every.sortedByDescending { it.score }) {
            if (kept.size == MAX_DETECTIONS) break
            val doubled = kept.any { (CLASS_AGNOSTIC || it.label == found.label) && overlap(it.box, found.box) > OVERLAP }
            if (!doubled) kept.add(found)
        }
        return kept
    }

    private fun overlap(one: FloatArray, other: FloatArray): Double {
        val width = min(one[2], other[2]).toDouble() - max(one[0], other[0])
        val height = min(one[3], other[3]).toDouble() - max(one[1], other[1])
        if (width <= 0 || height <= 0) return 0.0
        val shared = width * height
        return shared / (area(one) + area(other) - shared)
    }

    private fun area(box: FloatArray): Double = (box[2].toDouble() - box[0]) * (box[3].toDouble() - box[1])
//end
//if final
    /** Objects from the threshold on, best first. The outputs have PLACES rows; those without an object the label -1. */
    fun detections(
        boxes: FloatArray,
        scores: FloatArray,
        labels: IntArray,
        input: Input,
        threshold: Float = 0.3f,
    ): List<Detection> {
        val every = ArrayList<Detection>()
        for (place in 0 until PLACES) {
            val score = scores[place]
            if (labels[place] < 0 || !(score >= threshold && score > SCORE_THRESHOLD)) continue
            val given = boxes.copyOfRange(place * 4, place * 4 + 4)
            if (!cut(given, input)) continue
            val box = restored(given, input)
            every.add(Detection(labels[place], score, box[0], box[1], box[2], box[3]@PLACE_ARGUMENT@))
        }
        return every
    }
//end

    // Cuts a box to the picture; false if nothing is left.
    private fun cut(box: FloatArray, input: Input): Boolean {
        for (side in 0 until 4) {
            box[side] = box[side].coerceIn(0f, (if (side % 2 == 0) input.usedWidth else input.usedHeight).toFloat())
        }
        return box[2] > box[0] && box[3] > box[1]
    }

    // From pixels of the input to those of the picture.
    private fun restored(box: FloatArray, input: Input): FloatArray {
        val x = (input.usedWidth.toDouble() / input.pictureWidth).toFloat()
        val y = (input.usedHeight.toDouble() / input.pictureHeight).toFloat()
        return floatArrayOf(box[0] / x, box[1] / y, box[2] / x, box[3] / y)
    }
//if masks

    /** Where an object is: a part of the picture around its box, row by row, true inside the object. */
    class Mask(val left: Int, val top: Int, val width: Int, val height: Int, val inside: BooleanArray)

    /** The mask of an object, from the output of PLACES squares; each is stretched over its box, from 0.5 up is object. */
    fun mask(masks: FloatArray, found: Detection, input: Input): Mask {
        val left = (floor(found.left).toInt() - 1).coerceIn(0, input.pictureWidth)
        val top = (floor(found.top).toInt() - 1).coerceIn(0, input.pictureHeight)
        val width = (ceil(found.right).toInt() + 1).coerceIn(0, input.pictureWidth) - left
        val height = (ceil(found.bottom).toInt() + 1).coerceIn(0, input.pictureHeight) - top
        val start = found.place * MASK_SIDE * MASK_SIDE
        fun at(y: Int, x: Int): Float =
            if (y < 0 || x < 0 || y >= MASK_SIDE || x >= MASK_SIDE) 0f else masks[start + y * MASK_SIDE + x]
        val inside = BooleanArray(width * height)
        for (y in 0 until height) {
            val row = (top + y + 0.5f - found.top) / (found.bottom - found.top) * MASK_SIDE - 0.5f
            val upper = floor(row).toInt()
            for (x in 0 until width) {
                val column = (left + x + 0.5f - found.left) / (found.right - found.left) * MASK_SIDE - 0.5f
                val cell = floor(column).toInt()
                val share = column - cell
                inside[y * width + x] = between(
                    between(at(upper, cell), at(upper, cell + 1), share),
                    between(at(upper + 1, cell), at(upper + 1, cell + 1), share),
                    row - upper,
                ) >= 0.5f
            }
        }
        return Mask(left, top, width, height, inside)
    }
//end
}

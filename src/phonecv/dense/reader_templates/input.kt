//if stretch fit
    const val HEIGHT = @HEIGHT@ // of the input, pixels
    const val WIDTH = @WIDTH@
//end
//if free
    const val SHORT = @SHORT@ // most that the sides of a resized picture have, pixels
    const val LONGEST = @LONGEST@
    const val MULTIPLE = @MULTIPLE@ // height and width of the input are padded to multiples of this
//end
    const val NORMALISE = @NORMALISE@ // false: the model takes pixel values 0..255
    const val CHANNELS_FIRST = @CHANNELS_FIRST@
    val MEAN = floatArrayOf(@MEAN@) // of values in 0..1, @COLOURS@
    val STD = floatArrayOf(@STD@)
    val NAMES = arrayOf(
        @NAMES@
    )

    /** A picture as the model takes it. */
    class Input(
        val pictureHeight: Int, // as given
        val pictureWidth: Int,
        val height: Int, // of the tensor, pixels
        val width: Int,
        val usedHeight: Int, // of the part at its upper left that the picture fills; the rest is padding
        val usedWidth: Int,
    ) {
        /** @LAYOUT_TEXT@ */
        val values = FloatArray(@CHANNELS@ * height * width)
    }

    // Where the pixels of a line of `to` lie in a line of `from`: bilinear without antialiasing, as in the evaluation.
    private class Line(from: Int, to: Int) {
        val low = IntArray(to)
        val high = IntArray(to)
        val share = FloatArray(to) // of the higher one

        init {
            val scale = from.toFloat() / to.toFloat()
            for (i in 0 until to) {
                val place = max(0f, scale * (i + 0.5f) - 0.5f)
                low[i] = min(place.toInt(), from - 1)
                high[i] = min(low[i] + 1, from - 1)
                share[i] = place - low[i]
            }
        }
    }

    private fun between(one: Float, other: Float, share: Float): Float = one * (1f - share) + other * share

    /** What a pixel has in channel `c` of the input. */
    private fun sample(pixel: Int, c: Int): Float {
//if rgb
        return ((pixel shr (16 - 8 * c)) and 255).toFloat()
//end
//if gray
        // The luma of ITU-R 601-2; `c` is 0.
        val red = (pixel shr 16) and 255
        val green = (pixel shr 8) and 255
        return (19595f * red + 38470f * green + 7471f * ((pixel shr c) and 255)) / 65536f
//end
    }

    private fun sized(width: Int, height: Int): Input {
//if stretch
        return Input(height, width, HEIGHT, WIDTH, HEIGHT, WIDTH)
//end
//if fit
        val factor = min(HEIGHT.toDouble() / height, WIDTH.toDouble() / width)
        val usedHeight = min(HEIGHT, max(1, (height * factor + 0.5).toInt()))
        val usedWidth = min(WIDTH, max(1, (width * factor + 0.5).toInt()))
        return Input(height, width, HEIGHT, WIDTH, usedHeight, usedWidth)
//end
//if free
        val factor = min(LONGEST.toDouble() / max(height, width), SHORT.toDouble() / min(height, width))
        val usedHeight = max(1, (height * factor + 0.5).toInt())
        val usedWidth = max(1, (width * factor + 0.5).toInt())
        val tall = (usedHeight + MULTIPLE - 1) / MULTIPLE * MULTIPLE
        val wide = (usedWidth + MULTIPLE - 1) / MULTIPLE * MULTIPLE
        return Input(height, width, tall, wide, usedHeight, usedWidth)
//end
    }

    /** The model's input, from packed 0xAARRGGBB pixels, row by row. */
    fun preprocess(pixels: IntArray, width: Int, height: Int): Input {
        require(width >= 1 && height >= 1 && pixels.size >= width * height) { "phonecv: no picture was given" }
        val input = sized(width, height)
        val rows = Line(height, input.usedHeight)
        val columns = Line(width, input.usedWidth)
        val area = input.height * input.width
        val step = if (CHANNELS_FIRST) 1 else @CHANNELS@
        for (c in 0 until @CHANNELS@) {
            val start = if (CHANNELS_FIRST) c * area else c
            val padding = if (NORMALISE) 0f else MEAN[c] * 255f // the mean colour
            for (i in 0 until area) input.values[start + i * step] = padding
            for (y in 0 until input.usedHeight) {
                val upper = rows.low[y] * width
                val lower = rows.high[y] * width
                for (x in 0 until input.usedWidth) {
                    val left = columns.low[x]
                    val right = columns.high[x]
                    val value = between(
                        between(
                            sample(pixels[upper + left], c),
                            sample(pixels[upper + right], c),
                            columns.share[x],
                        ),
                        between(
                            sample(pixels[lower + left], c),
                            sample(pixels[lower + right], c),
                            columns.share[x],
                        ),
                        rows.share[y],
                    )
                    input.values[start + (y * input.width + x) * step] =
                        if (NORMALISE) (value / 255f - MEAN[c]) / STD[c] else value
                }
            }
        }
        return input
    }

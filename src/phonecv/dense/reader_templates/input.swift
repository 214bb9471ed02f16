//if stretch fit
  static let height = @HEIGHT@, width = @WIDTH@  // of the input, pixels
//end
//if free
  static let short = @SHORT@, longest = @LONGEST@  // most that the sides of a resized picture have, pixels
  static let multiple = @MULTIPLE@  // height and width of the input are padded to multiples of this
//end
  static let normalise = @NORMALISE@  // false: the model takes pixel values 0..255
  static let channelsFirst = @CHANNELS_FIRST@
  static let mean: [Float] = [@MEAN@]  // of values in 0..1, @COLOURS@
  static let std: [Float] = [@STD@]
  static let names: [String] = [
    @NAMES@,
  ]

  /// A picture as the model takes it.
  struct Input {
    var values: [Float] = []  // @LAYOUT_TEXT@
    let pictureHeight: Int, pictureWidth: Int  // as given
    let height: Int, width: Int  // of the tensor, pixels
    let usedHeight: Int, usedWidth: Int  // of the part at its upper left that the picture fills; the rest is padding
  }

  // Where the pixels of a line of `to` lie in a line of `from`: bilinear without antialiasing, as in the evaluation.
  private struct Line {
    var low: [Int] = []
    var high: [Int] = []
    var share: [Float] = []  // of the higher one

    init(from: Int, to: Int) {
      let scale = Float(from) / Float(to)
      for i in 0..<to {
        let place = max(0, scale * (Float(i) + 0.5) - 0.5)
        let below = min(Int(place), from - 1)
        low.append(below)
        high.append(min(below + 1, from - 1))
        share.append(place - Float(below))
      }
    }
  }

  private static func between(_ one: Float, _ other: Float, _ share: Float) -> Float {
    return one * (1 - share) + other * share
  }

  /// What the pixel whose bytes start at `i` has in channel `c` of the input.
  private static func sample(_ pixels: [UInt8], _ i: Int, _ c: Int) -> Float {
//if rgb
    return Float(pixels[i + c])
//end
//if gray
    // The luma of ITU-R 601-2; `c` is 0.
    return (19595 * Float(pixels[i + c]) + 38470 * Float(pixels[i + 1]) + 7471 * Float(pixels[i + 2])) / 65536
//end
  }

  private static func sized(width pictureWidth: Int, height pictureHeight: Int) -> Input {
//if stretch
    return Input(
      pictureHeight: pictureHeight, pictureWidth: pictureWidth, height: height, width: width, usedHeight: height,
      usedWidth: width)
//end
//if fit
    let factor = min(Double(height) / Double(pictureHeight), Double(width) / Double(pictureWidth))
    return Input(
      pictureHeight: pictureHeight, pictureWidth: pictureWidth, height: height, width: width,
      usedHeight: min(height, max(1, Int(Double(pictureHeight) * factor + 0.5))),
      usedWidth: min(width, max(1, Int(Double(pictureWidth) * factor + 0.5))))
//end
//if free
    let factor = min(
      Double(longest) / Double(max(pictureHeight, pictureWidth)),
      Double(short) / Double(min(pictureHeight, pictureWidth)))
    let usedHeight = max(1, Int(Double(pictureHeight) * factor + 0.5))
    let usedWidth = max(1, Int(Double(pictureWidth) * factor + 0.5))
    return Input(
      pictureHeight: pictureHeight, pictureWidth: pictureWidth,
      height: (usedHeight + multiple - 1) / multiple * multiple,
      width: (usedWidth + multiple - 1) / multiple * multiple, usedHeight: usedHeight, usedWidth: usedWidth)
//end
  }

  /// The model's input. `channels` is 3 (RGB) or 4 (RGBA, the fourth is ignored); rows follow each other without gaps.
  static func preprocess(_ pixels: [UInt8], width: Int, height: Int, channels: Int = 4) -> Input {
    precondition(
      width >= 1 && height >= 1 && pixels.count >= width * height * channels, "phonecv: no picture was given")
    var input = sized(width: width, height: height)
    let rows = Line(from: height, to: input.usedHeight)
    let columns = Line(from: width, to: input.usedWidth)
    let area = input.height * input.width
    let step = channelsFirst ? 1 : @CHANNELS@
    var values = [Float](repeating: 0, count: @CHANNELS@ * area)
    for c in 0..<@CHANNELS@ {
      let start = channelsFirst ? c * area : c
      let padding: Float = normalise ? 0 : mean[c] * 255  // the mean colour
      for i in 0..<area { values[start + i * step] = padding }
      for y in 0..<input.usedHeight {
        let upper = rows.low[y] * width
        let lower = rows.high[y] * width
        for x in 0..<input.usedWidth {
          let left = columns.low[x]
          let right = columns.high[x]
          let share = columns.share[x]
          let above = between(
            sample(pixels, (upper + left) * channels, c), sample(pixels, (upper + right) * channels, c), share)
          let below = between(
            sample(pixels, (lower + left) * channels, c), sample(pixels, (lower + right) * channels, c), share)
          let value = between(above, below, rows.share[y])
          values[start + (y * input.width + x) * step] = normalise ? (value / 255 - mean[c]) / std[c] : value
        }
      }
    }
    input.values = values
    return input
  }

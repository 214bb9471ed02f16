// Pictures to the input of @NAME@, and its outputs to labels. Made by phonecv @VERSION@ from the model's own record.
// Swift without dependencies. Pixels have to be upright (apply the orientation first) and in RGBA order:
//
//   let input = PhonecvReader.preprocess(pixels, width: width, height: height)   // @LAYOUT_TEXT@
//   ... run the model ...
//if one
//   PhonecvReader.top(logits, count: 5)                                          // index and probability
//end
//if many
//   PhonecvReader.told(logits)                                                   // index and probability
//end
import Foundation

enum PhonecvReader {
  static let resize = @RESIZE@  // short side before the crop, pixels
  static let size = @SIZE@  // side of the square crop, pixels
  static let bicubic = @BICUBIC@
  static let normalise = @NORMALISE@  // false: the model takes pixel values 0..255
  static let channelsFirst = @CHANNELS_FIRST@
  static let mean: [Float] = [@MEAN@]  // of values in 0..1, @COLOURS@
  static let std: [Float] = [@STD@]
//if many
  static let thresholds: [Float] = [
    @THRESHOLDS@
  ]  // probability of each label from which on it is told
//end

  private static let bits = 22

  private struct Taps {
    let first: Int
    let weights: [Int32]
  }

  private static func filter(_ value: Double) -> Double {
    let x = abs(value)
    if !bicubic { return x < 1 ? 1 - x : 0 }
    let a = -0.5
    if x < 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
    if x < 2 { return (((x - 5) * x + 8) * x - 4) * a }
    return 0
  }

  // Weights of `count` output pixels from `start` on, of a line of `from` pixels resized to `to`; in fixed point as
  // Pillow has them, so that results are equal to the bit.
  private static func taps(from: Int, to: Int, start: Int, count: Int) -> [Taps] {
    let scale = Double(from) / Double(to)
    let stretch = max(scale, 1)
    let support = (bicubic ? 2.0 : 1.0) * stretch
    return (0..<count).map { i in
      let centre = (Double(start + i) + 0.5) * scale
      let first = max(0, Int(centre - support + 0.5))
      let last = min(from, Int(centre + support + 0.5))
      let weights = (first..<last).map { filter((Double($0) - centre + 0.5) / stretch) }
      let sum = weights.reduce(0, +)
      return Taps(
        first: first,
        weights: weights.map { weight in
          let scaled = weight / sum * Double(1 << bits)
          return Int32(scaled < 0 ? scaled - 0.5 : scaled + 0.5)
        })
    }
  }

  private static func rounded(_ sum: Int32) -> UInt8 { UInt8(min(255, max(0, sum >> bits))) }

  // Halves go to the even neighbour, as Python rounds.
  private static func half(_ difference: Int) -> Int {
    let low = difference / 2
    return difference % 2 == 0 || low % 2 == 0 ? low : low + 1
  }

  /// The model's input. `channels` is 3 (RGB) or 4 (RGBA, the fourth is ignored); rows follow each other without gaps.
  static func preprocess(_ pixels: [UInt8], width: Int, height: Int, channels: Int = 4) -> [Float] {
    precondition(
      width >= 1 && height >= 1 && pixels.count >= width * height * channels, "phonecv: no picture was given")
    // Very long pictures lose their ends first, as in evaluation.
    let longest = 16 * min(width, height)
    let x0 = max(0, (width - longest) / 2)
    let y0 = max(0, (height - longest) / 2)
    let w = min(width, longest)
    let h = min(height, longest)
    let wide = w <= h ? resize : Int(Double(resize * w) / Double(h))
    let tall = w <= h ? Int(Double(resize * h) / Double(w)) : resize
    let columns = taps(from: w, to: wide, start: half(wide - size), count: size)
    let rows = taps(from: h, to: tall, start: half(tall - size), count: size)
    let top = rows[0].first
    let bottom = rows[size - 1].first + rows[size - 1].weights.count
    var narrow = [UInt8](repeating: 0, count: (bottom - top) * size * 3)
    for y in top..<bottom {
      for x in 0..<size {
        let tap = columns[x]
        for c in 0..<3 {
          var sum = Int32(1) << (bits - 1)
          let line = ((y0 + y) * width + x0 + tap.first) * channels + c
          for (i, weight) in tap.weights.enumerated() { sum += Int32(pixels[line + i * channels]) * weight }
          narrow[((y - top) * size + x) * 3 + c] = rounded(sum)
        }
      }
    }
//if gray
    // Gray as Pillow's "L" has it, the luma of ITU-R 601-2.
    let luma: [Int32] = [19595, 38470, 7471]
    var input = [Float](repeating: 0, count: size * size)
    for y in 0..<size {
      let tap = rows[y]
      for x in 0..<size {
        var gray: Int32 = 0x8000
        for c in 0..<3 {
          var sum = Int32(1) << (bits - 1)
          for (i, weight) in tap.weights.enumerated() {
            sum += Int32(narrow[((tap.first - top + i) * size + x) * 3 + c]) * weight
          }
          gray += luma[c] * Int32(rounded(sum))
        }
        let value = Float(gray >> 16)
        input[y * size + x] = normalise ? (value / 255 - mean[0]) / std[0] : value
      }
    }
    return input
//end
//if rgb
    var input = [Float](repeating: 0, count: 3 * size * size)
    for y in 0..<size {
      let tap = rows[y]
      for x in 0..<size {
        for c in 0..<3 {
          var sum = Int32(1) << (bits - 1)
          for (i, weight) in tap.weights.enumerated() {
            sum += Int32(narrow[((tap.first - top + i) * size + x) * 3 + c]) * weight
          }
          let value = Float(rounded(sum))
          let place = channelsFirst ? (c * size + y) * size + x : (y * size + x) * 3 + c
          input[place] = normalise ? (value / 255 - mean[c]) / std[c] : value
        }
      }
    }
    return input
//end
  }

//if many
  /// The labels of the picture, none or several: index (line of labels.txt, from 0) and probability, best first.
  static func told(_ logits: [Float]) -> [(index: Int, probability: Float)] {
    top(logits, count: logits.count).filter { $0.probability >= thresholds[$0.index] }
  }

  /// The most probable labels, told or not; they do not exclude each other.
  static func top(_ logits: [Float], count: Int) -> [(index: Int, probability: Float)] {
    let order = logits.indices.sorted { logits[$0] > logits[$1] }
    return order.prefix(count).map { ($0, Float(1 / (1 + exp(-Double(logits[$0]))))) }
  }
//end
//if one
  /// The most probable classes: index (line of labels.txt, from 0) and probability, best first.
  static func top(_ logits: [Float], count: Int) -> [(index: Int, probability: Float)] {
    let largest = logits.max() ?? 0
    let shares = logits.map { exp($0 - largest) }
    let total = shares.reduce(0, +)
    let order = shares.indices.sorted { shares[$0] > shares[$1] }
    return order.prefix(count).map { ($0, shares[$0] / total) }
  }
//end
}

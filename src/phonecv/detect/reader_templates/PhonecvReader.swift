// Pictures to the input of @NAME@, and its outputs to objects.
// Made by phonecv @VERSION@ from the file's own record. Swift without dependencies. Pixels have to be upright (apply the
// orientation first) and in RGBA order:
//
//   let input = PhonecvReader.preprocess(pixels, width: width, height: height)
//   ... run the model on input.values, @LAYOUT_TEXT@ ...
//if raw
//   for found in PhonecvReader.detections(classLogits: classLogits, boxCodes: boxCodes, input: input, threshold: 0.3) {
//end
//if boxes
//   for found in PhonecvReader.detections(scores: scores, boxes: boxes, input: input, threshold: 0.3) {
//end
//if final
//   for found in PhonecvReader.detections(
//     boxes: boxes, scores: scores, labels: labels, input: input, threshold: 0.3) {
//end
//     print(PhonecvReader.names[found.label], found.score)  // sides in pixels of the picture as given
//   }
//if raw
import Foundation
//end

enum PhonecvReader {
//include phonecv.dense:input

  static let scoreThreshold: Float = @SCORE_THRESHOLD@  // scores have to be above it
//if raw boxes
  static let overlapLimit: Double = @OVERLAP@  // intersection over union above which the weaker of two boxes goes
  static let candidates = @CANDIDATES@  // considered of each level
  static let maxDetections = @KEEP@  // of a picture
  static let classAgnostic = @CLASS_AGNOSTIC@  // whether boxes of different classes drop each other, too

  // Anchors: for each level its map, then for each kind the box at the map's first cell (x1 y1 x2 y2, pixels).
  private static let kinds = @KINDS@
  private static let strides: [Float] = [@STRIDES@]
//end
//if fixed_maps
  private static let rows: [Int] = [@ROWS@]
  private static let columns: [Int] = [@COLUMNS@]
//end
//if raw
  private static let cells: [Float] = [
    @CELLS@,
  ]
  private static let stds: [Float] = [@STDS@]  // of the box codes
  private static let valuesPerAnchor = @VALUES@  // logits
  private static let softmax = @SOFTMAX@  // over classes and background, the last; otherwise a sigmoid for each class
  private static let limit: Float = log(62.5)  // a box is at most so many times its anchor
//end
//if final
  static let places = @PLACES@  // objects in the outputs, found or not
//end
//if masks
  static let maskSide = @MASK_SIDE@
//end

  /// An object: place of its class in `names`, score 0..1, sides in pixels of the picture as given.
  struct Detection {
    let label: Int
    let score: Float
    let left: Float, top: Float, right: Float, bottom: Float
//if masks
    let place: Int  // in the outputs, for `mask`
//end
  }

//if raw
  /// Objects from the threshold on, best first; both outputs have a row for each anchor.
  static func detections(
    classLogits: [Float], boxCodes: [Float], input: Input, threshold: Float = 0.3
  ) -> [Detection] {
    let least = max(threshold, scoreThreshold)
    // What is below cannot have such a score; that spares most exponentials.
    let bar: Float = (softmax ? log(least) : log(least / (1 - least))) - 0.001
//end
//if boxes
  /// Objects from the threshold on, best first; both outputs have a row for each anchor.
  static func detections(scores: [Float], boxes: [Float], input: Input, threshold: Float = 0.3) -> [Detection] {
//end
//if raw boxes
    var every: [Found] = []
    var first = 0  // anchor of the level
    for level in 0..<strides.count {
//end
//if fixed_maps
      let down = rows[level]
      let across = columns[level]
//end
//if free_maps
      let down = Int((Float(input.height) / strides[level]).rounded(.up))
      let across = Int((Float(input.width) / strides[level]).rounded(.up))
//end
//if raw boxes
      let count = down * across * kinds
      var found: [Candidate] = []
      for anchor in 0..<count {
//end
//if raw
        let row = (first + anchor) * valuesPerAnchor
        let bound = softmax ? bar + classLogits[row + valuesPerAnchor - 1] : bar
        for label in 0..<names.count where classLogits[row + label] > bound {
          let score = scoreOf(classLogits, row, label)
//end
//if boxes
        for label in 0..<names.count {
          let score = scores[(first + anchor) * names.count + label]
//end
//if raw boxes
          if score >= threshold && score > scoreThreshold {
            found.append(Candidate(anchor: anchor, label: label, score: score))
          }
        }
      }
      if found.count > candidates {
        found = Array(found.sorted { $0.score > $1.score }.prefix(candidates))
      }
      for candidate in found {
        let at = (first + candidate.anchor) * 4
//end
//if raw
        var box = decode(level: level, columns: across, anchor: candidate.anchor, codes: boxCodes, from: at)
//end
//if boxes
        var box = Array(boxes[at..<(at + 4)])
//end
//if raw boxes
        if cut(&box, input) { every.append(Found(label: candidate.label, score: candidate.score, box: box)) }
      }
      first += count
    }
    return suppressed(every).map { found in
      let box = restored(found.box, input)
      return Detection(
        label: found.label, score: found.score, left: box[0], top: box[1], right: box[2], bottom: box[3])
    }
  }

  private struct Candidate {
    let anchor: Int
    let label: Int
    let score: Float
  }

  private struct Found {
    let label: Int
    let score: Float
    let box: [Float]
  }
//end
//if raw

  private static func scoreOf(_ logits: [Float], _ row: Int, _ label: Int) -> Float {
    if !softmax { return 1 / (1 + exp(-logits[row + label])) }
    var total: Float = 0
    for other in 0..<valuesPerAnchor { total += exp(logits[row + other] - logits[row + label]) }
    return 1 / total
  }

  // The box of an anchor, from its codes.
  private static func decode(level: Int, columns: Int, anchor: Int, codes: [Float], from: Int) -> [Float] {
    let cell = anchor / kinds
    let at = (level * kinds + anchor % kinds) * 4
    let left = Float(cell % columns) * strides[level] + cells[at]
    let top = Float(cell / columns) * strides[level] + cells[at + 1]
    let width = cells[at + 2] - cells[at]
    let height = cells[at + 3] - cells[at + 1]
    let shiftX = codes[from] * stds[0] * width
    let shiftY = codes[from + 1] * stds[1] * height
    let x = left + width / 2 + shiftX
    let y = top + height / 2 + shiftY
    let growX = min(limit, max(-limit, codes[from + 2] * stds[2]))
    let growY = min(limit, max(-limit, codes[from + 3] * stds[3]))
    let halfX = width * exp(growX) / 2
    let halfY = height * exp(growY) / 2
    return [x - halfX, y - halfY, x + halfX, y + halfY]
  }
//end
//if raw boxes

  // The best of those that overlap, within each class.
  private static func suppressed(_ every: [Found]) -> [Found] {
    var kept: [Found] = []
    for found in every.sorted(by: { $0.score > $1.score }) {
      if kept.count == maxDetections { break }
      let doubled = kept.contains {
        (classAgnostic || $0.label == found.label) && overlap($0.box, found.box) > overlapLimit
      }
      if !doubled { kept.append(found) }
    }
    return kept
  }

  private static func overlap(_ one: [Float], _ other: [Float]) -> Double {
    let width = Double(min(one[2], other[2])) - Double(max(one[0], other[0]))
    let height = Double(min(one[3], other[3])) - Double(max(one[1], other[1]))
    if width <= 0 || height <= 0 { return 0 }
    let shared = width * height
    return shared / (area(one) + area(other) - shared)
  }

  private static func area(_ box: [Float]) -> Double {
    return (Double(box[2]) - Double(box[0])) * (Double(box[3]) - Double(box[1]))
  }
//end
//if final
  /// Objects from the threshold on, best first. The outputs have `places` rows; those without an object the label -1.
  static func detections(
    boxes: [Float], scores: [Float], labels: [Int32], input: Input, threshold: Float = 0.3
  ) -> [Detection] {
    var every: [Detection] = []
    for place in 0..<places where labels[place] >= 0 && scores[place] >= threshold && scores[place] > scoreThreshold {
      var given = Array(boxes[(place * 4)..<(place * 4 + 4)])
      if !cut(&given, input) { continue }
      let box = restored(given, input)
      every.append(
        Detection(
          label: Int(labels[place]), score: scores[place], left: box[0], top: box[1], right: box[2],
          bottom: box[3]@PLACE_ARGUMENT@))
    }
    return every
  }
//end

  // Cuts a box to the picture; false if nothing is left.
  private static func cut(_ box: inout [Float], _ input: Input) -> Bool {
    for side in 0..<4 {
      box[side] = min(Float(side % 2 == 0 ? input.usedWidth : input.usedHeight), max(0, box[side]))
    }
    return box[2] > box[0] && box[3] > box[1]
  }

  // From pixels of the input to those of the picture.
  private static func restored(_ box: [Float], _ input: Input) -> [Float] {
    let x = Float(Double(input.usedWidth) / Double(input.pictureWidth))
    let y = Float(Double(input.usedHeight) / Double(input.pictureHeight))
    return [box[0] / x, box[1] / y, box[2] / x, box[3] / y]
  }
//if masks

  /// Where an object is: a part of the picture around its box, row by row, true inside the object.
  struct Mask {
    let left: Int, top: Int, width: Int, height: Int
    var inside: [Bool]
  }

  /// The mask of an object, from the output of `places` squares; each is stretched over its box, from 0.5 up is object.
  static func mask(_ masks: [Float], _ found: Detection, _ input: Input) -> Mask {
    func within(_ value: Float, _ most: Int) -> Int { return min(most, max(0, Int(value))) }
    let left = within(found.left.rounded(.down) - 1, input.pictureWidth)
    let top = within(found.top.rounded(.down) - 1, input.pictureHeight)
    let width = within(found.right.rounded(.up) + 1, input.pictureWidth) - left
    let height = within(found.bottom.rounded(.up) + 1, input.pictureHeight) - top
    let start = found.place * maskSide * maskSide
    func at(_ y: Int, _ x: Int) -> Float {
      return y < 0 || x < 0 || y >= maskSide || x >= maskSide ? 0 : masks[start + y * maskSide + x]
    }
    var mask = Mask(
      left: left, top: top, width: width, height: height, inside: [Bool](repeating: false, count: width * height))
    for y in 0..<height {
      let down = (Float(top + y) + 0.5 - found.top) / (found.bottom - found.top)
      let row = down * Float(maskSide) - 0.5
      let upper = Int(row.rounded(.down))
      for x in 0..<width {
        let across = (Float(left + x) + 0.5 - found.left) / (found.right - found.left)
        let column = across * Float(maskSide) - 0.5
        let cell = Int(column.rounded(.down))
        let share = column - Float(cell)
        let above = between(at(upper, cell), at(upper, cell + 1), share)
        let below = between(at(upper + 1, cell), at(upper + 1, cell + 1), share)
        mask.inside[y * width + x] = between(above, below, row - Float(upper)) >= 0.5
      }
    }
    return mask
  }
//end
}

// Pictures to the input of @NAME@, and its output to a class for every pixel.
// Made by phonecv @VERSION@ from the file's own record. Swift without dependencies. Pixels have to be upright (apply the
// orientation first) and in RGBA order:
//
//   let input = PhonecvReader.preprocess(pixels, width: width, height: height)
//   ... run the model on input.values, @LAYOUT_TEXT@ ...
//if raw
//   let map = PhonecvReader.labels(logits, mapHeight: mapHeight, mapWidth: mapWidth, input: input)
//   // sizes of the output: @MAP_TEXT@
//end
//if final
//   let map = PhonecvReader.labels(classes, input: input)
//end
//   let shares = PhonecvReader.shares(map)  // of names
//
// The map has the size of the picture, row by row. On large pictures a smaller one is faster and often enough: give its
// height and width as the last two arguments.

enum PhonecvReader {
//include phonecv.dense:input

  /// 0xRRGGBB of every class for drawing; black: better left as it is.
  static let colours: [UInt32] = [
    @COLOURS@,
  ]

//if raw
  /// The class of every pixel, from logits of one map for each class, one after the other.
  static func labels(
    _ logits: [Float], mapHeight: Int, mapWidth: Int, input: Input, height: Int? = nil, width: Int? = nil
  ) -> [UInt16] {
    let tall = height ?? input.pictureHeight
    let wide = width ?? input.pictureWidth
    let classes = names.count
    let area = mapHeight * mapWidth
    // Twice, as the evaluation does: to the input's size, where the padding is cut off, and from there to the picture's.
    let mapRows = Line(from: mapHeight, to: input.height)
    let mapColumns = Line(from: mapWidth, to: input.width)
    let rows = Line(from: input.usedHeight, to: tall)
    let columns = Line(from: input.usedWidth, to: wide)
    // Rows at the input's size; neighbours differ in the last bit of their number.
    var kept = [[Float]](repeating: [Float](repeating: 0, count: input.usedWidth * classes), count: 2)
    var held = [-1, -1]
    func fill(_ y: Int) {
      if held[y & 1] == y { return }
      held[y & 1] = y
      for label in 0..<classes {
        let upper = label * area + mapRows.low[y] * mapWidth
        let lower = label * area + mapRows.high[y] * mapWidth
        for x in 0..<input.usedWidth {
          let left = mapColumns.low[x]
          let right = mapColumns.high[x]
          let share = mapColumns.share[x]
          let above = between(logits[upper + left], logits[upper + right], share)
          let below = between(logits[lower + left], logits[lower + right], share)
          kept[y & 1][x * classes + label] = between(above, below, mapRows.share[y])
        }
      }
    }
    var found = [UInt16](repeating: 0, count: tall * wide)
    for y in 0..<tall {
      let upper = rows.low[y] & 1
      let lower = rows.high[y] & 1
      fill(rows.low[y])
      fill(rows.high[y])
      for x in 0..<wide {
        let left = columns.low[x] * classes
        let right = columns.high[x] * classes
        let share = columns.share[x]
        var best = -Float.infinity
        for label in 0..<classes {
          let above = between(kept[upper][left + label], kept[upper][right + label], share)
          let below = between(kept[lower][left + label], kept[lower][right + label], share)
          let value = between(above, below, rows.share[y])
          if value > best {
            best = value
            found[y * wide + x] = UInt16(label)
          }
        }
      }
    }
    return found
  }
//end
//if final
  /// The class of every pixel, from the model's map of classes at the input's size.
  static func labels(_ classes: [Int32], input: Input, height: Int? = nil, width: Int? = nil) -> [UInt16] {
    let tall = height ?? input.pictureHeight
    let wide = width ?? input.pictureWidth
    let down = Float(input.usedHeight) / Float(tall)
    let across = Float(input.usedWidth) / Float(wide)
    var found = [UInt16](repeating: 0, count: tall * wide)
    for y in 0..<tall {
      let from = min(Int((Float(y) + 0.5) * down), input.usedHeight - 1)
      for x in 0..<wide {
        let at = min(Int((Float(x) + 0.5) * across), input.usedWidth - 1)
        found[y * wide + x] = UInt16(classes[from * input.width + at])
      }
    }
    return found
  }
//end

  /// Share of every class in a map, 0..1.
  static func shares(_ map: [UInt16]) -> [Float] {
    var counts = [Int](repeating: 0, count: names.count)
    for label in map { counts[Int(label)] += 1 }
    return counts.map { Float($0) / Float(map.count) }
  }
}

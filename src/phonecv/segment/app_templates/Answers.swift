import UIKit

/// The answer of a segmenter: colours of the classes, and their shares.
enum Answers {
  /// `most`: pixels of the map's longer side; fewer are faster.
  static func of(_ picture: Picture, model: Model, names: [String], threshold: Float = 0, most: Int = 384) throws
    -> Answer
  {
    let input = PhonecvReader.preprocess(picture.pixels, width: picture.width, height: picture.height)
    let scale = min(1, Double(most) / Double(max(picture.width, picture.height)))
    let height = max(1, Int((Double(picture.height) * scale).rounded()))
    let width = max(1, Int((Double(picture.width) * scale).rounded()))
    let outputs = try model.run(input.values)
//if raw
    guard let logits = outputs["logits"] else { return Answer(found: []) }
    let shape = Array(logits.shape.suffix(2))
    let map = PhonecvReader.labels(
      logits.floats, mapHeight: shape[0], mapWidth: shape[1], input: input, height: height, width: width)
//end
//if final
    guard let classes = outputs["classes"] else { return Answer(found: []) }
    let map = PhonecvReader.labels(classes.ints, input: input, height: height, width: width)
//end
    // Half seen through; black leaves the picture as it is.
    let colours = PhonecvReader.colours.map { colour -> [UInt8] in
      if colour == 0 { return [0, 0, 0, 0] }
      return [UInt8(colour >> 16 & 255) / 2, UInt8(colour >> 8 & 255) / 2, UInt8(colour & 255) / 2, 128]
    }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(4 * map.count)
    for label in map { bytes.append(contentsOf: colours[Int(label)]) }
    var drawing: UIImage?
    bytes.withUnsafeMutableBytes { memory in
      let context = CGContext(
        data: memory.baseAddress, width: width, height: height, bitsPerComponent: 8, bytesPerRow: 4 * width,
        space: CGColorSpaceCreateDeviceRGB(), bitmapInfo: CGImageAlphaInfo.premultipliedLast.rawValue)
      if let image = context?.makeImage() { drawing = UIImage(cgImage: image) }
    }
    let shares = PhonecvReader.shares(map)
    let found = shares.indices.filter { shares[$0] > 0 }.sorted { shares[$0] > shares[$1] }
    return Answer(found: found.map { Found(label: $0, name: names[$0], share: shares[$0]) }, drawing: drawing)
  }

  /// How far this is from a bundle's expected.json: the largest difference of a share of the picture.
  static func difference(_ answer: Answer, _ expected: [String: Any]) -> Float {
    var apart: [Int: Float] = [:]
    for wanted in expected["shares"] as? [[String: Any]] ?? [] {
      if let label = wanted["label"] as? Int { apart[label] = Float(wanted["share"] as? Double ?? 0) }
    }
    for one in answer.found { apart[one.label, default: 0] -= one.share }
    return apart.values.map { abs($0) }.max() ?? 0
  }
}

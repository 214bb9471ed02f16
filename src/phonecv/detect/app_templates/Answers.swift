import UIKit

/// The answer of a detector: objects, drawn as boxes.
enum Answers {
  static func of(_ picture: Picture, model: Model, names: [String], threshold: Float = 0.3, most: Int = 0) throws
    -> Answer
  {
    let input = PhonecvReader.preprocess(picture.pixels, width: picture.width, height: picture.height)
    let outputs = try model.run(input.values)
    func floats(_ name: String) -> [Float] { return outputs[name]?.floats ?? [] }
//if raw
    let every = PhonecvReader.detections(
      classLogits: floats("class_logits"), boxCodes: floats("box_codes"), input: input, threshold: threshold)
//end
//if boxes
    let every = PhonecvReader.detections(
      scores: floats("scores"), boxes: floats("boxes"), input: input, threshold: threshold)
//end
//if final
    let labels = outputs["labels"]?.ints ?? []
    let every = PhonecvReader.detections(
      boxes: floats("boxes"), scores: floats("scores"), labels: labels, input: input, threshold: threshold)
//end
//if masks
    let masks = floats("masks")
//end
    let found = every.map { one in
      let box = CGRect(
        x: CGFloat(one.left), y: CGFloat(one.top), width: CGFloat(one.right - one.left),
        height: CGFloat(one.bottom - one.top))
      return Found(label: one.label, name: names[one.label], share: one.score, box: box)
    }
    let unit = CGFloat(max(picture.width, picture.height)) / 400
    let drawing = UIImage.drawn(width: picture.width, height: picture.height) { context in
      context.setLineWidth(2 * unit)
      for (place, one) in found.enumerated().reversed() {  // the best on top
        guard let box = one.box else { continue }
        let hue = (CGFloat(one.label) * 137.5).truncatingRemainder(dividingBy: 360) / 360
        let colour = UIColor(hue: hue, saturation: 0.9, brightness: 0.85, alpha: 1)
//if masks
        let mask = PhonecvReader.mask(masks, every[place], input)
        context.setFillColor(colour.withAlphaComponent(0.5).cgColor)
        for y in 0..<mask.height {
          for x in 0..<mask.width where mask.inside[y * mask.width + x] {
            context.fill(CGRect(x: mask.left + x, y: mask.top + y, width: 1, height: 1))
          }
        }
//end
        context.setStrokeColor(colour.cgColor)
        context.stroke(box)
        let text = NSString(string: " \(one.name) \(String(format: "%.1f", 100 * one.share)) % ")
        let font = UIFont.systemFont(ofSize: 11 * unit)
        text.draw(
          at: CGPoint(x: box.minX, y: max(0, box.minY - 14 * unit)),
          withAttributes: [.font: font, .foregroundColor: UIColor.white, .backgroundColor: colour])
        _ = place
      }
    }
    return Answer(found: found, drawing: drawing)
  }

  /// How far this is from a bundle's expected.json: the largest difference of a score, or of a side as a share of the
  /// picture; 1 where an object is not found at all.
  static func difference(_ answer: Answer, _ expected: [String: Any]) -> Float {
    let longest = CGFloat(max(expected["width"] as? Int ?? 1, expected["height"] as? Int ?? 1))
    let objects = expected["objects"] as? [[String: Any]] ?? []
    let apart = objects.map { wanted -> Float in
      func side(_ name: String) -> CGFloat { return CGFloat(wanted[name] as? Double ?? 0) }
      let same = answer.found.filter { $0.label == wanted["label"] as? Int }
      let differences = same.map { one -> Float in
        let box = one.box ?? .zero
        let sides = [
          abs(box.minX - side("left")), abs(box.minY - side("top")), abs(box.maxX - side("right")),
          abs(box.maxY - side("bottom")),
        ]
        return max(abs(one.share - Float(side("score"))), Float((sides.max() ?? 0) / longest))
      }
      return min(1, differences.min() ?? 1)
    }
    return apart.max() ?? 0
  }
}

import Foundation

//if one
/// The answer of a classifier: the most probable classes.
//end
//if many
/// The answer of a classifier whose labels do not exclude each other: those it tells.
//end
enum Answers {
  static func of(_ picture: Picture, model: Model, names: [String], threshold: Float = 0, most: Int = 0) throws -> Answer
  {
    let input = PhonecvReader.preprocess(picture.pixels, width: picture.width, height: picture.height)
    guard let logits = try model.run(input)["logits"] else { return Answer(found: []) }
//if one
    let best = PhonecvReader.top(logits.floats, count: 5)
//end
//if many
    // With `most` all are asked for, as the check of the test picture does.
    let best = most > 0 ? PhonecvReader.top(logits.floats, count: most) : PhonecvReader.told(logits.floats)
//end
    return Answer(found: best.map { Found(label: $0.index, name: names[$0.index], share: $0.probability) })
  }

  /// How far this is from a bundle's expected.json: the largest difference of a probability.
  static func difference(_ answer: Answer, _ expected: [String: Any]) -> Float {
    let best = expected["best"] as? [[String: Any]] ?? []
    return best.map { wanted in
      let found = answer.found.first { $0.label == wanted["label"] as? Int }
      return abs(Float(wanted["probability"] as? Double ?? 0) - (found?.share ?? 0))
    }.max() ?? 1
  }
}

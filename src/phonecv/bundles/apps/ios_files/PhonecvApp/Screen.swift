import SwiftUI
import UIKit

/// What went wrong, in words.
struct Trouble: LocalizedError {
  let errorDescription: String?

  init(_ text: String) { errorDescription = text }
}

/// What is on the screen, and the work behind it.
final class Screen: ObservableObject {
  /// Largest difference that is told as the same: runtimes round differently, and 8-bit files more so.
  private static let tolerance: Float = 0.02

  @Published private(set) var picture: UIImage?
  @Published private(set) var answer: Answer?
  @Published private(set) var status = "Opening the network …"
  @Published private(set) var check = ""
  @Published private(set) var filming = false

  private let work = DispatchQueue(label: "phonecv")
  private let camera = Camera()
  private var model: Model?  // these two are used on `work` alone
  private var names: [String] = []

  /// The first of what was found, a line each.
  var lines: [String] {
    guard let answer else { return [] }
    if answer.found.isEmpty { return ["Nothing found."] }
    return answer.found.prefix(6).enumerated().map { place, one in
      "\(place + 1). \(one.name)  \(String(format: "%.1f", 100 * one.share)) %"
    }
  }

  func open() {
    work.async { [self] in
      guarded {
        names = try String(contentsOf: Self.file("labels", "txt"), encoding: .utf8)
          .split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        model = try Model()
        try checkTestPicture()
      }
    }
  }

  /// The pixels of a photo's file.
  func look(at data: Data) {
    stopCamera()
    work.async { [self] in
      guarded {
        guard let photo = UIImage(data: data) else { throw Trouble("this is no picture") }
        try show(photo.upright(), "ms, on this device")
      }
    }
  }

  func toggleCamera() {
    if filming { return stopCamera() }
    filming = true
    camera.start(on: work) { [self] result in
      guarded {
        let frame = try result.get()
        try show(UIImage(cgImage: frame), "ms a picture, on this device", ofCamera: true)
      }
    }
  }

  func tell(_ error: Error) {
    DispatchQueue.main.async { [self] in status = "It does not work: \(error.localizedDescription)" }
  }

  private func stopCamera() {
    camera.stop()
    filming = false
  }

  /// What this device finds in the test picture, against what phonecv found.
  private func checkTestPicture() throws {
    let content = try Data(contentsOf: Self.file("expected", "json"))
    let test = try Data(contentsOf: Self.file("test", "png"))
    guard let expected = try JSONSerialization.jsonObject(with: content) as? [String: Any],
      let image = UIImage(data: test), let model
    else { throw Trouble("the test picture cannot be opened") }
    // Objects at the threshold may fall just below it here; shares are those of all pixels.
    let threshold = 0.9 * Float(expected["threshold"] as? Double ?? 0.3)
    let found = try Answers.of(
      try Picture(image), model: model, names: names, threshold: threshold, most: Int.max)
    let apart = Answers.difference(found, expected)
    let same = apart <= Self.tolerance
    let verdict =
      same ? ", as it should be." : ". That is more than \(Self.tolerance): this device does not compute the same."
    DispatchQueue.main.async { [self] in
      (picture, answer) = (image, found)
      check = "Test picture: largest difference from phonecv \(String(format: "%.4f", apart))\(verdict)"
      status = "Ready. Nothing leaves this device."
    }
  }

  private func show(_ image: UIImage, _ text: String, ofCamera: Bool = false) throws {
    guard let model else { throw Trouble("the network is not open") }
    let start = Date()
    let found = try Answers.of(try Picture(image), model: model, names: names)
    let milliseconds = Int(1000 * Date().timeIntervalSince(start))
    DispatchQueue.main.async { [self] in
      if ofCamera && !filming { return }  // a late answer of a camera that was stopped
      (picture, answer) = (image, found)
      status = "\(milliseconds) \(text)"
    }
  }

  private func guarded(_ act: () throws -> Void) {
    do { try act() } catch { tell(error) }
  }

  private static func file(_ name: String, _ suffix: String) throws -> URL {
    guard let place = Bundle.main.url(forResource: name, withExtension: suffix) else {
      throw Trouble("\(name).\(suffix) is not in the app")
    }
    return place
  }
}

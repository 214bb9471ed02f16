import CoreML
import Foundation

/// An output: its shape, the batch included, and its values.
struct Output {
  let array: MLMultiArray

  var shape: [Int] { array.shape.map { $0.intValue } }
  var floats: [Float] { MLShapedArray<Float>(converting: array).scalars }
  var ints: [Int32] { MLShapedArray<Int32>(converting: array).scalars }
}

/// The network in Core ML.
final class Model {
  private static let input = "@INPUT@"
  private static let outputs = [@OUTPUTS@]
  private static let takesPicture = @PICTURE@  // rather than numbers
  private static let shape = [@SHAPE@]  // of the numbers

  private let model: MLModel

  init() throws {
    guard let place = Bundle.main.url(forResource: "model", withExtension: "mlmodelc") else {
      throw Trouble("the model is not in the app")
    }
    model = try MLModel(contentsOf: place, configuration: MLModelConfiguration())
  }

  /// Outputs by name, for what the reader's `preprocess` gives.
  func run(_ values: [Float]) throws -> [String: Output] {
    let given = Self.takesPicture ? try Self.pictured(values) : try Self.listed(values)
    let found = try model.prediction(from: MLDictionaryFeatureProvider(dictionary: [Self.input: given]))
    var outputs: [String: Output] = [:]
    for name in Self.outputs {
      guard let array = found.featureValue(for: name)?.multiArrayValue else {
        throw Trouble("the model gives no \(name)")
      }
      outputs[name] = Output(array: array)
    }
    return outputs
  }

  private static func listed(_ values: [Float]) throws -> MLFeatureValue {
    return MLFeatureValue(multiArray: MLMultiArray(MLShapedArray(scalars: values, shape: shape)))
  }

  /// A picture of the values, which are pixels here, rounded to bytes.
  private static func pictured(_ values: [Float]) throws -> MLFeatureValue {
    let (channels, height, width) = (shape[1], shape[2], shape[3])
    var made: CVPixelBuffer?
    let kind = channels == 1 ? kCVPixelFormatType_OneComponent8 : kCVPixelFormatType_32BGRA
    CVPixelBufferCreate(nil, width, height, kind, nil, &made)
    guard let buffer = made else { throw Trouble("there is no room for the picture") }
    CVPixelBufferLockBaseAddress(buffer, [])
    defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
    guard let start = CVPixelBufferGetBaseAddress(buffer) else { throw Trouble("there is no room for the picture") }
    let bytes = start.assumingMemoryBound(to: UInt8.self)
    let row = CVPixelBufferGetBytesPerRow(buffer)
    for y in 0..<height {
      for x in 0..<width {
        if channels == 1 {
          bytes[y * row + x] = UInt8(min(255, max(0, values[y * width + x].rounded())))
          continue
        }
        for c in 0..<3 {
          let value = values[(y * width + x) * 3 + c]
          bytes[y * row + 4 * x + 2 - c] = UInt8(min(255, max(0, value.rounded())))
        }
        bytes[y * row + 4 * x + 3] = 255
      }
    }
    return MLFeatureValue(pixelBuffer: buffer)
  }
}

// As much of Core ML and Core Video as the app calls.
@_exported import Foundation

public final class CVPixelBuffer {}
public struct CVLockFlags: OptionSet { public let rawValue: UInt64; public init(rawValue: UInt64) { self.rawValue = rawValue } }
public let kCVPixelFormatType_32BGRA: UInt32 = 0
@discardableResult public func CVPixelBufferCreate(
  _ allocator: AnyObject?, _ width: Int, _ height: Int, _ format: UInt32, _ attributes: AnyObject?,
  _ made: UnsafeMutablePointer<CVPixelBuffer?>
) -> Int32 { fatalError() }
@discardableResult public func CVPixelBufferLockBaseAddress(_ buffer: CVPixelBuffer, _ flags: CVLockFlags) -> Int32 { fatalError() }
@discardableResult public func CVPixelBufferUnlockBaseAddress(_ buffer: CVPixelBuffer, _ flags: CVLockFlags) -> Int32 { fatalError() }
public func CVPixelBufferGetBaseAddress(_ buffer: CVPixelBuffer) -> UnsafeMutableRawPointer? { fatalError() }
public func CVPixelBufferGetBytesPerRow(_ buffer: CVPixelBuffer) -> Int { fatalError() }

public protocol MLShapedArrayScalar {}
extension Float: MLShapedArrayScalar {}
extension Int32: MLShapedArrayScalar {}
public struct MLShapedArray<Scalar: MLShapedArrayScalar> {
  public init<S: Sequence>(scalars: S, shape: [Int]) where S.Element == Scalar { fatalError() }
  public init(converting array: MLMultiArray) { fatalError() }
  public var scalars: [Scalar] { fatalError() }
}
public final class MLMultiArray {
  public convenience init<Scalar: MLShapedArrayScalar>(_ array: MLShapedArray<Scalar>) { fatalError() }
  init() {}
  public var shape: [NSNumber] { fatalError() }
}
public final class MLFeatureValue {
  public convenience init(multiArray: MLMultiArray) { fatalError() }
  public convenience init(pixelBuffer: CVPixelBuffer) { fatalError() }
  init() {}
  public var multiArrayValue: MLMultiArray? { fatalError() }
}
public protocol MLFeatureProvider { func featureValue(for name: String) -> MLFeatureValue? }
public final class MLDictionaryFeatureProvider: MLFeatureProvider {
  public init(dictionary: [String: Any]) throws {}
  public func featureValue(for name: String) -> MLFeatureValue? { fatalError() }
}
public final class MLModelConfiguration { public init() {} }
public final class MLModel {
  public convenience init(contentsOf url: URL, configuration: MLModelConfiguration) throws { fatalError() }
  init() {}
  public func prediction(from input: MLFeatureProvider) throws -> MLFeatureProvider { fatalError() }
}

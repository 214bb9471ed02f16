// As much of UIKit and Core Graphics as the app calls.
@_exported import Foundation

public struct CGColorSpace { public enum Model { case rgb, other }; public var model: Model { fatalError() } }
public func CGColorSpaceCreateDeviceRGB() -> CGColorSpace { fatalError() }
public enum CGImageAlphaInfo: UInt32 { case premultipliedLast = 1 }
public final class CGColor {}
public final class CGImage {
  public var width: Int { fatalError() }
  public var height: Int { fatalError() }
  public var colorSpace: CGColorSpace? { fatalError() }
}
public final class CGContext {
  public init?(
    data: UnsafeMutableRawPointer?, width: Int, height: Int, bitsPerComponent: Int, bytesPerRow: Int,
    space: CGColorSpace, bitmapInfo: UInt32
  ) { fatalError() }
  public func draw(_ image: CGImage, in rect: CGRect) {}
  public func makeImage() -> CGImage? { fatalError() }
  public func setLineWidth(_ width: CGFloat) {}
  public func setFillColor(_ color: CGColor) {}
  public func setStrokeColor(_ color: CGColor) {}
  public func fill(_ rect: CGRect) {}
  public func stroke(_ rect: CGRect) {}
}
public final class UIColor {
  public init(hue: CGFloat, saturation: CGFloat, brightness: CGFloat, alpha: CGFloat) {}
  public static var white: UIColor { fatalError() }
  public var cgColor: CGColor { fatalError() }
  public func withAlphaComponent(_ alpha: CGFloat) -> UIColor { fatalError() }
}
public final class UIFont { public static func systemFont(ofSize size: CGFloat) -> UIFont { fatalError() } }
extension NSAttributedString.Key {
  public static var font: NSAttributedString.Key { fatalError() }
  public static var foregroundColor: NSAttributedString.Key { fatalError() }
  public static var backgroundColor: NSAttributedString.Key { fatalError() }
}
extension NSString {
  public func draw(at point: CGPoint, withAttributes attributes: [NSAttributedString.Key: Any]?) {}
}
public final class UIImage {
  public enum Orientation { case up, other }
  public init(cgImage: CGImage) {}
  public init?(data: Data) {}
  public var cgImage: CGImage? { fatalError() }
  public var imageOrientation: Orientation { fatalError() }
  public var size: CGSize { fatalError() }
  public var scale: CGFloat { fatalError() }
  public func draw(in rect: CGRect) {}
}
public final class UIGraphicsImageRendererFormat {
  public init() {}
  public var scale: CGFloat = 1
  public var opaque = false
}
public final class UIGraphicsImageRendererContext { public var cgContext: CGContext { fatalError() } }
public final class UIGraphicsImageRenderer {
  public init(size: CGSize, format: UIGraphicsImageRendererFormat) {}
  public func image(actions: (UIGraphicsImageRendererContext) -> Void) -> UIImage { fatalError() }
}

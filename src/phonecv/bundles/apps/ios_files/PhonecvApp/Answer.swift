import UIKit

/// A class in a picture: its probability, score, or share of the pixels, and for objects where it is.
struct Found {
  let label: Int
  let name: String
  let share: Float
  var box: CGRect?
}

/// What was found, and a drawing of it that lies over the picture.
struct Answer {
  let found: [Found]
  var drawing: UIImage?
}

/// Upright pixels as the reader takes them: red, green, blue and a fourth, row by row.
struct Picture {
  let pixels: [UInt8]
  let width: Int
  let height: Int

  init(_ image: UIImage) throws {
    guard let image = image.cgImage else { throw Trouble("this picture has no pixels") }
    (width, height) = (image.width, image.height)
    var bytes = [UInt8](repeating: 255, count: 4 * width * height)  // what is seen through is white
    try bytes.withUnsafeMutableBytes { memory in
      guard
        let context = CGContext(
          data: memory.baseAddress, width: image.width, height: image.height, bitsPerComponent: 8,
          bytesPerRow: 4 * image.width, space: image.colorSpace?.model == .rgb ? image.colorSpace! : Self.plain,
          bitmapInfo: CGImageAlphaInfo.premultipliedLast.rawValue)
      else { throw Trouble("this kind of picture cannot be read") }
      context.draw(image, in: CGRect(x: 0, y: 0, width: image.width, height: image.height))
    }
    pixels = bytes
  }

  private static let plain = CGColorSpaceCreateDeviceRGB()
}

extension UIImage {
  /// The same, with what the camera noted about its orientation applied.
  func upright() -> UIImage {
    if imageOrientation == .up { return self }
    let format = UIGraphicsImageRendererFormat()
    format.scale = scale
    return UIGraphicsImageRenderer(size: size, format: format).image { _ in
      draw(in: CGRect(origin: .zero, size: size))
    }
  }

  /// A drawing of pixels, through which lies what it is laid over.
  static func drawn(width: Int, height: Int, _ act: (CGContext) -> Void) -> UIImage {
    let format = UIGraphicsImageRendererFormat()
    format.scale = 1
    format.opaque = false
    return UIGraphicsImageRenderer(size: CGSize(width: width, height: height), format: format).image {
      act($0.cgContext)
    }
  }
}

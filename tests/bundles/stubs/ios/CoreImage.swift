// As much of Core Image as the app calls.
import CoreML
@_exported import UIKit

public final class CIImage { public init(cvPixelBuffer: CVPixelBuffer) {}; public var extent: CGRect { fatalError() } }
public final class CIContext {
  public init() {}
  public func createCGImage(_ image: CIImage, from rect: CGRect) -> CGImage? { fatalError() }
}

// As much of AVFoundation and Core Media as the app calls.
import CoreML
@_exported import Foundation

public final class CMSampleBuffer {}
public func CMSampleBufferGetImageBuffer(_ buffer: CMSampleBuffer) -> CVPixelBuffer? { fatalError() }
public struct AVMediaType { public static var video: AVMediaType { fatalError() } }
public final class AVCaptureDevice {
  public struct DeviceType { public static var builtInWideAngleCamera: DeviceType { fatalError() } }
  public enum Position { case back }
  public static func requestAccess(for type: AVMediaType, completionHandler: @escaping (Bool) -> Void) {}
  public static func `default`(_ kind: DeviceType, for type: AVMediaType?, position: Position) -> AVCaptureDevice? { fatalError() }
}
open class AVCaptureInput {}
public final class AVCaptureDeviceInput: AVCaptureInput { public init(device: AVCaptureDevice) throws {} }
public final class AVCaptureConnection { public var videoRotationAngle: CGFloat = 0 }
open class AVCaptureOutput { public init() {};  public func connection(with type: AVMediaType) -> AVCaptureConnection? { fatalError() } }
public protocol AVCaptureVideoDataOutputSampleBufferDelegate: AnyObject {
  func captureOutput(_ output: AVCaptureOutput, didOutput buffer: CMSampleBuffer, from connection: AVCaptureConnection)
}
public final class AVCaptureVideoDataOutput: AVCaptureOutput {
  public override init() {}
  public var alwaysDiscardsLateVideoFrames = true
  public func setSampleBufferDelegate(_ delegate: AVCaptureVideoDataOutputSampleBufferDelegate?, queue: DispatchQueue?) {}
}
public final class AVCaptureSession {
  public struct Preset { public static var vga640x480: Preset { fatalError() } }
  public init() {}
  public var sessionPreset: Preset = .vga640x480
  public var inputs: [AVCaptureInput] { fatalError() }
  public func addInput(_ input: AVCaptureInput) {}
  public func addOutput(_ output: AVCaptureOutput) {}
  public func startRunning() {}
  public func stopRunning() {}
}

import AVFoundation
import CoreImage

/// Upright pictures of the camera on the back, one after the other; those that come while one is looked at are dropped.
final class Camera: NSObject, AVCaptureVideoDataOutputSampleBufferDelegate {
  private let session = AVCaptureSession()
  private let context = CIContext()
  private var receive: ((Result<CGImage, Error>) -> Void)?

  func start(on queue: DispatchQueue, _ receive: @escaping (Result<CGImage, Error>) -> Void) {
    AVCaptureDevice.requestAccess(for: .video) { [self] granted in
      queue.async { [self] in
        self.receive = receive
        do {
          guard granted else { throw Trouble("without permission there is no camera; photos work") }
          if session.inputs.isEmpty { try connect(queue) }
          session.startRunning()
        } catch {
          receive(.failure(error))
        }
      }
    }
  }

  func stop() { DispatchQueue.global().async { [self] in session.stopRunning() } }

  private func connect(_ queue: DispatchQueue) throws {
    guard let device = AVCaptureDevice.default(.builtInWideAngleCamera, for: .video, position: .back) else {
      throw Trouble("this device has no camera on its back")
    }
    session.sessionPreset = .vga640x480
    session.addInput(try AVCaptureDeviceInput(device: device))
    let output = AVCaptureVideoDataOutput()
    output.alwaysDiscardsLateVideoFrames = true
    output.setSampleBufferDelegate(self, queue: queue)
    session.addOutput(output)
    output.connection(with: .video)?.videoRotationAngle = 90  // the app is held upright
  }

  func captureOutput(_ output: AVCaptureOutput, didOutput buffer: CMSampleBuffer, from connection: AVCaptureConnection) {
    guard let pixels = CMSampleBufferGetImageBuffer(buffer) else { return }
    let frame = CIImage(cvPixelBuffer: pixels)
    if let image = context.createCGImage(frame, from: frame.extent) { receive?(.success(image)) }
  }
}

import PhotosUI
import SwiftUI

@main
struct PhonecvApp: App {
  var body: some Scene {
    WindowGroup { ContentView() }
  }
}

/// Camera or photo -> network -> answer. All of it stays on the device.
struct ContentView: View {
  @StateObject private var screen = Screen()
  @State private var picked: PhotosPickerItem?

  var body: some View {
    VStack(spacing: 12) {
      ZStack {
        if let picture = screen.picture { Image(uiImage: picture).resizable().scaledToFit() }
        if let drawing = screen.answer?.drawing { Image(uiImage: drawing).resizable().scaledToFit() }
      }
      .frame(maxWidth: .infinity, maxHeight: .infinity)
      .background(Color.black)
      HStack {
        Button(screen.filming ? "Stop" : "Camera") { screen.toggleCamera() }
        PhotosPicker("Photo", selection: $picked, matching: .images)
      }
      .buttonStyle(.borderedProminent)
      VStack(alignment: .leading, spacing: 4) {
        ForEach(screen.lines, id: \.self) { line in Text(line) }
        Text(screen.status).font(.footnote)
        Text(screen.check).font(.footnote)
      }
      .frame(maxWidth: .infinity, alignment: .leading)
      .padding()
    }
    .onChange(of: picked) { _, item in
      guard let item else { return }
      Task {
        do {
          if let data = try await item.loadTransferable(type: Data.self) { screen.look(at: data) }
        } catch {
          screen.tell(error)
        }
      }
    }
    .task { screen.open() }
  }
}

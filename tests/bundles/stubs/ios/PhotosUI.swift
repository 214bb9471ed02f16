// As much of PhotosUI as the app calls.
@_exported import SwiftUI

public struct PHPickerFilter { public static var images: PHPickerFilter { fatalError() } }
public struct PhotosPickerItem: Equatable {
  public func loadTransferable<T>(type: T.Type) async throws -> T? { fatalError() }
}
public struct PhotosPicker: Leaf {
  public init(_ title: String, selection: Binding<PhotosPickerItem?>, matching: PHPickerFilter?) {}
}

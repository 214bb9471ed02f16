// As much of SwiftUI and Combine as the app calls.
@_exported import Foundation
@_exported import UIKit

public protocol ObservableObject: AnyObject {}
@propertyWrapper public struct Published<Value> {
  public init(wrappedValue: Value) { self.wrappedValue = wrappedValue }
  public var wrappedValue: Value
}
@propertyWrapper public struct StateObject<Kept: ObservableObject> {
  public init(wrappedValue make: @autoclosure @escaping () -> Kept) { fatalError() }
  public var wrappedValue: Kept { fatalError() }
}
public struct Binding<Value> {}
@propertyWrapper public struct State<Value> {
  public init(wrappedValue: Value) { fatalError() }
  public init() where Value: ExpressibleByNilLiteral { fatalError() }
  public var wrappedValue: Value { get { fatalError() } nonmutating set {} }
  public var projectedValue: Binding<Value> { fatalError() }
}
public protocol View {
  associatedtype Body: View
  @ViewBuilder var body: Body { get }
}
extension Never: View { public var body: Never { fatalError() } }
public protocol Leaf: View where Body == Never {}
extension Leaf { public var body: Never { fatalError() } }
public struct Group: Leaf {}
extension Optional: View where Wrapped: View { public var body: Never { fatalError() } }
@resultBuilder public enum ViewBuilder {
  public static func buildBlock<each Content: View>(_ content: repeat each Content) -> Group { fatalError() }
  public static func buildBlock<Content: View>(_ content: Content) -> Content { content }
  public static func buildIf<Content: View>(_ content: Content?) -> Content? { content }
}
public protocol Scene {
  associatedtype Body: Scene
  @SceneBuilder var body: Body { get }
}
extension Never: Scene {}
@resultBuilder public enum SceneBuilder { public static func buildBlock<Content: Scene>(_ content: Content) -> Content { content } }
public struct WindowGroup: Scene {
  public init<Content: View>(@ViewBuilder content: () -> Content) {}
  public var body: Never { fatalError() }
}
public protocol App {
  associatedtype Body: Scene
  @SceneBuilder var body: Body { get }
  init()
}
extension App { public static func main() {} }
public enum HorizontalAlignment { case leading }
public enum Alignment { case leading, center }
public struct Font { public static var footnote: Font { fatalError() } }
public struct Color: Leaf { public static var black: Color { fatalError() } }
public struct VStack: Leaf {
  public init<Content: View>(alignment: HorizontalAlignment = .leading, spacing: CGFloat? = nil, @ViewBuilder content: () -> Content) {}
}
public struct HStack: Leaf { public init<Content: View>(@ViewBuilder content: () -> Content) {} }
public struct ZStack: Leaf { public init<Content: View>(@ViewBuilder content: () -> Content) {} }
public struct ForEach: Leaf {
  public init<Element, ID: Hashable, Content: View>(_ data: [Element], id: KeyPath<Element, ID>, @ViewBuilder content: @escaping (Element) -> Content) {}
}
public struct Text: Leaf { public init(_ text: String) {} }
public struct Image: Leaf {
  public init(uiImage: UIImage) {}
  public func resizable() -> Image { self }
}
public struct Button: Leaf { public init(_ title: String, action: @escaping () -> Void) {} }
public struct BorderedProminentButtonStyle {}
extension BorderedProminentButtonStyle { public static var borderedProminent: BorderedProminentButtonStyle { fatalError() } }
extension View {
  public func scaledToFit() -> some View { self }
  public func frame(maxWidth: CGFloat? = nil, maxHeight: CGFloat? = nil, alignment: Alignment = .center) -> some View { self }
  public func background(_ color: Color) -> some View { self }
  public func font(_ font: Font?) -> some View { self }
  public func padding() -> some View { self }
  public func buttonStyle(_ style: BorderedProminentButtonStyle) -> some View { self }
  public func onChange<V: Equatable>(of value: V, _ action: @escaping (V, V) -> Void) -> some View { self }
  public func task(_ action: @escaping () async -> Void) -> some View { self }
}

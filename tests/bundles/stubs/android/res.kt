@file:Suppress("UNUSED_PARAMETER", "unused")

package android.content.res

class AssetManager {
    fun open(name: String): java.io.InputStream = TODO()
    fun openFd(name: String): AssetFileDescriptor = TODO()
}
class AssetFileDescriptor : java.io.Closeable {
    val fileDescriptor: java.io.FileDescriptor get() = TODO()
    val startOffset: Long get() = TODO()
    val declaredLength: Long get() = TODO()
    override fun close() {}
}

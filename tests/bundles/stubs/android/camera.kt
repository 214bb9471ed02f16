@file:Suppress("UNUSED_PARAMETER", "unused")

package androidx.camera.core

import androidx.camera.core.resolutionselector.ResolutionSelector
import java.util.concurrent.Executor

open class UseCase
class CameraSelector { companion object { @JvmField val DEFAULT_BACK_CAMERA: CameraSelector = TODO() } }
interface ImageInfo { val rotationDegrees: Int }
interface ImageProxy : AutoCloseable {
    val width: Int
    val height: Int
    val imageInfo: ImageInfo
    fun toBitmap(): android.graphics.Bitmap
}
class Preview : UseCase() {
    interface SurfaceProvider
    fun setSurfaceProvider(provider: SurfaceProvider?) {}
    class Builder {
        fun setResolutionSelector(selector: ResolutionSelector): Builder = TODO()
        fun build(): Preview = TODO()
    }
}
class ImageAnalysis : UseCase() {
    fun interface Analyzer { fun analyze(image: ImageProxy) }
    fun setAnalyzer(executor: Executor, analyzer: Analyzer) {}
    class Builder {
        fun setResolutionSelector(selector: ResolutionSelector): Builder = TODO()
        fun setOutputImageFormat(format: Int): Builder = TODO()
        fun setBackpressureStrategy(strategy: Int): Builder = TODO()
        fun build(): ImageAnalysis = TODO()
    }
    companion object { const val OUTPUT_IMAGE_FORMAT_RGBA_8888 = 2; const val STRATEGY_KEEP_ONLY_LATEST = 0 }
}

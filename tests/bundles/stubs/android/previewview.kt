package androidx.camera.view

import androidx.camera.core.Preview

class PreviewView(context: android.content.Context) : android.widget.FrameLayout(context) {
    enum class ScaleType { FIT_CENTER }
    var scaleType: ScaleType = ScaleType.FIT_CENTER
    val surfaceProvider: Preview.SurfaceProvider get() = TODO()
}

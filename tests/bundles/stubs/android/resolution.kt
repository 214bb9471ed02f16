@file:Suppress("UNUSED_PARAMETER", "unused")

package androidx.camera.core.resolutionselector

class AspectRatioStrategy { companion object { @JvmField val RATIO_4_3_FALLBACK_AUTO_STRATEGY: AspectRatioStrategy = TODO() } }
class ResolutionSelector {
    class Builder {
        fun setAspectRatioStrategy(strategy: AspectRatioStrategy): Builder = TODO()
        fun build(): ResolutionSelector = TODO()
    }
}

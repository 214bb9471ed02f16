@file:Suppress("UNUSED_PARAMETER", "unused")

package androidx.camera.lifecycle

import androidx.camera.core.CameraSelector
import androidx.camera.core.UseCase

interface Coming<V> : java.util.concurrent.Future<V> { fun addListener(listener: Runnable, executor: java.util.concurrent.Executor) }
class ProcessCameraProvider {
    fun unbindAll() {}
    fun bindToLifecycle(owner: androidx.lifecycle.LifecycleOwner, selector: CameraSelector, vararg cases: UseCase?) {}
    companion object { @JvmStatic fun getInstance(context: android.content.Context): Coming<ProcessCameraProvider> = TODO() }
}

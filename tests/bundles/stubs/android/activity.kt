@file:Suppress("UNUSED_PARAMETER", "unused")

package androidx.activity

import androidx.activity.result.ActivityResultLauncher
import androidx.activity.result.contract.ActivityResultContract

open class ComponentActivity : android.content.Context(), androidx.lifecycle.LifecycleOwner {
    protected open fun onCreate(savedInstanceState: android.os.Bundle?) {}
    protected open fun onDestroy() {}
    fun setContentView(view: android.view.View) {}
    fun runOnUiThread(action: Runnable) {}
    fun <I, O> registerForActivityResult(
        contract: ActivityResultContract<I, O>,
        callback: androidx.activity.result.ActivityResultCallback<O>,
    ): ActivityResultLauncher<I> = TODO()
}

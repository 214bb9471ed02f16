package androidx.activity.result.contract

abstract class ActivityResultContract<I, O>
class ActivityResultContracts {
    class RequestPermission : ActivityResultContract<String, Boolean>()
    class PickVisualMedia : ActivityResultContract<androidx.activity.result.PickVisualMediaRequest, android.net.Uri?>() {
        sealed interface VisualMediaType
        object ImageOnly : VisualMediaType
    }
}

@file:Suppress("UNUSED_PARAMETER", "unused")

package android.content

import android.content.res.AssetManager

class ContentResolver
open class Context {
    val assets: AssetManager get() = TODO()
    val contentResolver: ContentResolver get() = TODO()
}

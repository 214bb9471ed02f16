@file:Suppress("UNUSED_PARAMETER", "unused")

package org.json

class JSONObject(text: String) {
    fun getInt(name: String): Int = TODO()
    fun getDouble(name: String): Double = TODO()
    fun optDouble(name: String, fallback: Double): Double = TODO()
    fun getJSONArray(name: String): JSONArray = TODO()
}
class JSONArray { fun length(): Int = TODO(); fun getJSONObject(index: Int): JSONObject = TODO() }

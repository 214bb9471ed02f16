@file:Suppress("UNUSED_PARAMETER", "unused")

package org.tensorflow.lite

import java.nio.ByteBuffer

enum class DataType { FLOAT32, INT32, INT64 }
interface Tensor { fun shape(): IntArray; fun dataType(): DataType; fun numBytes(): Int }
class Interpreter(model: ByteBuffer, options: Options) : AutoCloseable {
    class Options { fun setNumThreads(count: Int): Options = TODO() }
    val signatureKeys: Array<String> get() = TODO()
    fun getOutputTensorFromSignature(name: String, signature: String): Tensor = TODO()
    fun runSignature(inputs: Map<String, Any>, outputs: Map<String, Any>, signature: String) {}
    override fun close() {}
}

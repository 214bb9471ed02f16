package @ID@

import android.content.Context
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel
import org.tensorflow.lite.DataType
import org.tensorflow.lite.Interpreter

/** An output: its shape, the batch included, and its values. */
class Output(val shape: IntArray, private val type: DataType, private val bytes: ByteBuffer) {
    val floats: FloatArray
        get() = bytes.rewound().asFloatBuffer().let { from -> FloatArray(from.remaining()).also { from.get(it) } }

    /** Of whole numbers, whichever width they have. */
    val ints: IntArray
        get() = when (type) {
            DataType.INT32 ->
                bytes.rewound().asIntBuffer().let { from -> IntArray(from.remaining()).also { from.get(it) } }
            DataType.INT64 ->
                bytes.rewound().asLongBuffer().let { from -> IntArray(from.remaining()) { i -> from.get(i).toInt() } }
            else -> floats.let { from -> IntArray(from.size) { from[it].toInt() } }
        }
}

private fun ByteBuffer.rewound(): ByteBuffer = duplicate().order(ByteOrder.nativeOrder()).apply { rewind() }

/** The network in LiteRT, on the processor. For one thread at a time. */
class Model(context: Context) : AutoCloseable {
    private val interpreter = Interpreter(opened(context), Interpreter.Options().apply { setNumThreads(4) })
    private val signature = interpreter.signatureKeys.first()

    /** Outputs by name, for what the reader's `preprocess` gives. */
    fun run(values: FloatArray): Map<String, Output> {
        val input = ByteBuffer.allocateDirect(4 * values.size).order(ByteOrder.nativeOrder())
        input.asFloatBuffer().put(values)
        val outputs = OUTPUTS.associateWith { name ->
            val tensor = interpreter.getOutputTensorFromSignature(name, signature)
            val bytes = ByteBuffer.allocateDirect(tensor.numBytes()).order(ByteOrder.nativeOrder())
            Triple(tensor.shape(), tensor.dataType(), bytes)
        }
        val given: Map<String, Any> = mapOf(INPUT to input)
        interpreter.runSignature(given, outputs.mapValues { (_, one) -> one.third as Any }, signature)
        return outputs.mapValues { (_, one) -> Output(one.first, one.second, one.third) }
    }

    override fun close() = interpreter.close()

    private companion object {
        const val INPUT = "@INPUT@"
        val OUTPUTS = listOf(@OUTPUTS@)

        fun opened(context: Context): ByteBuffer = context.assets.openFd("model.tflite").use { file ->
            FileInputStream(file.fileDescriptor).use {
                it.channel.map(FileChannel.MapMode.READ_ONLY, file.startOffset, file.declaredLength)
            }
        }
    }
}

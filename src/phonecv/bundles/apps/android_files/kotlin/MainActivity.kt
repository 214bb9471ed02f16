package @ID@

import android.Manifest
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.Color
import android.graphics.ImageDecoder
import android.graphics.Matrix
import android.net.Uri
import android.os.Bundle
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.FrameLayout
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.activity.result.PickVisualMediaRequest
import androidx.activity.result.contract.ActivityResultContracts
import androidx.camera.core.CameraSelector
import androidx.camera.core.ImageAnalysis
import androidx.camera.core.ImageProxy
import androidx.camera.core.Preview
import androidx.camera.core.resolutionselector.AspectRatioStrategy
import androidx.camera.core.resolutionselector.ResolutionSelector
import androidx.camera.lifecycle.ProcessCameraProvider
import androidx.camera.view.PreviewView
import androidx.core.content.ContextCompat
import androidx.core.view.ViewCompat
import androidx.core.view.WindowInsetsCompat
import java.util.Locale
import java.util.concurrent.Executors
import org.json.JSONObject

/** Camera or photo -> network -> answer. All of it stays on the device. */
class MainActivity : ComponentActivity() {
    private val work = Executors.newSingleThreadExecutor()
    private lateinit var model: Model // used on `work` alone
    private lateinit var names: List<String>
    private lateinit var preview: PreviewView
    private lateinit var picture: ImageView
    private lateinit var drawing: ImageView
    private lateinit var lines: TextView
    private lateinit var status: TextView
    private var check = ""
    private var camera: ProcessCameraProvider? = null

    private val askCamera = registerForActivityResult(ActivityResultContracts.RequestPermission()) { granted ->
        if (granted) startCamera() else tell("Without permission there is no camera; photos work.")
    }
    private val pickPhoto = registerForActivityResult(ActivityResultContracts.PickVisualMedia()) { place ->
        if (place != null) showPhoto(place)
    }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(layout())
        tell("Opening the network …")
        inBackground {
            names = assets.open("labels.txt").bufferedReader().readLines()
            model = Model(this)
            checkTestPicture()
        }
    }

    override fun onDestroy() {
        super.onDestroy()
        work.execute { if (::model.isInitialized) model.close() }
        work.shutdown()
    }

    /** What this device finds in the test picture, against what phonecv found. */
    private fun checkTestPicture() {
        val expected = JSONObject(assets.open("expected.json").bufferedReader().readText())
        val options = BitmapFactory.Options().apply { inScaled = false }
        val test = assets.open("test.png").use { BitmapFactory.decodeStream(it, null, options) }
            ?: throw IllegalStateException("the test picture cannot be opened")
        // Objects at the threshold may fall just below it here; shares are those of all pixels.
        val threshold = 0.9f * expected.optDouble("threshold", 0.3).toFloat()
        val answer = Answers.of(test, model, names, threshold, Int.MAX_VALUE)
        val apart = Answers.difference(answer, expected)
        val same = apart <= TOLERANCE
        check = String.format(Locale.getDefault(), "Test picture: largest difference from phonecv %.4f", apart) +
            if (same) ", as it should be." else ". That is more than $TOLERANCE: this device does not compute the same."
        show(answer, test, "Ready. Nothing leaves this device.")
    }

    private fun showPhoto(place: Uri) {
        stopCamera()
        inBackground {
            val photo = ImageDecoder.decodeBitmap(ImageDecoder.createSource(contentResolver, place)) { decoder, info, _ ->
                decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE // whose pixels can be read
                decoder.setTargetSampleSize(maxOf(1, maxOf(info.size.width, info.size.height) / LONGEST))
            }
            val start = System.nanoTime()
            val answer = Answers.of(photo, model, names)
            show(answer, photo, "${milliseconds(start)} ms, on this device")
        }
    }

    private fun startCamera() {
        val coming = ProcessCameraProvider.getInstance(this)
        coming.addListener({
            val provider = coming.get()
            // Both of one shape, so that the drawing fits.
            val shape = ResolutionSelector.Builder()
                .setAspectRatioStrategy(AspectRatioStrategy.RATIO_4_3_FALLBACK_AUTO_STRATEGY)
                .build()
            val shown = Preview.Builder().setResolutionSelector(shape).build()
            shown.setSurfaceProvider(preview.surfaceProvider)
            val analysis = ImageAnalysis.Builder()
                .setResolutionSelector(shape)
                .setOutputImageFormat(ImageAnalysis.OUTPUT_IMAGE_FORMAT_RGBA_8888)
                .setBackpressureStrategy(ImageAnalysis.STRATEGY_KEEP_ONLY_LATEST)
                .build()
            analysis.setAnalyzer(work, ::lookAt)
            provider.unbindAll()
            provider.bindToLifecycle(this, CameraSelector.DEFAULT_BACK_CAMERA, shown, analysis)
            camera = provider
            preview.visibility = View.VISIBLE
            picture.setImageDrawable(null)
            drawing.setImageDrawable(null)
        }, ContextCompat.getMainExecutor(this))
    }

    private fun stopCamera() {
        camera?.unbindAll()
        camera = null
        preview.visibility = View.INVISIBLE
    }

    private fun lookAt(frame: ImageProxy) = guarded {
        val upright = frame.use {
            val turn = Matrix().apply { postRotate(it.imageInfo.rotationDegrees.toFloat()) }
            Bitmap.createBitmap(it.toBitmap(), 0, 0, it.width, it.height, turn, true)
        }
        val start = System.nanoTime()
        val answer = Answers.of(upright, model, names)
        show(answer, null, "${milliseconds(start)} ms a picture, on this device")
    }

    private fun show(answer: Answer, shown: Bitmap?, text: String) = runOnUiThread {
        if (shown == null && camera == null) return@runOnUiThread // a late answer of a camera that was stopped
        if (shown != null) picture.setImageBitmap(shown)
        drawing.setImageBitmap(answer.drawing)
        lines.text = answer.found.take(SHOWN).joinToString("\n").ifEmpty { "Nothing found." }
        tell(text)
    }

    private fun tell(text: String) {
        status.text = listOf(text, check).filter { it.isNotEmpty() }.joinToString("\n")
    }

    private fun inBackground(act: () -> Unit) = work.execute { guarded(act) }

    private fun guarded(act: () -> Unit) {
        try {
            act()
        } catch (error: Exception) { // a person is told, whatever it is
            runOnUiThread { tell("It does not work: ${error.message ?: error}") }
        }
    }

    private fun layout(): View {
        preview = PreviewView(this).apply { scaleType = PreviewView.ScaleType.FIT_CENTER }
        picture = ImageView(this)
        drawing = ImageView(this)
        lines = TextView(this).apply { textSize = 18f }
        status = TextView(this).apply { textSize = 13f }
        val stage = FrameLayout(this).apply { setBackgroundColor(Color.BLACK) }
        for (view in listOf(preview, picture, drawing)) {
            stage.addView(view, FrameLayout.LayoutParams(MATCH, MATCH))
        }
        val cameraButton = Button(this).apply {
            text = "Camera"
            setOnClickListener { if (camera == null) askCamera.launch(Manifest.permission.CAMERA) else stopCamera() }
        }
        val photoButton = Button(this).apply {
            text = "Photo"
            setOnClickListener {
                pickPhoto.launch(PickVisualMediaRequest(ActivityResultContracts.PickVisualMedia.ImageOnly))
            }
        }
        val buttons = LinearLayout(this)
        for (button in listOf(cameraButton, photoButton)) {
            buttons.addView(button, LinearLayout.LayoutParams(0, WRAP, 1f))
        }
        return LinearLayout(this).apply {
            orientation = LinearLayout.VERTICAL
            addView(stage, LinearLayout.LayoutParams(MATCH, 0, 1f))
            for (view in listOf(buttons, lines, status)) {
                addView(view, LinearLayout.LayoutParams(MATCH, WRAP))
            }
            ViewCompat.setOnApplyWindowInsetsListener(this) { view, insets ->
                val bars = insets.getInsets(WindowInsetsCompat.Type.systemBars())
                view.setPadding(bars.left, bars.top, bars.right, bars.bottom)
                insets
            }
        }
    }

    private companion object {
        /** Largest difference that is told as the same: runtimes round differently, and 8-bit files more so. */
        const val TOLERANCE = 0.02f
        const val MATCH = ViewGroup.LayoutParams.MATCH_PARENT
        const val WRAP = ViewGroup.LayoutParams.WRAP_CONTENT
        const val SHOWN = 6 // lines
        const val LONGEST = 3000 // side of a photo, pixels; larger ones are opened smaller

        fun milliseconds(start: Long): Long = (System.nanoTime() - start) / 1_000_000
    }
}

// How a picture becomes a network's input: the same as phonecv.data.pictures.reading, to the last bit.
//
// Browsers' own scaling is not antialiased in the way the networks were trained with, so Pillow's is done here: two
// passes, weights rounded to 22 bits, 8 bits between the passes.

const PRECISION = 22;

// Longer pictures are cut to this many times their short side first, as phonecv.data.pictures.reading does.
const MAX_ASPECT = 16;

// Safari refuses canvases above 16.7 million pixels.
const MAX_AREA = 16_000_000;

const FILTERS = {
  bilinear: { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    support: 2,
    at(x) {
      const a = -0.5;
      x = Math.abs(x);
      if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
    },
  },
};

/** The pixels of a photo, a video frame or an image file: {width, height, data: RGBA bytes}; alpha goes onto white. */
export async function readPixels(source) {
  // Embedded colour profiles are ignored, as in training; the orientation that a camera notes is not.
  const options = { colorSpaceConversion: "none", imageOrientation: "from-image" };
  const bitmap = source instanceof Blob ? await createImageBitmap(source, options) : source;
  let width = bitmap.videoWidth || bitmap.width, height = bitmap.videoHeight || bitmap.height;
  const fit = Math.min(1, Math.sqrt(MAX_AREA / (width * height)));
  [width, height] = [Math.max(1, Math.floor(width * fit)), Math.max(1, Math.floor(height * fit))];
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  if (bitmap !== source) bitmap.close();
  return { width, height, data: context.getImageData(0, 0, width, height).data };
}

/** Short side to int(size / crop), then the centre: RGB bytes, size x size x 3. */
export function resizedCentre(image, { size, crop, interpolation }) {
  const picture = limitAspect(image);
  const { width, height } = picture;
  const short = Math.floor(size / crop);
  const [scaledWidth, scaledHeight] =
    width <= height ? [short, Math.floor((short * height) / width)] : [Math.floor((short * width) / height), short];
  const left = roundHalfEven((scaledWidth - size) / 2), top = roundHalfEven((scaledHeight - size) / 2);
  return resample(picture, scaledWidth, scaledHeight, interpolation, { left, top, width: size, height: size });
}

/** The whole picture at another size, its aspect changed: RGB bytes. */
export function stretched(image, width, height, interpolation = "bicubic") {
  return resample(image, width, height, interpolation, { left: 0, top: 0, width, height });
}

/** Bytes H W 3 as a network takes them: float32, "nchw" or "nhwc", normalised or 0..255; with one mean in gray. */
export function asInput(pixels, { mean, std }, { layout, baked }) {
  if (mean.length === 1) return asGray(pixels, baked ? (level) => level : (level) => (level / 255 - mean[0]) / std[0]);
  const count = pixels.length / 3, values = new Float32Array(pixels.length);
  for (let channel = 0; channel < 3; channel++) {
    const table = Float32Array.from({ length: 256 }, (_, level) =>
      baked ? level : (level / 255 - mean[channel]) / std[channel],
    );
    const [start, step] = layout === "nchw" ? [channel * count, 1] : [channel, 3];
    for (let i = 0; i < count; i++) values[start + i * step] = table[pixels[i * 3 + channel]];
  }
  return values;
}

/** Gray as Pillow's "L" has it, the luma of ITU-R 601-2; `value` makes a number of a byte. */
function asGray(pixels, value) {
  const table = Float32Array.from({ length: 256 }, (_, level) => value(level));
  return Float32Array.from({ length: pixels.length / 3 }, (_, place) => {
    const i = 3 * place;
    return table[(19595 * pixels[i] + 38470 * pixels[i + 1] + 7471 * pixels[i + 2] + 0x8000) >> 16];
  });
}

/** The part `window` of a picture at width x height, as Pillow resizes it. */
function resample(image, width, height, interpolation, window) {
  const filter = FILTERS[interpolation];
  const across = weights(image.width, width, window.left, window.width, filter);
  const down = weights(image.height, height, window.top, window.height, filter);
  const first = down.starts[0];
  const rows = down.starts[window.height - 1] + down.lengths[window.height - 1] - first;
  const between = new Uint8ClampedArray(rows * window.width * 3);
  for (let y = 0; y < rows; y++) {
    const row = (first + y) * image.width * 4;
    pass(image.data, (x) => row + x * 4, 4, across, between, y * window.width * 3, 3);
  }
  const result = new Uint8ClampedArray(window.height * window.width * 3);
  const stride = window.width * 3;
  for (let x = 0; x < window.width; x++) {
    pass(between, (y) => (y - first) * stride + x * 3, stride, down, result, x * 3, stride);
  }
  return result;
}

/** One line of weighted sums; `at` gives the place of a source pixel, `step` the way to the next. */
function pass(source, at, step, { starts, lengths, values, taps }, target, place, stride) {
  for (let i = 0; i < starts.length; i++, place += stride) {
    let from = at(starts[i]), red = 1 << (PRECISION - 1), green = red, blue = red;
    for (let k = i * taps, end = k + lengths[i]; k < end; k++, from += step) {
      const weight = values[k];
      red += source[from] * weight;
      green += source[from + 1] * weight;
      blue += source[from + 2] * weight;
    }
    target[place] = red >> PRECISION; // the clamped array does the rest
    target[place + 1] = green >> PRECISION;
    target[place + 2] = blue >> PRECISION;
  }
}

/** For `count` target pixels from `first`: where their source pixels start, how many there are, and their weights. */
function weights(sourceSize, targetSize, first, count, filter) {
  const scale = sourceSize / targetSize, stretch = Math.max(1, scale), support = filter.support * stretch;
  const taps = Math.ceil(support) * 2 + 1;
  const starts = new Int32Array(count), lengths = new Int32Array(count), values = new Int32Array(count * taps);
  for (let i = 0; i < count; i++) {
    const centre = (first + i + 0.5) * scale;
    starts[i] = Math.max(0, Math.trunc(centre - support + 0.5));
    lengths[i] = Math.min(sourceSize, Math.trunc(centre + support + 0.5)) - starts[i];
    const raw = Array.from({ length: lengths[i] }, (_, x) => filter.at((x + starts[i] - centre + 0.5) * (1 / stretch)));
    const total = raw.reduce((sum, value) => sum + value, 0);
    raw.forEach((value, x) => {
      const weight = total ? value / total : value;
      values[i * taps + x] = Math.trunc(weight * (1 << PRECISION) + (weight < 0 ? -0.5 : 0.5));
    });
  }
  return { starts, lengths, values, taps };
}

function limitAspect(image) {
  const longest = MAX_ASPECT * Math.min(image.width, image.height);
  if (Math.max(image.width, image.height) <= longest) return image;
  const width = Math.min(image.width, longest), height = Math.min(image.height, longest);
  const left = Math.max(0, Math.floor((image.width - longest) / 2));
  const top = Math.max(0, Math.floor((image.height - longest) / 2));
  const data = new Uint8ClampedArray(width * height * 4);
  for (let y = 0; y < height; y++) {
    const from = ((top + y) * image.width + left) * 4;
    data.set(image.data.subarray(from, from + width * 4), y * width * 4);
  }
  return { width, height, data };
}

/** Python's round(). */
function roundHalfEven(value) {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + (below & 1) : Math.round(value);
}

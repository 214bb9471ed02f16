//if stretch fit
const HEIGHT = @HEIGHT@, WIDTH = @WIDTH@; // of the input, pixels
//end
//if free
const SHORT = @SHORT@, LONGEST = @LONGEST@; // most that the sides of a resized picture have, pixels
const MULTIPLE = @MULTIPLE@; // height and width of the input are padded to multiples of this
//end
const NORMALISE = @NORMALISE@; // false: the model takes pixel values 0..255
const CHANNELS_FIRST = @CHANNELS_FIRST@;
const MEAN = [@MEAN@]; // of values in 0..1, @COLOURS@
const STD = [@STD@];

export const NAMES = [
  @NAMES@,
];

/**
 * A picture {width, height, data: RGBA bytes} as the model takes it.
 *
 * `values` is the input, a Float32Array of `height` x `width` pixels; the picture fills `usedHeight` x `usedWidth` of
 * them at the upper left, the rest is padding.
 */
export function preprocess(image) {
  const input = { ...sized(image.width, image.height), pictureHeight: image.height, pictureWidth: image.width };
  const rows = line(image.height, input.usedHeight), columns = line(image.width, input.usedWidth);
  const area = input.height * input.width, step = CHANNELS_FIRST ? 1 : @CHANNELS@;
  const values = new Float32Array(@CHANNELS@ * area);
  for (let c = 0; c < @CHANNELS@; c++) {
    const start = CHANNELS_FIRST ? c * area : c;
    const padding = NORMALISE ? 0 : MEAN[c] * 255; // the mean colour
    for (let i = 0; i < area; i++) values[start + i * step] = padding;
    for (let y = 0; y < input.usedHeight; y++) {
      const upper = rows.low[y] * image.width, lower = rows.high[y] * image.width;
      for (let x = 0; x < input.usedWidth; x++) {
        const left = columns.low[x], right = columns.high[x], share = columns.share[x];
        const value = between(
          between(sample(image.data, upper + left, c), sample(image.data, upper + right, c), share),
          between(sample(image.data, lower + left, c), sample(image.data, lower + right, c), share),
          rows.share[y],
        );
        values[start + (y * input.width + x) * step] = NORMALISE ? (value / 255 - MEAN[c]) / STD[c] : value;
      }
    }
  }
  return { ...input, values };
}

/** What a pixel of RGBA bytes has in channel `c` of the input. */
function sample(data, pixel, c) {
//if rgb
  return data[pixel * 4 + c];
//end
//if gray
  const i = pixel * 4 + c;
  return (19595 * data[i] + 38470 * data[i + 1] + 7471 * data[i + 2]) / 65536; // the luma of ITU-R 601-2
//end
}

/** Sizes of the input for a picture, and how much of it the picture fills. */
function sized(width, height) {
  if (!(width >= 1 && height >= 1)) throw new Error("phonecv: no picture was given");
//if stretch
  return { height: HEIGHT, width: WIDTH, usedHeight: HEIGHT, usedWidth: WIDTH };
//end
//if fit
  const factor = Math.min(HEIGHT / height, WIDTH / width);
  const usedHeight = Math.min(HEIGHT, Math.max(1, Math.floor(height * factor + 0.5)));
  const usedWidth = Math.min(WIDTH, Math.max(1, Math.floor(width * factor + 0.5)));
  return { height: HEIGHT, width: WIDTH, usedHeight, usedWidth };
//end
//if free
  const factor = Math.min(LONGEST / Math.max(height, width), SHORT / Math.min(height, width));
  const usedHeight = Math.max(1, Math.floor(height * factor + 0.5));
  const usedWidth = Math.max(1, Math.floor(width * factor + 0.5));
  const padded = (side) => Math.ceil(side / MULTIPLE) * MULTIPLE;
  return { height: padded(usedHeight), width: padded(usedWidth), usedHeight, usedWidth };
//end
}

/**
 * Where the pixels of a line of `to` lie in a line of `from`: bilinear without antialiasing, as in the evaluation, and
 * in 32 bits as there.
 */
function line(from, to) {
  const low = new Int32Array(to), high = new Int32Array(to), share = new Float32Array(to);
  const scale = Math.fround(from / to);
  for (let i = 0; i < to; i++) {
    const place = Math.max(0, Math.fround(Math.fround(scale * (i + 0.5)) - 0.5));
    low[i] = Math.min(Math.floor(place), from - 1);
    high[i] = Math.min(low[i] + 1, from - 1);
    share[i] = place - low[i];
  }
  return { low, high, share };
}

function between(one, other, share) {
  return one * (1 - share) + other * share;
}

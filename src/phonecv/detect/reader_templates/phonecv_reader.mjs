// Pictures to the input of @NAME@, and its outputs to objects.
// Made by phonecv @VERSION@ from the file's own record. An ES module without dependencies.
//
//   const input = preprocess(context.getImageData(0, 0, canvas.width, canvas.height));
//   ... run the model on input.values, @LAYOUT_TEXT@ ...
//if raw
//   for (const { label, score, left, top, right, bottom } of detections(class_logits, box_codes, input, 0.3))
//end
//if boxes
//   for (const { label, score, left, top, right, bottom } of detections(scores, boxes, input, 0.3))
//end
//if final
//   for (const { label, score, left, top, right, bottom } of detections(boxes, scores, labels, input, 0.3))
//end
//     console.log(NAMES[label], score); // sides in pixels of the picture as given

//include phonecv.dense:input

const SCORE_THRESHOLD = Math.fround(@SCORE_THRESHOLD@); // scores have to be above it
//if raw boxes
const OVERLAP = @OVERLAP@; // intersection over union above which the weaker of two boxes goes
const CANDIDATES = @CANDIDATES@; // considered of each level
const MAX_DETECTIONS = @KEEP@; // of a picture
const CLASS_AGNOSTIC = @CLASS_AGNOSTIC@; // whether boxes of different classes drop each other, too

// Anchors: for each level its map, then for each kind the box at the map's first cell (x1 y1 x2 y2, pixels).
const KINDS = @KINDS@;
const STRIDES = [@STRIDES@];
//end
//if fixed_maps
const ROWS = [@ROWS@];
const COLUMNS = [@COLUMNS@];
//end
//if raw
const CELLS = [
  @CELLS@,
];
const STDS = [@STDS@]; // of the box codes
const VALUES = @VALUES@; // logits of an anchor
const SOFTMAX = @SOFTMAX@; // over classes and background, the last; otherwise a sigmoid for each class
const LIMIT = Math.log(62.5); // a box is at most so many times its anchor
//end
//if final
const PLACES = @PLACES@; // objects in the outputs, found or not
//end
//if masks
const MASK_SIDE = @MASK_SIDE@;
//end

//if raw
/** Objects from the threshold on, best first; both outputs have a row for each anchor. */
export function detections(classLogits, boxCodes, input, threshold = 0.3) {
  const bar = Math.fround(threshold), least = Math.max(bar, SCORE_THRESHOLD);
  // What is below cannot have such a score; that spares most exponentials.
  const low = (SOFTMAX ? Math.log(least) : Math.log(least / (1 - least))) - 0.001;
//end
//if boxes
/** Objects from the threshold on, best first; both outputs have a row for each anchor. */
export function detections(scores, boxes, input, threshold = 0.3) {
  const bar = Math.fround(threshold);
//end
//if raw boxes
  const every = [];
  let first = 0; // anchor of the level
  for (let level = 0; level < STRIDES.length; level++) {
//end
//if fixed_maps
    const rows = ROWS[level], columns = COLUMNS[level];
//end
//if free_maps
    const rows = Math.ceil(input.height / STRIDES[level]), columns = Math.ceil(input.width / STRIDES[level]);
//end
//if raw boxes
    const count = rows * columns * KINDS;
    let found = [];
    for (let anchor = 0; anchor < count; anchor++) {
//end
//if raw
      const row = (first + anchor) * VALUES;
      const bound = SOFTMAX ? low + classLogits[row + VALUES - 1] : low;
      for (let label = 0; label < NAMES.length; label++) {
        if (!(classLogits[row + label] > bound)) continue;
        const score = scoreOf(classLogits, row, label);
//end
//if boxes
      for (let label = 0; label < NAMES.length; label++) {
        const score = scores[(first + anchor) * NAMES.length + label];
//end
//if raw boxes
        if (score >= bar && score > SCORE_THRESHOLD) found.push({ anchor, label, score });
      }
    }
    if (found.length > CANDIDATES) found = found.sort((one, other) => other.score - one.score).slice(0, CANDIDATES);
    for (const { anchor, label, score } of found) {
//end
//if raw
      const box = cut(decode(level, columns, anchor, boxCodes, (first + anchor) * 4), input);
//end
//if boxes
      const box = cut(boxes.slice((first + anchor) * 4, (first + anchor) * 4 + 4), input);
//end
//if raw boxes
      if (box) every.push({ label, score, box });
    }
    first += count;
  }
  return suppressed(every).map((found) => restored(found, input));
}
//end
//if raw

function scoreOf(logits, row, label) {
  if (!SOFTMAX) return Math.fround(1 / (1 + Math.exp(-logits[row + label])));
  let total = 0;
  for (let other = 0; other < VALUES; other++) total += Math.exp(logits[row + other] - logits[row + label]);
  return Math.fround(1 / total);
}

/** The box of an anchor, from its codes. */
function decode(level, columns, anchor, codes, from) {
  const kind = anchor % KINDS, cell = (anchor - kind) / KINDS, column = cell % columns;
  const [x1, y1, x2, y2] = CELLS.slice((level * KINDS + kind) * 4, (level * KINDS + kind) * 4 + 4);
  const width = x2 - x1, height = y2 - y1;
  const within = (code) => Math.min(LIMIT, Math.max(-LIMIT, code));
  const x = column * STRIDES[level] + x1 + width / 2 + codes[from] * STDS[0] * width;
  const y = ((cell - column) / columns) * STRIDES[level] + y1 + height / 2 + codes[from + 1] * STDS[1] * height;
  const halfX = (width * Math.exp(within(codes[from + 2] * STDS[2]))) / 2;
  const halfY = (height * Math.exp(within(codes[from + 3] * STDS[3]))) / 2;
  return [x - halfX, y - halfY, x + halfX, y + halfY];
}
//end
//if raw boxes

/** The best of those that overlap, within each class or among all. */
function suppressed(every) {
  const kept = [];
  for (const found of every.sort((one, other) => other.score - one.score)) {
    if (kept.length === MAX_DETECTIONS) break;
    const rival = (other) => CLASS_AGNOSTIC || other.label === found.label;
    if (!kept.some((other) => rival(other) && overlap(other.box, found.box) > OVERLAP)) kept.push(found);
  }
  return kept;
}

function overlap(one, other) {
  const width = Math.min(one[2], other[2]) - Math.max(one[0], other[0]);
  const height = Math.min(one[3], other[3]) - Math.max(one[1], other[1]);
  if (width <= 0 || height <= 0) return 0;
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return (width * height) / (area(one) + area(other) - width * height);
}
//end
//if final
/** Objects from the threshold on, best first. The outputs have PLACES rows; those without an object the label -1. */
export function detections(boxes, scores, labels, input, threshold = 0.3) {
  const every = [];
  for (let place = 0; place < PLACES; place++) {
    const label = Number(labels[place]), score = scores[place];
    if (label < 0 || !(score >= Math.fround(threshold) && score > SCORE_THRESHOLD)) continue;
    const box = cut(boxes.slice(place * 4, place * 4 + 4), input);
    if (box) every.push({ ...restored({ label, score, box }, input), place });
  }
  return every;
}
//end

/** A box cut to the picture; null if nothing is left. */
function cut([x1, y1, x2, y2], { usedWidth, usedHeight }) {
  const within = (value, most) => Math.min(most, Math.max(0, value));
  const box = [within(x1, usedWidth), within(y1, usedHeight), within(x2, usedWidth), within(y2, usedHeight)];
  return box[2] > box[0] && box[3] > box[1] ? box : null;
}

/** From pixels of the input to those of the picture. */
function restored({ label, score, box }, input) {
  const x = input.usedWidth / input.pictureWidth, y = input.usedHeight / input.pictureHeight;
  return { label, score, left: box[0] / x, top: box[1] / y, right: box[2] / x, bottom: box[3] / y };
}
//if masks

/**
 * Where an object is: {left, top, width, height, inside}, a part of the picture around its box, row by row, 1 inside the
 * object. `masks` is the output of PLACES squares; each is stretched over its box, from 0.5 up is object.
 */
export function mask(masks, found, input) {
  const within = (value, most) => Math.min(most, Math.max(0, value));
  const left = within(Math.floor(found.left) - 1, input.pictureWidth);
  const top = within(Math.floor(found.top) - 1, input.pictureHeight);
  const width = within(Math.ceil(found.right) + 1, input.pictureWidth) - left;
  const height = within(Math.ceil(found.bottom) + 1, input.pictureHeight) - top;
  const start = found.place * MASK_SIDE * MASK_SIDE;
  const at = (y, x) => (y < 0 || x < 0 || y >= MASK_SIDE || x >= MASK_SIDE ? 0 : masks[start + y * MASK_SIDE + x]);
  const inside = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    const row = ((top + y + 0.5 - found.top) / (found.bottom - found.top)) * MASK_SIDE - 0.5, upper = Math.floor(row);
    for (let x = 0; x < width; x++) {
      const column = ((left + x + 0.5 - found.left) / (found.right - found.left)) * MASK_SIDE - 0.5;
      const cell = Math.floor(column), share = column - cell;
      const value = between(
        between(at(upper, cell), at(upper, cell + 1), share),
        between(at(upper + 1, cell), at(upper + 1, cell + 1), share),
        row - upper,
      );
      inside[y * width + x] = value >= 0.5 ? 1 : 0;
    }
  }
  return { left, top, width, height, inside };
}
//end

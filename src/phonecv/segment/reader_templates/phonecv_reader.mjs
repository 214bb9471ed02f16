// Pictures to the input of @NAME@, and its output to a class for every pixel.
// Made by phonecv @VERSION@ from the file's own record. An ES module without dependencies.
//
//   const input = preprocess(context.getImageData(0, 0, canvas.width, canvas.height));
//   ... run the model on input.values, @LAYOUT_TEXT@ ...
//if raw
//   const map = labels(logits, [mapHeight, mapWidth], input); // sizes of the output: @MAP_TEXT@
//end
//if final
//   const map = labels(classes, input);
//end
//   const found = shares(map); // of NAMES
//
// The map has the size of the picture, row by row. On large pictures a smaller one is faster and often enough: give
// [height, width] as the last argument.

//include phonecv.dense:input

/** [red, green, blue] of every class for drawing; black: better left as it is. */
export const COLOURS = [
  @COLOURS@,
].map((colour) => [colour >> 16, (colour >> 8) & 255, colour & 255]);

//if raw
/** The class of every pixel, from logits of one map for each class, one after the other. */
export function labels(logits, [mapHeight, mapWidth], input, [height, width] = [input.pictureHeight, input.pictureWidth]) {
  const classes = NAMES.length, area = mapHeight * mapWidth;
  // Twice, as the evaluation does: to the input's size, where the padding is cut off, and from there to the picture's.
  const mapRows = line(mapHeight, input.height), mapColumns = line(mapWidth, input.width);
  const rows = line(input.usedHeight, height), columns = line(input.usedWidth, width);
  // Rows at the input's size; neighbours differ in the last bit of their number.
  const kept = [0, 1].map(() => new Float32Array(input.usedWidth * classes)), held = [-1, -1];
  const row = (y) => {
    const values = kept[y & 1];
    if (held[y & 1] === y) return values;
    held[y & 1] = y;
    for (let label = 0; label < classes; label++) {
      const upper = label * area + mapRows.low[y] * mapWidth, lower = label * area + mapRows.high[y] * mapWidth;
      for (let x = 0; x < input.usedWidth; x++) {
        const left = mapColumns.low[x], right = mapColumns.high[x], share = mapColumns.share[x];
        values[x * classes + label] = between(
          between(logits[upper + left], logits[upper + right], share),
          between(logits[lower + left], logits[lower + right], share),
          mapRows.share[y],
        );
      }
    }
    return values;
  };
  const found = new Uint16Array(height * width);
  for (let y = 0; y < height; y++) {
    const upper = row(rows.low[y]), lower = row(rows.high[y]);
    for (let x = 0; x < width; x++) {
      const left = columns.low[x] * classes, right = columns.high[x] * classes, share = columns.share[x];
      let best = -Infinity;
      for (let label = 0; label < classes; label++) {
        const value = between(
          between(upper[left + label], upper[right + label], share),
          between(lower[left + label], lower[right + label], share),
          rows.share[y],
        );
        if (value > best) {
          best = value;
          found[y * width + x] = label;
        }
      }
    }
  }
  return found;
}
//end
//if final
/** The class of every pixel, from the model's map of classes at the input's size. */
export function labels(classes, input, [height, width] = [input.pictureHeight, input.pictureWidth]) {
  const tall = Math.fround(input.usedHeight / height), wide = Math.fround(input.usedWidth / width);
  const found = new Uint16Array(height * width);
  for (let y = 0; y < height; y++) {
    const from = Math.min(Math.floor(Math.fround((y + 0.5) * tall)), input.usedHeight - 1);
    for (let x = 0; x < width; x++) {
      const at = Math.min(Math.floor(Math.fround((x + 0.5) * wide)), input.usedWidth - 1);
      found[y * width + x] = Number(classes[from * input.width + at]);
    }
  }
  return found;
}
//end

/** Share of every class in a map, 0..1. */
export function shares(map) {
  const counts = NAMES.map(() => 0);
  for (const label of map) counts[label]++;
  return counts.map((count) => count / map.length);
}

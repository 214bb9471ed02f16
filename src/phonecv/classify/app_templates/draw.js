// The answer of a classifier, shown: the picture, and the most probable classes.
import { fill, paint, percent } from "./drawing.js";

/**
 * Show what the file's outputs say of a picture.
 *
 * reader: the file's phonecv_reader.mjs; outputs: {name: values}; input: what its `preprocess` gave; image: {width,
 * height, data: RGBA bytes}; canvas gets the picture, list (an <ol>) the lines.
 * Returns [{label, name, probability}], best first.
 */
export function show(reader, outputs, input, image, { canvas, list, names }) {
  paint(canvas, image);
  const best = reader.top(outputs.logits, 5).map(([label, probability]) => ({ label, name: names[label], probability }));
  fill(list, best.map(({ name, probability }) => [name, percent(probability)]));
  return best;
}

/** How far this is from a bundle's expected.json: the largest difference of a probability. */
export function difference(best, expected) {
  const found = new Map(best.map(({ label, probability }) => [label, probability]));
  return Math.max(...expected.best.map(({ label, probability }) => Math.abs(probability - (found.get(label) ?? 0))));
}

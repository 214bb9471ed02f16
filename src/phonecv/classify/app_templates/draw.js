//if one
// The answer of a classifier, shown: the picture, and the most probable classes.
//end
//if many
// The answer of a classifier whose labels do not exclude each other, shown: the picture, and the labels that it tells.
//end
import { fill, paint, percent } from "./drawing.js";

/**
 * Show what the file's outputs say of a picture.
 *
 * reader: the file's phonecv_reader.mjs; outputs: {name: values}; input: what its `preprocess` gave; image: {width,
 * height, data: RGBA bytes}; canvas gets the picture, list (an <ol>) the lines.
//if one
 * Returns [{label, name, probability}], best first.
//end
//if many
 * Returns [{label, name, probability}] of every label, best first.
//end
 */
export function show(reader, outputs, input, image, { canvas, list, names }) {
  paint(canvas, image);
//if one
  const best = reader.top(outputs.logits, 5).map(([label, probability]) => ({ label, name: names[label], probability }));
  fill(list, best.map(({ name, probability }) => [name, percent(probability)]));
  return best;
//end
//if many
  const every = reader.top(outputs.logits, Infinity);
  fill(list, reader.told(outputs.logits).map(([label, probability]) => [names[label], percent(probability)]), "No label.");
  return every.map(([label, probability]) => ({ label, name: names[label], probability }));
//end
}

/** How far this is from a bundle's expected.json: the largest difference of a probability. */
export function difference(best, expected) {
  const found = new Map(best.map(({ label, probability }) => [label, probability]));
  return Math.max(...expected.best.map(({ label, probability }) => Math.abs(probability - (found.get(label) ?? 0))));
}

// The answer of a segmenter, shown: the classes as colours over the picture, and their shares.
import { fill, paint, percent } from "./drawing.js";

/**
 * Show what the file's outputs say of a picture.
 *
 * reader: the file's phonecv_reader.mjs; outputs: {name: values}; input: what its `preprocess` gave; image: {width,
 * height, data: RGBA bytes}; canvas gets the picture in the colours of the classes, list (an <ol>) the lines; shapes:
 * {name: [sides without the batch]}. The map's longer side is at most `most` pixels, which is faster than all of them.
 * Returns [{label, name, share}], the largest first.
 */
export function show(reader, outputs, input, image, { canvas, list, shapes, most = 512 }) {
  const context = paint(canvas, image);
  const scale = Math.min(1, most / Math.max(image.width, image.height));
  const size = [image.height, image.width].map((side) => Math.max(1, Math.round(side * scale)));
//if raw
  const map = reader.labels(outputs.logits, shapes.logits.slice(-2), input, size);
//end
//if final
  const map = reader.labels(outputs.classes, input, size);
//end
  const layer = document.createElement("canvas");
  Object.assign(layer, { width: size[1], height: size[0] });
  const pixels = new ImageData(size[1], size[0]), whole = new Uint32Array(pixels.data.buffer);
  // Half seen through; black leaves the picture as it is.
  const colours = reader.COLOURS.map((colour) => Uint8Array.of(...colour, colour.some(Boolean) ? 140 : 0));
  const table = colours.map((colour) => new Uint32Array(colour.buffer)[0]);
  map.forEach((label, place) => (whole[place] = table[label]));
  layer.getContext("2d").putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(layer, 0, 0, image.width, image.height);
  const found = reader
    .shares(map)
    .map((share, label) => ({ label, name: reader.NAMES[label], share }))
    .filter(({ share }) => share)
    .sort((one, other) => other.share - one.share);
  const lines = found.map(({ label, name, share }) => [name, percent(share), `rgb(${reader.COLOURS[label].join(" ")})`]);
  fill(list, lines.slice(0, 20));
  return found;
}

/** How far this is from a bundle's expected.json: the largest difference of a share of the picture. */
export function difference(found, expected) {
  const apart = new Map(expected.shares.map(({ label, share }) => [label, -share]));
  for (const { label, share } of found) apart.set(label, (apart.get(label) ?? 0) + share);
  return Math.max(...Array.from(apart.values(), Math.abs));
}

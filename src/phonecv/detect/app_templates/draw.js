// The answer of a detector, shown: boxes in the picture, and a list of them.
import { colourOf, fill, paint, percent } from "./drawing.js";

/**
 * Show what the file's outputs say of a picture.
 *
 * reader: the file's phonecv_reader.mjs; outputs: {name: values}; input: what its `preprocess` gave; image: {width,
 * height, data: RGBA bytes}; canvas gets the picture with the boxes, list (an <ol>) the lines; objects have at least the
 * score `threshold`. Returns [{label, name, score, left, top, right, bottom}], best first.
 */
export function show(reader, outputs, input, image, { canvas, list, threshold = 0.3 }) {
  const context = paint(canvas, image);
//if raw
  const found = reader.detections(outputs.class_logits, outputs.box_codes, input, threshold);
//end
//if boxes
  const found = reader.detections(outputs.scores, outputs.boxes, input, threshold);
//end
//if final
  const found = reader.detections(outputs.boxes, outputs.scores, outputs.labels, input, threshold);
//end
  const objects = found.map((one) => ({ ...one, name: reader.NAMES[one.label] }));
  const unit = Math.max(image.width, image.height) / 400;
  Object.assign(context, { lineWidth: 2 * unit, font: `600 ${11 * unit}px system-ui, sans-serif`, textBaseline: "top" });
  for (const one of objects.slice().reverse()) { // the best on top
    context.strokeStyle = context.fillStyle = colourOf(one.label);
//if masks
    context.drawImage(tinted(reader.mask(outputs.masks, one, input), colourOf(one.label)), Math.floor(Math.max(0, one.left - 1)), Math.floor(Math.max(0, one.top - 1)));
//end
    context.strokeRect(one.left, one.top, one.right - one.left, one.bottom - one.top);
    const text = `${one.name} ${percent(one.score)}`, wide = context.measureText(text).width + 6 * unit;
    const left = Math.min(Math.max(0, one.left), Math.max(0, image.width - wide)), top = Math.max(0, one.top - 15 * unit);
    context.fillRect(left, top, wide, 15 * unit);
    context.fillStyle = "#fff";
    context.fillText(text, left + 3 * unit, top + 2 * unit);
  }
  fill(list, objects.slice(0, 20).map(({ name, score, label }) => [name, percent(score), colourOf(label)]));
  return objects;
}
//if masks

/** A canvas with the pixels of a mask in half of a colour. */
function tinted(mask, colour) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: Math.max(1, mask.width), height: Math.max(1, mask.height) });
  const context = canvas.getContext("2d"), pixels = context.createImageData(canvas.width, canvas.height);
  mask.inside.forEach((inside, place) => (pixels.data[4 * place + 3] = 120 * inside));
  context.putImageData(pixels, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = colour;
  context.fillRect(0, 0, canvas.width, canvas.height);
  return canvas;
}
//end

/**
 * How far this is from a bundle's expected.json: the largest difference of a score, or of a side as a share of the
 * picture; 1 where an object is not found at all.
 */
export function difference(objects, expected) {
  const longest = Math.max(expected.width, expected.height), sides = ["left", "top", "right", "bottom"];
  const apart = (one, other) =>
    Math.max(Math.abs(one.score - other.score), ...sides.map((side) => Math.abs(one[side] - other[side]) / longest));
  const least = (wanted) =>
    Math.min(1, ...objects.filter(({ label }) => label === wanted.label).map((one) => apart(one, wanted)));
  return Math.max(0, ...expected.objects.map(least));
}

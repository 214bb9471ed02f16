// Pictures to the input of @NAME@, and its outputs to labels. Made by phonecv @VERSION@ from the model's own record.
// An ES module; picture.js beside it does the resizing.
//
//   const input = preprocess(context.getImageData(0, 0, canvas.width, canvas.height));   // @LAYOUT_TEXT@
//   ... run the model ...
//   top(logits, 5)                                                                       // [[index, probability], ...]
import { asInput, resizedCentre } from "./picture.js";

export const PREPROCESSING = @PREPROCESSING@;

const LAYOUT = { layout: "@LAYOUT@", baked: @BAKED@ };

/** The model's input as a Float32Array, from {width, height, data: RGBA bytes}. */
export function preprocess(image) {
  return asInput(resizedCentre(image, PREPROCESSING), PREPROCESSING, LAYOUT);
}

/** The `count` most probable classes: index (line of labels.txt, from 0) and probability, best first. */
export function top(logits, count = 5) {
  const largest = logits.reduce((one, other) => Math.max(one, other), -Infinity);
  const shares = Array.from(logits, (logit) => Math.exp(logit - largest));
  const total = shares.reduce((one, other) => one + other, 0);
  const order = shares.map((_, index) => index).sort((one, other) => shares[other] - shares[one]);
  return order.slice(0, count).map((index) => [index, shares[index] / total]);
}

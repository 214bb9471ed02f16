// Pictures to the input of @NAME@, and its outputs to labels. Made by phonecv @VERSION@ from the model's own record.
// An ES module; picture.js beside it does the resizing.
//
//   const input = preprocess(context.getImageData(0, 0, canvas.width, canvas.height));   // @LAYOUT_TEXT@
//   ... run the model ...
//if one
//   top(logits, 5)                                                                       // [[index, probability], ...]
//end
//if many
//   told(logits)                                                                         // [[index, probability], ...]
//end
import { asInput, resizedCentre } from "./picture.js";

export const PREPROCESSING = @PREPROCESSING@;

const LAYOUT = { layout: "@LAYOUT@", baked: @BAKED@ };

/** The model's input as a Float32Array, from {width, height, data: RGBA bytes}. */
export function preprocess(image) {
  return asInput(resizedCentre(image, PREPROCESSING), PREPROCESSING, LAYOUT);
}

//if many
/** Probability of each label from which on it is told. */
export const THRESHOLDS = [
  @THRESHOLDS@,
];

/** The labels of the picture, none or several: index (line of labels.txt, from 0) and probability, best first. */
export function told(logits) {
  return top(logits, logits.length).filter(([label, share]) => share >= THRESHOLDS[label]);
}

/** The `count` most probable labels, told or not; they do not exclude each other. */
export function top(logits, count = 5) {
  const order = Array.from(logits, (_, index) => index).sort((one, other) => logits[other] - logits[one]);
  return order.slice(0, count).map((index) => [index, 1 / (1 + Math.exp(-logits[index]))]);
}
//end
//if one
/** The `count` most probable classes: index (line of labels.txt, from 0) and probability, best first. */
export function top(logits, count = 5) {
  const largest = logits.reduce((one, other) => Math.max(one, other), -Infinity);
  const shares = Array.from(logits, (logit) => Math.exp(logit - largest));
  const total = shares.reduce((one, other) => one + other, 0);
  const order = shares.map((_, index) => index).sort((one, other) => shares[other] - shares[one]);
  return order.slice(0, count).map((index) => [index, shares[index] / total]);
}
//end

// A network that knows the noise in a picture makes pictures of noise, in the browser. DDIM without noise at the steps
// (Song et al., arXiv 2010.02502), classifier-free guidance (Ho and Salimans, arXiv 2207.12598).
//
// Everything comes from scripts beside this one, so that the page also opens from a disk, where nothing can be fetched:
// DATA (data.js: classes, schedule, test picture), MODEL (model.js: the ONNX file) and RUNTIME (runtime.js: ONNX
// Runtime Web). Files are in base64.
"use strict";

const { channels, size, names, kept, test } = DATA;
const $ = (id) => document.getElementById(id);

/** The bytes of a text in base64. */
function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** The network: (noisy picture, number of the step, number of the class) -> its noise. */
async function openNetwork() {
  const address = (text) => URL.createObjectURL(new Blob([bytesOf(text)], { type: "text/javascript" }));
  const ort = await import(address(RUNTIME.script));
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = 1; // several need a server that isolates the page
  ort.env.wasm.wasmPaths = { mjs: address(RUNTIME.glue) };
  ort.env.wasm.wasmBinary = bytesOf(RUNTIME.wasm).buffer;
  const session = await ort.InferenceSession.create(bytesOf(MODEL), { executionProviders: ["wasm"] });
  const [noisy, timesteps, classes] = DATA.inputs;
  return async (picture, step, label) => {
    const found = await session.run({
      [noisy]: new ort.Tensor("float32", picture, [1, channels, size, size]),
      [timesteps]: new ort.Tensor("float32", Float32Array.of(step), [1]),
      [classes]: new ort.Tensor("int32", Int32Array.of(label), [1]),
    });
    const output = found[session.outputNames[0]];
    const noise = Float32Array.from((await output.getData()).subarray(0, picture.length)); // then comes its variance
    output.dispose();
    return noise;
  };
}

/** So many of the training's steps, evenly spread, the first and the last among them. */
function stepsOf(count) {
  const last = kept.length - 1;
  const even = (x) => (x % 1 === 0.5 ? 2 * Math.round(x / 2) : Math.round(x)); // halves as NumPy rounds them
  return count > 1 ? Array.from({ length: count }, (_, i) => even(i * (last / (count - 1)))) : [last];
}

/**
 * From noise to a picture of a class, values -1..1.
 *
 * network: see openNetwork; show(clean, done, all): called after each step with what the picture will be.
 */
async function sample(network, noise, label, { steps, guidance }, show) {
  const numbers = stepsOf(steps);
  let x = Float64Array.from(noise);
  for (let step = steps - 1; step >= 0; step--) {
    const now = kept[numbers[step]];
    const before = step ? kept[numbers[step - 1]] : 1;
    const given = Float32Array.from(x);
    const asked = await network(given, numbers[step], label);
    // The number after the last class stands for no class.
    const free = guidance === 1 ? asked : await network(given, numbers[step], names.length);
    const clean = x.map((value, i) => {
      const noiseHere = free[i] + guidance * (asked[i] - free[i]);
      return Math.min(1, Math.max(-1, (value - Math.sqrt(1 - now) * noiseHere) / Math.sqrt(now)));
    });
    x = x.map((value, i) => {
      const noiseLeft = (value - Math.sqrt(now) * clean[i]) / Math.sqrt(1 - now); // anew: cutting moved the picture
      return Math.sqrt(before) * clean[i] + Math.sqrt(1 - before) * noiseLeft;
    });
    show(clean, steps - step, steps);
  }
  return x;
}

/** Normal noise of a seed. Seeds are this page's own: phonecv's give other pictures. */
function noiseOf(seed) {
  let state = seed >>> 0;
  const uniform = () => {
    // mulberry32, in the public domain
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return Float32Array.from({ length: channels * size * size }, () => {
    return Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  });
}

/** Values -1..1, channel by channel -> bytes, pixel by pixel. */
function pixelsOf(values) {
  const area = size * size;
  const bytes = new Uint8ClampedArray(4 * area); // which rounds and cuts
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) bytes[4 * i + c] = (values[Math.min(c, channels - 1) * area + i] + 1) * 127.5;
    bytes[4 * i + 3] = 255;
  }
  return bytes;
}

function draw(canvas, bytes) {
  canvas.width = canvas.height = size;
  canvas.getContext("2d").putImageData(new ImageData(bytes, size, size), 0, 0);
}

let network = null;
let label = 0;
let busy = false;

async function make() {
  if (busy || !network) return;
  busy = true;
  $("again").disabled = true;
  const start = performance.now();
  const settings = { steps: Number($("steps").value), guidance: Number($("guidance").value) };
  const seed = Number($("seed").value) || 0;
  try {
    const made = await sample(network, noiseOf(seed), label, settings, (clean, done, all) => {
      draw($("picture"), pixelsOf(clean));
      $("progress").value = done / all;
    });
    const bytes = pixelsOf(made);
    draw($("picture"), bytes);
    const small = document.createElement("canvas");
    small.title = `${names[label]}, seed ${seed}, ${settings.steps} steps, guidance ${settings.guidance}`;
    draw(small, bytes);
    $("made").prepend(small);
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    $("status").textContent = `${small.title}: ${seconds} s`;
  } catch (error) {
    complain(error);
  } finally {
    busy = false;
    $("again").disabled = false;
  }
}

/** Make the test picture here, and say how far it is from phonecv's. */
async function compare() {
  const wanted = bytesOf(test.picture);
  const noise = new Float32Array(bytesOf(test.noise).buffer);
  const made = pixelsOf(await sample(network, noise, test.class, test, () => {}));
  draw($("found"), made);
  let most = 0;
  for (let i = 0; i < size * size; i++) {
    for (let c = 0; c < 3; c++) most = Math.max(most, Math.abs(made[4 * i + c] - wanted[3 * i + c]));
  }
  const same = most <= test.tolerance;
  $("verdict").textContent =
    `Left phonecv, right this browser, from the same noise: the largest difference is ${most} of 255` +
    (same ? ", which is rounding." : ". That is more than rounding: this browser does not compute the same.");
  $("verdict").classList.toggle("bad", !same);
  return { most, same };
}

function complain(error) {
  $("status").textContent = `It does not work here: ${error.message || error}`;
  $("status").classList.add("bad");
}

function choose(number) {
  label = number;
  [...$("classes").children].forEach((button, i) => button.setAttribute("aria-pressed", String(i === number)));
}

function setUp() {
  const wanted = bytesOf(test.picture);
  const bytes = new Uint8ClampedArray(4 * size * size).fill(255);
  for (let i = 0; i < size * size; i++) bytes.set(wanted.subarray(3 * i, 3 * i + 3), 4 * i);
  draw($("wanted"), bytes);
  draw($("picture"), bytes);
  draw($("found"), new Uint8ClampedArray(4 * size * size));
  names.forEach((name, number) => {
    const button = document.createElement("button");
    button.textContent = name;
    button.addEventListener("click", () => (choose(number), make()));
    $("classes").append(button);
  });
  choose(Math.min(test.class, names.length - 1)); // the test picture may be of no class
  $("steps").value = test.steps;
  for (const slider of document.querySelectorAll("input[type=range]")) {
    const show = () => (slider.nextElementSibling.textContent = slider.value);
    slider.addEventListener("input", show);
    show();
  }
  $("again").addEventListener("click", () => {
    $("seed").value = (Number($("seed").value) || 0) + 1;
    make();
  });
}

async function start() {
  setUp();
  try {
    network = await openNetwork();
    $("status").textContent = "Checking the network …";
    window.compared = await compare();
    $("status").textContent = "Choose a class.";
    $("again").disabled = false;
    document.documentElement.dataset.ready = "yes";
  } catch (error) {
    complain(error);
    document.documentElement.dataset.ready = "no";
  }
}

start();

// What the networks make of a photo or of what the camera sees; how that is drawn is in the script of their task, draw.js.

import { inputOf, openFile, runOne, titleOf } from "./bench.js";
import { readPixels } from "./picture.js";
import { figure, reason, wayName } from "./words.js";

const element = (id) => document.getElementById(id);

/** Runs of each number of threads before the faster one is kept. */
const TRIALS = 3;

/** The engine in use: {file, engine, reader, draw}; opened when it is first needed. */
let held = null;

/** Address of a file -> threads, the faster ones. */
const threadsOf = new Map();
let stream = null;

/** What is under way; the next picture, and closing, wait for it. */
let busy = Promise.resolve();

function after(action) {
  busy = busy.catch(() => {}).then(action);
  return busy;
}

/** From now on run a file with so many threads: the timing has shown that they are the fastest. */
export function useThreads(file, threads) {
  threadsOf.set(file.url, threads);
}

/** Wire up the camera and the photo. */
export function startLooking(config, device) {
  const files = config.files.filter((file) => file.draw);
  const select = element("network");
  files.forEach((file, number) => select.append(new Option(titleOf(file), number)));
  if (!files.length) {
    element("look").parentElement.hidden = true;
    return;
  }
  const several = device.isolated ? Math.min(device.cores, 4) : 1;
  const current = () => files[Number(select.value)];
  select.onchange = () => closeHeld();
  element("photo").onchange = async ({ target }) => {
    stopCamera();
    if (target.files.length) {
      await attempt(async () => {
        const picture = await readPixels(target.files[0]);
        await after(() => look(picture, current(), several));
      });
    }
    target.value = ""; // the same photo may be picked again
  };
  element("camera").onclick = () => (stream ? stopCamera() : attempt(() => follow(current, several)));
  document.addEventListener("timing", () => {
    stopCamera();
    closeHeld();
  });
  if (!navigator.mediaDevices?.getUserMedia) {
    element("camera").disabled = true;
    element("hint").textContent = "The camera needs https (or localhost); a photo works everywhere.";
  }
}

/** Show what a network makes of a picture. */
async function look(picture, file, several) {
  if (held?.file !== file) {
    await release();
    const [reader, draw] = await Promise.all([file.reader, file.draw].map((url) => import(`./${url}`)));
    held = { file, reader, draw, engine: await fasterEngine(file, several) };
  }
  const { engine, reader, draw } = held;
  const begin = performance.now();
  const { input, values } = inputOf(reader, picture, file, engine);
  const middle = performance.now();
  const rows = await runOne(engine, values, file);
  const end = performance.now();
  const outputs = Object.fromEntries(rows.map(({ name, data }) => [name, data]));
  const shapes = Object.fromEntries(rows.map(({ name, shape }) => [name, shape.slice(1)]));
  const count = outputs.logits?.length, names = file.classes?.length === count ? file.classes : numbered(count ?? 0);
  const found = draw.show(reader, outputs, input, picture, { canvas: element("seen"), list: element("answer"), names, shapes });
  element("viewer").hidden = false;
  element("pace").textContent =
    `network ${figure(end - middle)} ms on ${wayName(engine)}, picture ${figure(middle - begin)} ms`;
  window.lastLook = { file: file.name, values, outputs, found }; // for tests and the curious
}

const numbered = (count) => Array.from({ length: count }, (_, label) => `class ${label}`);

/** The file with one thread or with several, whatever is faster on this device: small networks are on one. */
async function fasterEngine(file, several) {
  const known = threadsOf.get(file.url) ?? (several === 1 ? 1 : null);
  element("pace").textContent = known ? "opening the network …" : `trying one thread and ${several} …`;
  if (known) return openFile(file, { backend: "wasm", threads: known });
  const one = await openFile(file, { backend: "wasm", threads: 1 });
  const other = await openFile(file, { backend: "wasm", threads: several });
  const [slow, fast] = (await fastest(other)) < (await fastest(one)) ? [one, other] : [other, one];
  await slow.close();
  useThreads(file, fast.threads);
  return fast;
}

async function fastest(engine) {
  const values = new Float32Array(engine.shape.reduce((product, side) => product * side, 1));
  let best = Infinity;
  for (let trial = 0; trial < TRIALS; trial++) {
    const start = performance.now();
    await engine.run(values);
    best = Math.min(best, performance.now() - start);
  }
  return best;
}

async function follow(current, several) {
  stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
  const video = element("video");
  video.srcObject = stream;
  element("viewer").hidden = video.hidden = false;
  element("camera").classList.add("on");
  element("camera").textContent = "Stop";
  await video.play();
  while (stream) {
    const picture = await readPixels(video);
    await after(() => look(picture, current(), several));
    await new Promise((resolve) => requestAnimationFrame(resolve));
  }
}

function stopCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  element("video").srcObject = null;
  element("video").hidden = true;
  element("camera").classList.remove("on");
  element("camera").textContent = "Camera";
}

const closeHeld = () => after(release);

async function release() {
  const old = held;
  held = null;
  await old?.engine.close();
}

/** Do something that can fail, and say so. */
async function attempt(action) {
  element("hint").textContent = "";
  try {
    await action();
  } catch (error) {
    stopCamera();
    element("pace").textContent = "";
    const refused = error?.name === "NotAllowedError";
    element("hint").textContent = refused ? "The browser was told not to use the camera." : reason(error);
  }
}

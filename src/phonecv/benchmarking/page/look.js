// Naming what a photo or the camera shows.

import { openFile, prepare, RUNTIMES, sides } from "./bench.js";
import { readPixels } from "./picture.js";
import { figure, reason, wayName } from "./words.js";

const element = (id) => document.getElementById(id);

/** The engine in use: {file, engine}; opened when it is first needed. */
let held = null;
let stream = null;

/** What is under way; the next picture, and closing, wait for it. */
let busy = Promise.resolve();

function after(action) {
  busy = busy.catch(() => {}).then(action);
  return busy;
}

/** Wire up the second half of the page. */
export function startLooking(config, device) {
  const files = config.files.filter((file) => file.task === "classify");
  const select = element("network");
  files.forEach((file, number) => select.append(new Option(`${file.title}, ${RUNTIMES[file.format]}`, number)));
  if (!files.length) {
    element("look").parentElement.hidden = true;
    return;
  }
  const threads = device.isolated ? Math.min(device.cores, 4) : 1;
  const current = () => files[Number(select.value)];
  select.onchange = () => closeHeld();
  element("photo").onchange = async ({ target }) => {
    stopCamera();
    if (target.files.length) {
      await attempt(async () => {
        const picture = await readPixels(target.files[0]);
        await after(() => guess(picture, current(), threads));
      });
    }
    target.value = ""; // the same photo may be picked again
  };
  element("camera").onclick = () => (stream ? stopCamera() : attempt(() => follow(current, threads)));
  document.addEventListener("timing", () => {
    stopCamera();
    closeHeld();
  });
  if (!navigator.mediaDevices?.getUserMedia) {
    element("camera").disabled = true;
    element("hint").textContent = "The camera needs https (or localhost); a photo works everywhere.";
  }
}

/** Name what a picture shows. */
async function guess(picture, file, threads) {
  if (held?.file !== file) {
    await release();
    element("pace").textContent = "opening the network …";
    held = { file, engine: await openFile(file, { backend: "wasm", threads }) };
  }
  const { engine } = held;
  const begin = performance.now();
  const { pixels, values } = prepare(picture, file, engine);
  const middle = performance.now();
  const [output] = await engine.run(values);
  const end = performance.now();
  const logits = output.slice(0, output.length / engine.shape[0]);
  showSeen(pixels, engine);
  showGuesses(logits, file.classes);
  element("pace").textContent =
    `network ${figure(end - middle)} ms, ${wayName(engine)}; picture ${figure(middle - begin)} ms`;
  window.lastGuess = { file: file.name, pixels, logits }; // for tests and the curious
}

async function follow(current, threads) {
  stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
  const video = element("video");
  video.srcObject = stream;
  element("viewer").hidden = video.hidden = false;
  element("camera").classList.add("on");
  element("camera").textContent = "Stop";
  await video.play();
  while (stream) {
    const picture = await readPixels(video);
    await after(() => guess(picture, current(), threads));
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

/** What the network sees, cropped and scaled. */
function showSeen(pixels, engine) {
  const { width, height } = sides(engine);
  const image = new ImageData(width, height);
  for (let i = 0, j = 0; i < pixels.length; i += 3, j += 4) {
    image.data[j] = pixels[i];
    image.data[j + 1] = pixels[i + 1];
    image.data[j + 2] = pixels[i + 2];
    image.data[j + 3] = 255;
  }
  const canvas = element("seen");
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(image, 0, 0);
  element("viewer").hidden = false;
}

function showGuesses(logits, classes) {
  const top = Math.max(...logits);
  const shares = Array.from(logits, (value) => Math.exp(value - top));
  const names = classes?.length === logits.length ? classes : null; // those of a file without a record are a guess
  const total = shares.reduce((sum, value) => sum + value, 0);
  const order = [...shares.keys()].sort((a, b) => shares[b] - shares[a]).slice(0, 5);
  element("guesses").replaceChildren(...order.map((index) => {
    const line = document.createElement("li"), share = `${((100 * shares[index]) / total).toFixed(1)} %`;
    line.style.setProperty("--share", share.replace(" ", ""));
    for (const text of [names?.[index] ?? `class ${index}`, share]) {
      line.append(Object.assign(document.createElement("span"), { textContent: text }));
    }
    return line;
  }));
}

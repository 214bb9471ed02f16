// The app: camera or photo -> network -> answer. All of it runs on this device.
import { difference, show } from "./draw.js";
import { openModel } from "./model.js";
import * as reader from "./phonecv_reader.mjs";
import { readPixels } from "./picture.js";

// Largest difference from phonecv's answer for the test picture that is told as the same. Runtimes round differently,
// and 8-bit files more so.
const TOLERANCE = 0.02;

const $ = (id) => document.getElementById(id);
let facts = null, model = null, camera = null, turn = 0;

/** Ask the network about a picture, and show its answer: {found, milliseconds}. */
async function answer(source, options = {}) {
  const image = await readPixels(source);
  const start = performance.now();
  const input = reader.preprocess(image);
  const { outputs, shapes } = await model(input);
  const places = { canvas: $("picture"), list: $("found"), names: facts.names, shapes };
  const found = show(reader, outputs, input, image, { ...places, ...options });
  return { found, milliseconds: performance.now() - start };
}

/** The test picture: what this device finds in it, against what phonecv found. */
async function check() {
  const [picture, expected] = await Promise.all([fetch(facts.test), fetch("expected.json")]);
  const wanted = await expected.json();
  // Objects at the threshold may fall just below it here; shares are those of all pixels.
  const { found } = await answer(await picture.blob(), { threshold: (wanted.threshold ?? 0.3) * 0.9, most: Infinity });
  const apart = difference(found, wanted), same = apart <= TOLERANCE;
  const figure = apart < 1e-4 ? "below 0.0001" : apart.toFixed(4);
  $("check").textContent =
    `Test picture: largest difference from phonecv ${figure}` +
    (same ? ", as it should be." : `. That is more than ${TOLERANCE}: this browser does not compute the same.`);
  $("check").classList.toggle("bad", !same);
  window.checked = { apart, same, found };
}

async function photo(file) {
  stop();
  const { milliseconds } = await answer(file);
  tell(`${milliseconds.toFixed(0)} ms, on this device`);
}

async function start() {
  if (!navigator.mediaDevices) throw new Error("the camera needs https, or localhost");
  const mine = ++turn, video = $("video");
  camera = await navigator.mediaDevices.getUserMedia({ video: { facingMode: { ideal: "environment" } } });
  if (mine !== turn) return;
  video.srcObject = camera;
  await video.play();
  $("camera").textContent = "Stop";
  while (mine === turn) {
    const { milliseconds } = await answer(video);
    if (mine === turn) tell(`${milliseconds.toFixed(0)} ms a picture, on this device`);
    await new Promise(requestAnimationFrame);
  }
}

function stop() {
  turn++;
  camera?.getTracks().forEach((track) => track.stop());
  camera = null;
  $("camera").textContent = "Camera";
}

function tell(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

/** Do what a person asked for; tell what went wrong. */
const guarded = (act) => (...given) => act(...given).catch((error) => {
  stop();
  tell(`It does not work: ${error.message || error}`, true);
});

async function begin() {
  facts = await (await fetch("model.json")).json();
  model = await openModel(facts);
  await check();
  for (const id of ["camera", "photo"]) $(id).disabled = false;
  tell("Ready. Nothing leaves this device.");
  $("camera").addEventListener("click", guarded(async () => (camera ? stop() : start())));
  $("photo").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", guarded(async () => {
    const [file] = $("file").files;
    if (file) await photo(file);
    $("file").value = "";
  }));
  document.documentElement.dataset.ready = "yes";
}

guarded(begin)();
if ("serviceWorker" in navigator) {
  navigator.serviceWorker.register("sw.js");
  navigator.serviceWorker.ready.then(() => ($("offline").textContent = "It also works without a network now."));
}

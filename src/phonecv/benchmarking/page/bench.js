// Opening files in frames, checking what they give, and timing them.

import { asInput, readPixels, resizedCentre, stretched } from "./picture.js";

/** Largest difference from PyTorch, as a share of the largest output, that may be timed. */
const LIMITS = { float32: 1e-4, fp16: 0.15 };

const RUNTIMES = { onnx: "ONNX Runtime Web", litert: "LiteRT.js" };

/** Network, precision and runtime of a file, for people. */
export const titleOf = (file) => `${file.title}, ${RUNTIMES[file.format]}`;

const bytes = new Map();

/** The bytes of a file, fetched once. */
export async function modelBytes(file) {
  if (!bytes.has(file.url)) {
    const reply = await fetch(file.url);
    if (!reply.ok) throw new Error(`the computer does not send ${file.name} (${reply.status})`);
    bytes.set(file.url, await reply.arrayBuffer());
  }
  return bytes.get(file.url);
}

/** An engine in a frame of its own, which `close` removes. */
export async function openFile(file, { backend, threads }) {
  const model = await modelBytes(file);
  const frame = document.createElement("iframe");
  frame.hidden = true;
  frame.src = "frame.html";
  const loaded = new Promise((resolve, reject) => {
    frame.onload = resolve;
    frame.onerror = () => reject(new Error("the frame for the runtime does not load"));
  });
  document.body.append(frame);
  try {
    await loaded;
    if (!frame.contentWindow.openEngine) throw new Error("the frame for the runtime does not start");
    const options = { backend, threads, sides: [file.preprocessing.mean.length, ...file.input_size] };
    const engine = await frame.contentWindow.openEngine(file.format, model, options);
    const [height, width] = engine.layout === "nchw" ? engine.shape.slice(2) : engine.shape.slice(1, 3);
    const close = async () => {
      await engine.close();
      frame.remove();
    };
    return { ...engine, height, width, close };
  } catch (error) {
    frame.remove();
    throw error;
  }
}

/**
 * What a file takes for a picture, by the reader made from its record: {input: as the reader gives it, values}.
 *
 * Where a classifier's record does not tell the layout it is the engine's, and without a reader the picture is stretched.
 */
export function inputOf(reader, image, file, { height, width, layout }) {
  if (reader && !(file.guessed && file.preprocessing.crop)) {
    const input = reader.preprocess(image);
    return { input, values: input.length ? input : input.values }; // readers of classifiers give the numbers alone
  }
  const spec = { ...file.preprocessing, size: height };
  const pixels = reader && height === width ? resizedCentre(image, spec) : stretched(image, width, height);
  return { values: asInput(pixels, spec, { layout, baked: file.baked }) };
}

/** A whole batch of one input. */
function batched(values, engine) {
  const every = new Float32Array(values.length * engine.shape[0]);
  for (let start = 0; start < every.length; start += values.length) every.set(values, start);
  return every;
}

/** The outputs for one input, by the names and in the order of the file's record; of a batch the first row. */
export async function runOne(engine, values, file) {
  const rows = (await engine.run(batched(values, engine))).map(({ name, shape, data }) => ({
    name,
    shape,
    data: shape[0] === engine.shape[0] ? data.subarray(0, data.length / engine.shape[0]) : data,
  }));
  const names = [...file.outputs];
  const known = rows.length === names.length && names.every((name) => rows.some((row) => row.name === name));
  if (known) return names.map((name) => rows.find((row) => row.name === name));
  if (file.guessed) names.push("logits");
  return rows.map((row, number) => ({ ...row, name: names[number] ?? row.name }));
}

/** The picture that a file is checked on, or a plain pattern if it came without one. */
export async function testPicture(file) {
  if (file.test) return readPixels(await (await fetch(file.test.url)).blob());
  const side = 64, data = new Uint8ClampedArray(side * side * 4);
  for (let i = 0; i < data.length; i++) data[i] = (i * 37) % 256;
  return { width: side, height: side, data };
}

/** Largest difference from what PyTorch gave for the test picture, as a share of the largest; null if unknown. */
export function difference(outputs, file) {
  let worst = null;
  (file.test?.outputs ?? []).forEach((wanted, number) => {
    if (!wanted) return;
    const got = outputs[number]?.data;
    if (got?.length !== wanted.length) throw new Error(`output ${number} has another shape than PyTorch's`);
    const scale = Math.max(1, ...wanted.map(Math.abs));
    for (let i = 0; i < wanted.length; i++) {
      const off = Math.abs(got[i] - wanted[i]) / scale;
      worst = Math.max(worst ?? 0, Number.isFinite(off) ? off : Infinity);
    }
  });
  return worst;
}

/** Check and time one file in one way; `progress` hears a share between 0 and 1. */
export async function benchFile(file, way, { rounds, seconds }, progress = () => {}) {
  const engine = await openFile(file, way);
  try {
    const reader = file.reader && (await import(`./${file.reader}`));
    const { values } = inputOf(reader, await testPicture(file), file, engine);
    const found = difference(await runOne(engine, values, file), file);
    const limit = LIMITS[file.precision];
    if (found !== null && limit !== undefined && !(found <= limit)) {
      const by = found.toExponential(1);
      throw new Error(`wrong outputs: off by ${by} of the largest, ${limit} is the limit; not timed`);
    }
    const every = batched(values, engine);
    const times = await timed(() => engine.run(every), { rounds, seconds, progress });
    return {
      file: file.name,
      runtime: file.format === "onnx" ? "onnxruntime-web" : "litert",
      backend: engine.backend,
      threads: engine.threads,
      batch: engine.shape[0],
      height: engine.height,
      width: engine.width,
      load_ms: engine.load_ms,
      ...summary(times),
      difference: found,
      times_ms: times,
    };
  } finally {
    await engine.close();
  }
}

/** Milliseconds of each round; calls are gathered into rounds long enough for the browser's coarse clock. */
async function timed(run, { rounds, seconds, progress }) {
  let fastest = Infinity;
  const warm = performance.now();
  for (let call = 0; call < 5 && (call < 2 || performance.now() - warm < 1000 * seconds * 0.2); call++) {
    const start = performance.now();
    await run();
    fastest = Math.min(fastest, performance.now() - start);
  }
  const calls = Math.max(1, Math.ceil(4 / Math.max(fastest, 0.02)));
  const times = [], begin = performance.now();
  while (times.length < rounds && (times.length < 3 || performance.now() - begin < 1000 * seconds)) {
    const start = performance.now();
    for (let call = 0; call < calls; call++) await run();
    times.push((performance.now() - start) / calls);
    progress(Math.max(times.length / rounds, (performance.now() - begin) / 1000 / seconds));
    await new Promise((resolve) => setTimeout(resolve)); // the page stays alive
  }
  return times;
}

function summary(times) {
  const sorted = Float64Array.from(times).sort();
  const at = (share) => {
    const place = share * (sorted.length - 1), below = Math.floor(place);
    return sorted[below] + (place - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
  };
  return { rounds: times.length, median_ms: at(0.5), p10_ms: at(0.1), p90_ms: at(0.9) };
}

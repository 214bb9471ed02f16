// Exported files in the runtimes of a browser. Runs inside a frame of its own, see frame.js.
//
// An engine is {run(values) -> [{name, shape, data}, ...], close(), shape, layout, threads, backend, load_ms}: `run` takes
// one batch of float32 in the file's own layout and ends when the outputs lie in main memory.

const VENDOR = new URL("./vendor/", import.meta.url).href;

/** Open a file: format "onnx" or "litert", backend "wasm" or "webgpu". */
export async function openEngine(format, bytes, options) {
  const start = performance.now();
  const engine = await (format === "onnx" ? openOnnx : openLiteRt)(new Uint8Array(bytes), options);
  return { ...engine, layout: layoutOf(engine.shape), load_ms: performance.now() - start };
}

async function openOnnx(bytes, { backend, threads, sides }) {
  const gpu = backend === "webgpu";
  const ort = await import(`${VENDOR}ort/ort.${gpu ? "webgpu" : "wasm"}.min.mjs`);
  ort.env.logLevel = "error";
  ort.env.wasm.wasmPaths = `${VENDOR}ort/`;
  ort.env.wasm.numThreads = threads;
  const session = await ort.InferenceSession.create(bytes, {
    executionProviders: [backend],
    graphOptimizationLevel: "all",
    logSeverityLevel: 3,
    freeDimensionOverrides: { batch: 1 },
  });
  const [input] = session.inputMetadata;
  if (session.inputNames.length !== 1 || input.shape.length !== 4) throw new Error("it takes no batch of pictures");
  if (input.type !== "float32") throw new Error(`its input is ${input.type}; this page feeds float32`);
  const fallback = [1, ...sides];
  const shape = input.shape.map((side, axis) => (Number.isInteger(side) && side > 0 ? side : fallback[axis]));

  async function run(values) {
    const given = new ort.Tensor("float32", new Float32Array(values), shape);
    const outputs = await session.run({ [input.name]: given });
    const found = [];
    for (const name of session.outputNames) {
      found.push({ name, shape: [...outputs[name].dims], data: floats(await outputs[name].getData()) });
      outputs[name].dispose();
    }
    return found;
  }

  return {
    run,
    close: () => session.release(),
    shape,
    // Without cross-origin isolation it takes one thread, whatever it was told.
    threads: gpu || !self.crossOriginIsolated ? 1 : threads,
    backend,
  };
}

async function openLiteRt(bytes, { backend, threads }) {
  const litert = await import(`${VENDOR}litert/index.js`);
  // The threaded build needs shared memory and relaxed SIMD, which not every browser has.
  const threaded = self.crossOriginIsolated && (await litert.supportsFeature("relaxedSimd"));
  await litert.loadLiteRt(`${VENDOR}litert/wasm/`, { threads: threaded });
  const model = await litert.loadAndCompile(bytes, {
    accelerator: backend,
    cpuOptions: { numThreads: threaded ? threads : 1 },
    gpuOptions: { precision: "fp32" },
  });
  if (model.options.accelerator !== backend) {
    model.delete();
    throw new Error("LiteRT cannot run all of its operators on the GPU");
  }
  const inputs = model.getInputDetails(), details = model.getOutputDetails();
  const [input] = inputs;
  const shape = Array.from(input.shape);
  if (inputs.length !== 1 || shape.length !== 4) throw new Error("it takes no batch of pictures");
  if (input.dtype !== "float32") throw new Error(`its input is ${input.dtype}; this page feeds float32`);

  async function run(values) {
    const given = new litert.Tensor(new Float32Array(values), shape);
    const outputs = await model.run([given]);
    const found = [];
    for (const [number, output] of outputs.entries()) {
      const { name, shape } = details[number];
      found.push({ name, shape: Array.from(shape), data: floats(await output.data()) });
      output.delete();
    }
    given.delete();
    return found;
  }

  return {
    run,
    close: () => model.delete(),
    shape,
    threads: threaded && backend === "wasm" ? threads : 1,
    backend,
  };
}

/** A copy as float32; class numbers may be 64-bit integers. */
function floats(data) {
  return data instanceof BigInt64Array ? Float32Array.from(data, Number) : Float32Array.from(data);
}

/** Where the colours, or gray, stand. */
function layoutOf(shape) {
  const coloured = (side) => side === 3 || side === 1;
  return !coloured(shape[1]) && coloured(shape[3]) ? "nhwc" : "nchw";
}

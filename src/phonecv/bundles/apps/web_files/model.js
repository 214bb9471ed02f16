// The network in ONNX Runtime Web.
import * as ort from "./vendor/ort.wasm.min.mjs";

/**
 * Open the file that model.json tells of: a function from what the reader's `preprocess` gives to
 * {outputs: {name: values}, shapes: {name: sides without the batch}}.
 */
export async function openModel({ file, input, layout, size, outputs }) {
  ort.env.logLevel = "error";
  ort.env.wasm.wasmPaths = new URL("./vendor/", import.meta.url).href;
  // Several threads need an isolated page; the service worker makes it one from the second visit on.
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  const bytes = new Uint8Array(await (await fetch(file)).arrayBuffer());
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  return async (prepared) => {
    // Readers of classifiers give the numbers alone.
    const { values, height, width } = prepared.length ? { values: prepared, height: size[0], width: size[1] } : prepared;
    const channels = values.length / (height * width);
    const shape = layout === "NHWC" ? [1, height, width, channels] : [1, channels, height, width];
    const given = new ort.Tensor("float32", values, shape);
    const found = await session.run({ [input]: given });
    const told = {}, shapes = {};
    for (const name of outputs) {
      told[name] = (await found[name].getData()).slice();
      shapes[name] = found[name].dims.slice(1);
      found[name].dispose();
    }
    return { outputs: told, shapes };
  };
}

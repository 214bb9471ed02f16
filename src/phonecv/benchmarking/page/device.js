// What this device is, as far as its browser tells.

/** Everything that goes into the record beside the figures. */
export async function describeDevice() {
  const hints = await highEntropy();
  const { browser, platform } = names(hints);
  return {
    model: hints.model || "",
    platform,
    browser,
    user_agent: navigator.userAgent,
    cores: navigator.hardwareConcurrency || 1,
    memory_gb: navigator.deviceMemory ?? null,
    screen: [screen.width, screen.height, window.devicePixelRatio],
    isolated: self.crossOriginIsolated === true,
    secure: self.isSecureContext,
    gpu: await graphics(),
  };
}

/** Ways to run a file here: one thread, several where the browser shares memory, the GPU where it is offered. */
export function ways(device) {
  const several = Math.min(device.cores, 4);
  const found = [{ backend: "wasm", threads: 1 }];
  if (device.isolated && several > 1) found.push({ backend: "wasm", threads: several });
  if (device.gpu) found.push({ backend: "webgpu", threads: 1 });
  return found;
}

async function highEntropy() {
  const data = navigator.userAgentData;
  if (!data) return {};
  try {
    return await data.getHighEntropyValues(["model", "platform", "platformVersion", "fullVersionList"]);
  } catch {
    return { brands: data.brands, platform: data.platform }; // the person's settings forbid more
  }
}

function names(hints) {
  const agent = navigator.userAgent;
  const brands = (hints.fullVersionList || hints.brands || []).filter(({ brand }) => !/not.*a.*brand/i.test(brand));
  const brand = brands.find(({ brand }) => brand !== "Chromium") || brands[0];
  const match = agent.match(/(Edg|OPR|SamsungBrowser|Firefox|FxiOS|CriOS|Chrome)\/([\d.]+)/) ||
    agent.match(/(Version)\/([\d.]+).*Safari/);
  const called = { Edg: "Edge", OPR: "Opera", SamsungBrowser: "Samsung Internet", FxiOS: "Firefox", CriOS: "Chrome",
    Version: "Safari" };
  const browser = brand
    ? `${brand.brand} ${brand.version.split(".")[0]}`
    : match ? `${called[match[1]] ?? match[1]} ${match[2].split(".")[0]}` : "unknown browser";
  const system = agent.match(/iPhone|iPad|Android [\d.]+|Windows|Mac OS X|CrOS|Linux/);
  const platform = hints.platform
    ? `${hints.platform} ${hints.platformVersion ?? ""}`.trim()
    : (system?.[0] ?? navigator.platform ?? "");
  return { browser, platform };
}

/** The GPU that WebGPU offers, or null. */
async function graphics() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  if (!adapter) return null;
  const { vendor = "", architecture = "", description = "" } = adapter.info ?? {};
  const kind = adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter ? "software" : "hardware";
  return { vendor, architecture, description, kind, fp16: adapter.features.has("shader-f16") };
}

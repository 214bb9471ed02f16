// Figures and messages for people.

/** One line about something that went wrong. */
export const reason = (error) => (error?.message ?? String(error)).trim().split("\n")[0].slice(0, 400);

/** Where a network runs. */
export function wayName({ backend, threads }) {
  return backend === "webgpu" ? "GPU (WebGPU)" : threads === 1 ? "1 thread" : `${threads} threads`;
}

/** Milliseconds with three figures or so. */
export function figure(milliseconds) {
  return milliseconds.toFixed(milliseconds < 10 ? 2 : milliseconds < 100 ? 1 : 0);
}

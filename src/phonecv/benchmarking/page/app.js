// The page: choices, timing, sending the figures back. What the camera sees is in look.js.

import { benchFile, titleOf } from "./bench.js";
import { describeDevice, ways } from "./device.js";
import { startLooking, useThreads } from "./look.js";
import { figure, reason, wayName } from "./words.js";

const element = (id) => document.getElementById(id);

async function start() {
  const [config, device] = await Promise.all([fetch("config.json").then((reply) => reply.json()), describeDevice()]);
  showDevice(device);
  const possible = ways(device);
  choices("files", config.files.map((file) => ({
    label: titleOf(file),
    small: `${file.name}, ${(file.bytes / 1e6).toFixed(1)} MB`,
    checked: true,
  })));
  const emulated = device.gpu?.kind === "software";
  // A GPU that is emulated takes seconds for one picture; it shows right figures, not speed.
  choices("ways", possible.map((way) => ({
    label: wayName(way),
    small: way.backend === "webgpu" ? (emulated ? "emulated: a check, no speed" : device.gpu.vendor) : "",
    checked: way.backend !== "webgpu" || !emulated,
  })));
  element("name").value = remembered() || device.model;
  element("name").oninput = () => remember(element("name").value);
  element("time").disabled = false;
  element("time").onclick = () => run(config, device, possible);
  startLooking(config, device);
  document.documentElement.dataset.ready = "yes";
}

function showDevice(device) {
  const chip = (text, yes) => {
    const span = document.createElement("span");
    span.textContent = text;
    span.className = yes ? "yes" : "";
    return span;
  };
  element("device").replaceChildren(
    chip(device.browser), chip(device.platform), chip(`${device.cores} cores`),
    chip(device.isolated ? "threads" : "no threads", device.isolated),
    chip(device.gpu ? (device.gpu.kind === "software" ? "WebGPU, emulated" : "WebGPU") : "no WebGPU", device.gpu),
  );
  if (!device.isolated) {
    element("warning").hidden = false;
    element("warning").textContent = device.secure
      ? "This browser shares no memory between threads, so one thread is all there is."
      : "Over plain http browsers give neither threads nor the camera. Start the server with --https, and accept its " +
        "certificate here.";
  }
}

function choices(id, items) {
  for (const [number, { label, small, checked }] of items.entries()) {
    const box = document.createElement("label");
    box.className = "choice";
    const input = Object.assign(document.createElement("input"), { type: "checkbox", checked, value: number });
    const text = document.createElement("span");
    text.textContent = label;
    if (small) text.append(Object.assign(document.createElement("small"), { textContent: small }));
    box.append(input, text);
    element(id).append(box);
  }
}

const chosen = (id) => [...element(id).querySelectorAll("input:checked")].map((input) => Number(input.value));

async function run(config, device, possible) {
  const button = element("time"), bar = element("progress"), status = element("status");
  const jobs = chosen("files").flatMap((file) => chosen("ways").map((way) => [config.files[file], possible[way]]));
  if (!jobs.length) {
    status.textContent = "Choose at least one network and one place to run it.";
    return;
  }
  button.disabled = true;
  bar.hidden = false;
  element("failed").replaceChildren();
  document.dispatchEvent(new Event("timing")); // the camera pauses
  const rows = [], failed = [];
  for (const [number, [file, way]] of jobs.entries()) {
    status.textContent = `${titleOf(file)}, ${wayName(way)} (${number + 1} of ${jobs.length})`;
    bar.value = number / jobs.length;
    try {
      const progress = (share) => (bar.value = (number + Math.min(1, share)) / jobs.length);
      rows.push(await benchFile(file, way, config, progress));
    } catch (error) {
      failed.push({ file: file.name, ...way, reason: reason(error) });
    }
    showRows(rows, config.files);
    showFailed(failed, config.files);
  }
  for (const file of config.files) {
    const own = rows.filter((row) => row.file === file.name && row.backend === "wasm");
    if (own.length > 1) useThreads(file, own.reduce((a, b) => (b.median_ms < a.median_ms ? b : a)).threads);
  }
  bar.hidden = true;
  status.textContent = "Sending the figures …";
  try {
    status.textContent = `Saved on the computer as ${await send(device, rows, failed)}.`;
  } catch (error) {
    status.textContent = `The figures did not reach the computer: ${reason(error)}`;
  }
  button.disabled = false;
}

function showRows(rows, files) {
  const best = new Map();
  for (const { file, median_ms } of rows) best.set(file, Math.min(best.get(file) ?? Infinity, median_ms));
  element("results").hidden = element("columns").hidden = !rows.length;
  element("results").tBodies[0].replaceChildren(...rows.map((row) => {
    const line = document.createElement("tr");
    const cell = (text, className = "") =>
      line.append(Object.assign(document.createElement("td"), { textContent: text, className }));
    cell(titleOf(files.find((file) => file.name === row.file)));
    const small = `${wayName(row)}; ${row.file}`;
    line.cells[0].append(Object.assign(document.createElement("small"), { textContent: small }));
    cell(figure(row.median_ms / row.batch), row.median_ms === best.get(row.file) ? "number best" : "number");
    cell(figure(row.p90_ms / row.batch), "number");
    cell(row.difference === null ? "" : row.difference.toExponential(0), "number");
    return line;
  }));
}

function showFailed(failed, files) {
  element("failed").replaceChildren(...failed.map((item) => {
    const title = titleOf(files.find((file) => file.name === item.file));
    const text = `${title}, ${wayName(item)}: ${item.reason} (${item.file})`;
    return Object.assign(document.createElement("li"), { textContent: text });
  }));
}

async function send(device, rows, failed) {
  const reply = await fetch("figures", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ version: 1, name: element("name").value, device, rows, failed }),
  });
  const answer = await reply.json();
  if (!reply.ok) throw new Error(answer.error);
  return answer.saved;
}

function remembered() {
  try {
    return localStorage.getItem("phonecv-device") ?? "";
  } catch {
    return ""; // storage is off in some private windows
  }
}

function remember(name) {
  try {
    localStorage.setItem("phonecv-device", name);
  } catch {
    // the name then lasts as long as the page
  }
}

start().catch((error) => {
  element("warning").hidden = false;
  element("warning").textContent = `The page cannot start: ${reason(error)}`;
});

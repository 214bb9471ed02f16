"""Programs that call the readers: they write the input for a picture, and with the outputs given also the result.

Arguments: pixels (RGBA), width, height, a file for the input, and then a file for the result and those of the outputs.
The input's file starts with its sizes: height, width, used height, used width (int32), then the values. A result is a
map of classes (uint16) and shares are printed, or it is seven floats for each object: label, score, left, top, right,
bottom, and pixels of its mask. The first class's name is printed last. Node, which starts slowly, takes a list of such
arguments as JSON, and prints -- after each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Least score of the objects in a result.
THRESHOLD = 0.35

_CPP = """
#include <cstdio>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>
#include "phonecv_reader.hpp"
template <typename T> std::vector<T> load(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), {});
  const T* start = reinterpret_cast<const T*>(bytes.data());
  return std::vector<T>(start, start + bytes.size() / sizeof(T));
}
template <typename T> void save(std::ofstream& file, const T* values, size_t count) {
  file.write(reinterpret_cast<const char*>(values), sizeof(T) * count);
}
int main(int count, char** argv) {
  const auto pixels = load<uint8_t>(argv[1]);
  const auto input = phonecv::preprocess(pixels.data(), std::stoi(argv[2]), std::stoi(argv[3]), 4);
  std::ofstream given(argv[4], std::ios::binary);
  const int32_t sizes[4] = {input.height, input.width, input.usedHeight, input.usedWidth};
  save(given, sizes, 4);
  save(given, input.values.data(), input.values.size());
  try {
    phonecv::preprocess(pixels.data(), 0, 5, 4);
    return 1;
  } catch (const std::invalid_argument&) {
  }
  if (count < 6) return 0;
  std::ofstream result(argv[5], std::ios::binary);
  READ
  std::printf("%s\\n", phonecv::kNames[0]);
}
"""
_CPP_MAP = """
  save(result, map.data(), map.size());
  for (float share : phonecv::shares(map)) std::printf("%.6f ", share);
  std::printf("\\n");
"""
_CPP_OBJECTS = """
  for (const auto& one : found) {
    const float row[7] = {float(one.label), one.score, one.left, one.top, one.right, one.bottom, AREA};
    save(result, row, 7);
  }
"""
_CPP_READ = {
    "logits": "const auto out = load<float>(argv[6]);"
    " const auto map = phonecv::labels(out.data(), input.height / 4, input.width / 4, input);" + _CPP_MAP,
    "classes": "const auto out = load<int32_t>(argv[6]); const auto map = phonecv::labels(out.data(), input);"
    + _CPP_MAP,
    "anchors": "const auto one = load<float>(argv[6]), other = load<float>(argv[7]);"
    f" const auto found = phonecv::detections(one.data(), other.data(), input, {THRESHOLD}f);" + _CPP_OBJECTS,
    "places": "const auto boxes = load<float>(argv[6]), scores = load<float>(argv[7]);"
    " const auto labels = load<int32_t>(argv[8]);"
    f" const auto found = phonecv::detections(boxes.data(), scores.data(), labels.data(), input, {THRESHOLD}f);"
    + _CPP_OBJECTS,
    "area": "[&](const std::vector<uint8_t>& inside) { return std::accumulate(inside.begin(), inside.end(), 0.0f); }"
    "(phonecv::mask(load<float>(argv[10]).data(), one, input).inside)",
    "none": "0.0f",
}

_NODE = """
import { readFileSync, writeFileSync } from "node:fs";
import * as reader from "./phonecv_reader.mjs";
for (const [pixels, width, height, target, end, ...outputs] of JSON.parse(process.argv[2])) {
  const data = new Uint8ClampedArray(readFileSync(pixels));
  const input = reader.preprocess({ data, width: Number(width), height: Number(height) });
  const sizes = Int32Array.of(input.height, input.width, input.usedHeight, input.usedWidth);
  writeFileSync(target, Buffer.concat([Buffer.from(sizes.buffer), Buffer.from(input.values.buffer)]));
  const bytes = (place) => Uint8Array.from(readFileSync(outputs[place])).buffer;
  const floats = (place) => new Float32Array(bytes(place)), whole = (place) => new Int32Array(bytes(place));
  if (end) {
    READ
    console.log(reader.NAMES[0]);
  }
  console.log("--");
}
"""
_NODE_MAP = """
  writeFileSync(end, Buffer.from(map.buffer));
  console.log(reader.shares(map).map((share) => share.toFixed(6)).join(" "));
"""
_NODE_OBJECTS = """
  const rows = found.flatMap((one) => [one.label, one.score, one.left, one.top, one.right, one.bottom, AREA]);
  writeFileSync(end, Buffer.from(Float32Array.from(rows).buffer));
"""
_NODE_READ = {
    "logits": "const map = reader.labels(floats(0), [input.height / 4, input.width / 4], input);" + _NODE_MAP,
    "classes": "const map = reader.labels(whole(0), input);" + _NODE_MAP,
    "anchors": f"const found = reader.detections(floats(0), floats(1), input, {THRESHOLD});" + _NODE_OBJECTS,
    "places": f"const found = reader.detections(floats(0), floats(1), whole(2), input, {THRESHOLD});" + _NODE_OBJECTS,
    "area": "reader.mask(floats(4), one, input).inside.reduce((sum, value) => sum + value, 0)",
    "none": "0",
}

_KOTLIN = """
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
private fun load(path: String) = ByteBuffer.wrap(File(path).readBytes()).order(ByteOrder.LITTLE_ENDIAN)
private fun floats(path: String): FloatArray {
  val from = load(path).asFloatBuffer()
  return FloatArray(from.remaining()).also { from.get(it) }
}
private fun whole(path: String): IntArray {
  val from = load(path).asIntBuffer()
  return IntArray(from.remaining()).also { from.get(it) }
}
private fun room(size: Int) = ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN)
fun run(arguments: List<String>) {
  val (width, height) = arguments.subList(1, 3).map { it.toInt() }
  val raw = File(arguments[0]).readBytes().map { it.toInt() and 255 }
  val pixels = IntArray(width * height) {
    (255 shl 24) or (raw[4 * it] shl 16) or (raw[4 * it + 1] shl 8) or raw[4 * it + 2]
  }
  val input = PhonecvReader.preprocess(pixels, width, height)
  val given = room(16 + 4 * input.values.size)
  for (size in listOf(input.height, input.width, input.usedHeight, input.usedWidth)) given.putInt(size)
  for (value in input.values) given.putFloat(value)
  File(arguments[3]).writeBytes(given.array())
  if (arguments.size < 6) return
  val outputs = arguments.drop(5)
  READ
  println(PhonecvReader.NAMES[0])
}
"""
_KOTLIN_MAP = """
  val written = room(2 * map.size)
  for (label in map) written.putShort(label.toShort())
  File(arguments[4]).writeBytes(written.array())
  println(PhonecvReader.shares(map).joinToString(" ") { "%.6f".format(java.util.Locale.ROOT, it) })
"""
_KOTLIN_OBJECTS = """
  val written = room(28 * found.size)
  for (one in found) {
    val row = listOf(one.label.toFloat(), one.score, one.left, one.top, one.right, one.bottom, AREA)
    for (value in row) written.putFloat(value)
  }
  File(arguments[4]).writeBytes(written.array())
"""
_KOTLIN_READ = {
    "logits": "val map = PhonecvReader.labels(floats(outputs[0]), input.height / 4, input.width / 4, input)"
    + _KOTLIN_MAP,
    "classes": "val map = PhonecvReader.labels(whole(outputs[0]), input)" + _KOTLIN_MAP,
    "anchors": f"val found = PhonecvReader.detections(floats(outputs[0]), floats(outputs[1]), input, {THRESHOLD}f)"
    + _KOTLIN_OBJECTS,
    "places": "val (boxes, scores) = outputs.take(2).map { floats(it) }\n"
    f"  val found = PhonecvReader.detections(boxes, scores, whole(outputs[2]), input, {THRESHOLD}f)" + _KOTLIN_OBJECTS,
    "area": "PhonecvReader.mask(floats(outputs[4]), one, input).inside.count { it }.toFloat()",
    "none": "0f",
}

_PROGRAMS = {"C++": (_CPP, _CPP_READ), "JavaScript": (_NODE, _NODE_READ), "Kotlin": (_KOTLIN, _KOTLIN_READ)}


def driver(language: str, record: Mapping[str, Any]) -> str:
    """The program for the readers of a file.

    Args:
        language: "C++", "JavaScript" or "Kotlin".
        record: of the file.
    """
    program, reads = _PROGRAMS[language]
    if record["task"] == "segment":
        read = reads["logits" if record["decoding"]["kind"] == "raw" else "classes"]
    else:
        read = reads["places" if record["decoding"]["kind"] == "final" else "anchors"]
    area = reads["area" if "masks" in record["outputs"] else "none"]
    return program.replace("READ", read).replace("AREA", area)

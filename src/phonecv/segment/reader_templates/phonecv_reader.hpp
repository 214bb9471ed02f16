// Pictures to the input of @NAME@, and its output to a class for every pixel.
// Made by phonecv @VERSION@ from the file's own record. C++17, no dependencies. Pixels have to be upright (apply the
// EXIF orientation first) and in RGB or RGBA order.
//
//   const phonecv::Input input = phonecv::preprocess(pixels, width, height, 4);  // @LAYOUT_TEXT@
//   ... run the model on input.values ...
//if raw
//   const auto map = phonecv::labels(logits, mapHeight, mapWidth, input);  // sizes of the output: @MAP_TEXT@
//end
//if final
//   const auto map = phonecv::labels(classes, input);
//end
//   const auto shares = phonecv::shares(map);  // of kNames
//
// The map has the size of the picture, row by row. On large pictures a smaller one is faster and often enough: give its
// height and width as the last two arguments.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace phonecv {

//include phonecv.dense:input
constexpr uint32_t kColours[kClasses] = {  // 0xRRGGBB for drawing; black: better left as it is
    @COLOURS@};

//if raw
// The class of every pixel, from logits of kClasses maps one after the other.
inline std::vector<uint16_t> labels(const float* logits, int mapHeight, int mapWidth, const Input& input,
                                    int height = 0, int width = 0) {
  height = height > 0 ? height : input.pictureHeight;
  width = width > 0 ? width : input.pictureWidth;
  // Twice, as the evaluation does: to the input's size, where the padding is cut off, and from there to the picture's.
  const auto mapRows = detail::line(mapHeight, input.height), mapColumns = detail::line(mapWidth, input.width);
  const auto rows = detail::line(input.usedHeight, height), columns = detail::line(input.usedWidth, width);
  const size_t area = static_cast<size_t>(mapHeight) * mapWidth;
  std::vector<float> kept[2];  // rows at the input's size; neighbours differ in the last bit of their number
  int held[2] = {-1, -1};
  const auto row = [&](int y) -> const float* {
    auto& values = kept[y % 2];
    if (held[y % 2] == y) return values.data();
    held[y % 2] = y;
    values.resize(static_cast<size_t>(input.usedWidth) * kClasses);
    for (int label = 0; label < kClasses; ++label) {
      const float* upper = logits + label * area + static_cast<size_t>(mapRows.low[y]) * mapWidth;
      const float* lower = logits + label * area + static_cast<size_t>(mapRows.high[y]) * mapWidth;
      for (int x = 0; x < input.usedWidth; ++x) {
        const int left = mapColumns.low[x], right = mapColumns.high[x];
        const float share = mapColumns.share[x];
        values[static_cast<size_t>(x) * kClasses + label] =
            detail::between(detail::between(upper[left], upper[right], share),
                            detail::between(lower[left], lower[right], share), mapRows.share[y]);
      }
    }
    return values.data();
  };
  std::vector<uint16_t> found(static_cast<size_t>(height) * width);
  for (int y = 0; y < height; ++y) {
    const float *upper = row(rows.low[y]), *lower = row(rows.high[y]);
    for (int x = 0; x < width; ++x) {
      const size_t left = static_cast<size_t>(columns.low[x]) * kClasses;
      const size_t right = static_cast<size_t>(columns.high[x]) * kClasses;
      float best = 0;
      uint16_t which = 0;
      for (int label = 0; label < kClasses; ++label) {
        const float value =
            detail::between(detail::between(upper[left + label], upper[right + label], columns.share[x]),
                            detail::between(lower[left + label], lower[right + label], columns.share[x]), rows.share[y]);
        if (label == 0 || value > best) {
          best = value;
          which = static_cast<uint16_t>(label);
        }
      }
      found[static_cast<size_t>(y) * width + x] = which;
    }
  }
  return found;
}
//end
//if final
// The class of every pixel, from the model's map of classes (of any kind of number) at the input's size.
template <typename Number>
inline std::vector<uint16_t> labels(const Number* classes, const Input& input, int height = 0, int width = 0) {
  height = height > 0 ? height : input.pictureHeight;
  width = width > 0 ? width : input.pictureWidth;
  const float tall = static_cast<float>(input.usedHeight) / static_cast<float>(height);
  const float wide = static_cast<float>(input.usedWidth) / static_cast<float>(width);
  std::vector<uint16_t> found(static_cast<size_t>(height) * width);
  for (int y = 0; y < height; ++y) {
    const int from = std::min(static_cast<int>((static_cast<float>(y) + 0.5f) * tall), input.usedHeight - 1);
    for (int x = 0; x < width; ++x) {
      const int at = std::min(static_cast<int>((static_cast<float>(x) + 0.5f) * wide), input.usedWidth - 1);
      found[static_cast<size_t>(y) * width + x] =
          static_cast<uint16_t>(classes[static_cast<size_t>(from) * input.width + at]);
    }
  }
  return found;
}
//end

// Share of every class in a map, 0..1.
inline std::vector<float> shares(const std::vector<uint16_t>& map) {
  std::vector<size_t> counts(kClasses);
  for (const uint16_t label : map) ++counts[label];
  std::vector<float> found(kClasses);
  for (int label = 0; label < kClasses; ++label)
    found[label] = static_cast<float>(counts[label]) / static_cast<float>(map.size());
  return found;
}

}  // namespace phonecv

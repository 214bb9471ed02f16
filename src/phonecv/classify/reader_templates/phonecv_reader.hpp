// Pictures to the input of @NAME@, and its outputs to labels. Made by phonecv @VERSION@ from the model's own record.
// C++17, no dependencies. Pixels have to be upright (apply the EXIF orientation first) and in RGB or RGBA order.
//
//   std::vector<float> input = phonecv::preprocess(pixels, width, height, 4);  // @LAYOUT_TEXT@
//   ... run the model ...
//if one
//   for (auto [index, share] : phonecv::top(logits, phonecv::kClasses, 5)) ...
//end
//if many
//   for (auto [index, share] : phonecv::told(logits)) ...
//end
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

namespace phonecv {

constexpr int kResize = @RESIZE@;    // short side before the crop, pixels
constexpr int kSize = @SIZE@;        // side of the square crop, pixels
constexpr int kClasses = @CLASSES@;  // outputs
constexpr bool kBicubic = @BICUBIC@;
constexpr bool kNormalise = @NORMALISE@;        // false: the model takes pixel values 0..255
constexpr bool kChannelsFirst = @CHANNELS_FIRST@;
constexpr float kMean[@CHANNELS@] = {@MEAN@};  // of values in 0..1, @COLOURS@
constexpr float kStd[@CHANNELS@] = {@STD@};
//if many
constexpr float kThresholds[kClasses] = {
    @THRESHOLDS@
};  // probability of each label from which on it is told
//end

namespace detail {

// The filter's weights for one output pixel, in fixed point as Pillow has them, so that results are equal to the bit.
struct Taps {
  int first;
  std::vector<int32_t> weights;
};

constexpr int kBits = 22;

inline double filter(double x) {
  x = std::fabs(x);
  if (!kBicubic) return x < 1 ? 1 - x : 0;
  constexpr double a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

// Taps of `count` output pixels from `start` on, of a line of `in` pixels resized to `out`.
inline std::vector<Taps> taps(int in, int out, int start, int count) {
  const double scale = static_cast<double>(in) / out, stretch = std::max(scale, 1.0);
  const double support = (kBicubic ? 2.0 : 1.0) * stretch;
  std::vector<Taps> found(count);
  for (int i = 0; i < count; ++i) {
    const double centre = (start + i + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(centre - support + 0.5));
    const int last = std::min(in, static_cast<int>(centre + support + 0.5));
    std::vector<double> weights;
    double sum = 0;
    for (int x = first; x < last; ++x) {
      weights.push_back(filter((x - centre + 0.5) / stretch));
      sum += weights.back();
    }
    found[i].first = first;
    for (double weight : weights) {
      const double scaled = weight / sum * (1 << kBits);
      found[i].weights.push_back(static_cast<int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5));
    }
  }
  return found;
}

inline uint8_t rounded(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kBits, 0, 255)); }

// Python's round(difference / 2): halves go to the even neighbour.
inline int half(int difference) {
  const int low = difference / 2;
  return difference % 2 == 0 || low % 2 == 0 ? low : low + 1;
}

}  // namespace detail

// The model's input. `channels` is 3 (RGB) or 4 (RGBA, the fourth is ignored); rows follow each other without gaps.
inline std::vector<float> preprocess(const uint8_t* pixels, int width, int height, int channels) {
  if (pixels == nullptr || width < 1 || height < 1) throw std::invalid_argument("phonecv: no picture was given");
  if (channels != 3 && channels != 4) throw std::invalid_argument("phonecv: pixels have 3 or 4 channels, RGB or RGBA");
  // Very long pictures lose their ends first, as in evaluation.
  const int longest = 16 * std::min(width, height);
  const int x0 = std::max(0, (width - longest) / 2), y0 = std::max(0, (height - longest) / 2);
  const int w = std::min(width, longest), h = std::min(height, longest);
  const int wide = w <= h ? kResize : static_cast<int>(static_cast<double>(kResize) * w / h);
  const int tall = w <= h ? static_cast<int>(static_cast<double>(kResize) * h / w) : kResize;
  const auto columns = detail::taps(w, wide, detail::half(wide - kSize), kSize);
  const auto rows = detail::taps(h, tall, detail::half(tall - kSize), kSize);
  const int top = rows.front().first, bottom = rows.back().first + static_cast<int>(rows.back().weights.size());
  std::vector<uint8_t> narrow(static_cast<size_t>(bottom - top) * kSize * 3);
  for (int y = top; y < bottom; ++y)
    for (int x = 0; x < kSize; ++x)
      for (int c = 0; c < 3; ++c) {
        int32_t sum = 1 << (detail::kBits - 1);
        const auto& tap = columns[x];
        const uint8_t* line = pixels + (static_cast<size_t>(y0 + y) * width + x0 + tap.first) * channels + c;
        for (size_t i = 0; i < tap.weights.size(); ++i) sum += line[i * channels] * tap.weights[i];
        narrow[(static_cast<size_t>(y - top) * kSize + x) * 3 + c] = detail::rounded(sum);
      }
//if gray
  // Gray as Pillow's "L" has it, the luma of ITU-R 601-2.
  constexpr int32_t luma[3] = {19595, 38470, 7471};
  std::vector<float> input(kSize * kSize);
  for (int y = 0; y < kSize; ++y)
    for (int x = 0; x < kSize; ++x) {
      const auto& tap = rows[y];
      int32_t gray = 0x8000;
      for (int c = 0; c < 3; ++c) {
        int32_t sum = 1 << (detail::kBits - 1);
        for (size_t i = 0; i < tap.weights.size(); ++i)
          sum += narrow[(static_cast<size_t>(tap.first - top + i) * kSize + x) * 3 + c] * tap.weights[i];
        gray += luma[c] * detail::rounded(sum);
      }
      const float value = gray >> 16;
      input[static_cast<size_t>(y) * kSize + x] = kNormalise ? (value / 255.0f - kMean[0]) / kStd[0] : value;
    }
  return input;
//end
//if rgb
  std::vector<float> input(3 * kSize * kSize);
  for (int y = 0; y < kSize; ++y)
    for (int x = 0; x < kSize; ++x)
      for (int c = 0; c < 3; ++c) {
        int32_t sum = 1 << (detail::kBits - 1);
        const auto& tap = rows[y];
        for (size_t i = 0; i < tap.weights.size(); ++i)
          sum += narrow[(static_cast<size_t>(tap.first - top + i) * kSize + x) * 3 + c] * tap.weights[i];
        const float value = detail::rounded(sum);
        const size_t place = kChannelsFirst ? (static_cast<size_t>(c) * kSize + y) * kSize + x
                                            : (static_cast<size_t>(y) * kSize + x) * 3 + c;
        input[place] = kNormalise ? (value / 255.0f - kMean[c]) / kStd[c] : value;
      }
  return input;
//end
}

//if many
// The `count` most probable labels, told or not; they do not exclude each other.
inline std::vector<std::pair<int, float>> top(const float* logits, int classes, int count) {
  std::vector<std::pair<int, float>> found(classes);
  for (int i = 0; i < classes; ++i) found[i] = {i, logits[i]};
  count = std::min(count, classes);
  std::partial_sort(found.begin(), found.begin() + count, found.end(),
                    [](const auto& one, const auto& other) { return one.second > other.second; });
  found.resize(count);
  for (auto& pair : found) pair.second = static_cast<float>(1 / (1 + std::exp(-static_cast<double>(pair.second))));
  return found;
}

// The labels of the picture, none or several: index (line of labels.txt, from 0) and probability, best first.
inline std::vector<std::pair<int, float>> told(const float* logits) {
  std::vector<std::pair<int, float>> found;
  for (const auto& pair : top(logits, kClasses, kClasses))
    if (pair.second >= kThresholds[pair.first]) found.push_back(pair);
  return found;
}
//end
//if one
// The `count` most probable classes: index (line of labels.txt, from 0) and probability, best first.
inline std::vector<std::pair<int, float>> top(const float* logits, int classes, int count) {
  const float largest = *std::max_element(logits, logits + classes);
  double total = 0;
  std::vector<std::pair<int, float>> found(classes);
  for (int i = 0; i < classes; ++i) {
    found[i] = {i, std::exp(logits[i] - largest)};
    total += found[i].second;
  }
  count = std::min(count, classes);
  std::partial_sort(found.begin(), found.begin() + count, found.end(),
                    [](const auto& one, const auto& other) { return one.second > other.second; });
  found.resize(count);
  for (auto& pair : found) pair.second = static_cast<float>(pair.second / total);
  return found;
}
//end

}  // namespace phonecv

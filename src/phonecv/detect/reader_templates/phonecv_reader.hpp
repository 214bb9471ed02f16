// Pictures to the input of @NAME@, and its outputs to objects.
// Made by phonecv @VERSION@ from the file's own record. C++17, no dependencies. Pixels have to be upright (apply the
// EXIF orientation first) and in RGB or RGBA order.
//
//   const phonecv::Input input = phonecv::preprocess(pixels, width, height, 4);  // @LAYOUT_TEXT@
//   ... run the model on input.values ...
//if raw
//   for (const auto& found : phonecv::detections(class_logits, box_codes, input, 0.3f))
//end
//if boxes
//   for (const auto& found : phonecv::detections(scores, boxes, input, 0.3f))
//end
//if final
//   for (const auto& found : phonecv::detections(boxes, scores, labels, input, 0.3f))
//end
//     std::printf("%s %.2f\n", phonecv::kNames[found.label], found.score);
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

namespace phonecv {

//include phonecv.dense:input
constexpr float kScoreThreshold = @SCORE_THRESHOLD@;  // scores have to be above it
//if raw boxes
constexpr double kOverlap = @OVERLAP@;       // intersection over union above which the weaker of two boxes goes
constexpr size_t kCandidates = @CANDIDATES@;    // considered of each level
constexpr size_t kMaxDetections = @KEEP@;  // of a picture
constexpr bool kClassAgnostic = @CLASS_AGNOSTIC@;  // whether boxes of different classes drop each other, too
//end
//if final
constexpr int kPlaces = @PLACES@;  // objects in the outputs, found or not
//end
//if masks
constexpr int kMaskSide = @MASK_SIDE@;
//end

struct Detection {
  int label = 0;                                   // place in kNames
  float score = 0;                                 // 0..1
  float left = 0, top = 0, right = 0, bottom = 0;  // pixels of the picture as given
//if masks
  int place = 0;  // in the outputs, for `mask`
//end
};

namespace detail {

//if raw boxes
// Anchors: for each level its map, then for each kind the box at the map's first cell (x1 y1 x2 y2, pixels).
constexpr int kLevels = @LEVELS@, kKinds = @KINDS@;
constexpr float kStrides[kLevels] = {@STRIDES@};
//end
//if fixed_maps
constexpr int kRows[kLevels] = {@ROWS@};
constexpr int kColumns[kLevels] = {@COLUMNS@};
//end
//if raw
constexpr float kCells[kLevels * kKinds * 4] = {
    @CELLS@};
constexpr float kStds[4] = {@STDS@};  // of the box codes
constexpr int kValues = @VALUES@;     // logits of an anchor
constexpr bool kSoftmax = @SOFTMAX@;  // over classes and background, the last; otherwise a sigmoid for each class

inline float score(const float* row, int label) {
  if (!kSoftmax) return 1.0f / (1.0f + std::exp(-row[label]));
  float total = 0;
  for (int other = 0; other < kValues; ++other) total += std::exp(row[other] - row[label]);
  return 1.0f / total;
}

// The box of an anchor, from its codes.
inline void decode(int level, int columns, int anchor, const float* codes, Detection& found) {
  const int kind = anchor % kKinds, cell = anchor / kKinds;
  const float* box = kCells + (level * kKinds + kind) * 4;
  const float x = static_cast<float>(cell % columns) * kStrides[level];
  const float y = static_cast<float>(cell / columns) * kStrides[level];
  const float limit = std::log(62.5f);  // a box is at most so many times its anchor
  const float width = (x + box[2]) - (x + box[0]), height = (y + box[3]) - (y + box[1]);
  const float middleX = x + box[0] + width / 2 + codes[0] * kStds[0] * width;
  const float middleY = y + box[1] + height / 2 + codes[1] * kStds[1] * height;
  const float halfX = width * std::exp(std::clamp(codes[2] * kStds[2], -limit, limit)) / 2;
  const float halfY = height * std::exp(std::clamp(codes[3] * kStds[3], -limit, limit)) / 2;
  found.left = middleX - halfX;
  found.top = middleY - halfY;
  found.right = middleX + halfX;
  found.bottom = middleY + halfY;
}

//end
// A box cut to the picture; false if nothing is left.
inline bool cut(Detection& found, const Input& input) {
  const float width = static_cast<float>(input.usedWidth), height = static_cast<float>(input.usedHeight);
  found.left = std::clamp(found.left, 0.0f, width);
  found.top = std::clamp(found.top, 0.0f, height);
  found.right = std::clamp(found.right, 0.0f, width);
  found.bottom = std::clamp(found.bottom, 0.0f, height);
  return found.right > found.left && found.bottom > found.top;
}

// From pixels of the input to those of the picture.
inline void restore(Detection& found, const Input& input) {
  const float x = static_cast<float>(static_cast<double>(input.usedWidth) / input.pictureWidth);
  const float y = static_cast<float>(static_cast<double>(input.usedHeight) / input.pictureHeight);
  found.left /= x;
  found.right /= x;
  found.top /= y;
  found.bottom /= y;
}
//if raw boxes

inline double overlap(const Detection& one, const Detection& other) {
  const double width = std::min<double>(one.right, other.right) - std::max<double>(one.left, other.left);
  const double height = std::min<double>(one.bottom, other.bottom) - std::max<double>(one.top, other.top);
  if (width <= 0 || height <= 0) return 0;
  const auto area = [](const Detection& box) {
    return (static_cast<double>(box.right) - box.left) * (static_cast<double>(box.bottom) - box.top);
  };
  return width * height / (area(one) + area(other) - width * height);
}

// The best of those that overlap, within each class.
inline std::vector<Detection> suppressed(std::vector<Detection> every, const Input& input) {
  std::stable_sort(every.begin(), every.end(),
                   [](const auto& one, const auto& other) { return one.score > other.score; });
  std::vector<Detection> kept;
  for (const auto& found : every) {
    if (kept.size() == kMaxDetections) break;
    const bool doubled = std::any_of(kept.begin(), kept.end(), [&](const Detection& other) {
      return (kClassAgnostic || other.label == found.label) && overlap(found, other) > kOverlap;
    });
    if (!doubled) kept.push_back(found);
  }
  for (auto& found : kept) restore(found, input);
  return kept;
}
//end

}  // namespace detail

//if raw
// Objects from the threshold on, best first; both outputs have a row for each anchor.
inline std::vector<Detection> detections(const float* classLogits, const float* boxCodes, const Input& input,
                                         float threshold = 0.3f) {
  const float least = std::max(threshold, kScoreThreshold);
  // What is below cannot have such a score; that spares most exponentials.
  const float bar = (detail::kSoftmax ? std::log(least) : std::log(least / (1.0f - least))) - 0.001f;
//end
//if boxes
// Objects from the threshold on, best first; both outputs have a row for each anchor.
inline std::vector<Detection> detections(const float* scores, const float* boxes, const Input& input,
                                         float threshold = 0.3f) {
//end
//if raw boxes
  struct Candidate {
    int anchor, label;
    float score;
  };
  std::vector<Detection> every;
  std::vector<Candidate> found;
  size_t first = 0;  // anchor of the level
  for (int level = 0; level < detail::kLevels; ++level) {
//end
//if fixed_maps
    const int rows = detail::kRows[level], columns = detail::kColumns[level];
//end
//if free_maps
    const int rows = static_cast<int>(std::ceil(static_cast<float>(input.height) / detail::kStrides[level]));
    const int columns = static_cast<int>(std::ceil(static_cast<float>(input.width) / detail::kStrides[level]));
//end
//if raw boxes
    const int count = rows * columns * detail::kKinds;
    found.clear();
    for (int anchor = 0; anchor < count; ++anchor) {
//end
//if raw
      const float* row = classLogits + (first + anchor) * detail::kValues;
      const float bound = detail::kSoftmax ? bar + row[detail::kValues - 1] : bar;
      for (int label = 0; label < kClasses; ++label) {
        if (!(row[label] > bound)) continue;
        const float score = detail::score(row, label);
//end
//if boxes
      for (int label = 0; label < kClasses; ++label) {
        const float score = scores[(first + anchor) * kClasses + label];
//end
//if raw boxes
        if (score >= threshold && score > kScoreThreshold) found.push_back({anchor, label, score});
      }
    }
    if (found.size() > kCandidates) {
      std::stable_sort(found.begin(), found.end(),
                       [](const auto& one, const auto& other) { return one.score > other.score; });
      found.resize(kCandidates);
    }
    for (const auto& candidate : found) {
      Detection detection;
      detection.label = candidate.label;
      detection.score = candidate.score;
//end
//if raw
      detail::decode(level, columns, candidate.anchor, boxCodes + (first + candidate.anchor) * 4, detection);
//end
//if boxes
      const float* box = boxes + (first + candidate.anchor) * 4;
      detection.left = box[0];
      detection.top = box[1];
      detection.right = box[2];
      detection.bottom = box[3];
//end
//if raw boxes
      if (detail::cut(detection, input)) every.push_back(detection);
    }
    first += count;
  }
  return detail::suppressed(std::move(every), input);
}
//end
//if final
// Objects from the threshold on, best first. The outputs have kPlaces rows; those without an object have the label -1.
template <typename Number>
inline std::vector<Detection> detections(const float* boxes, const float* scores, const Number* labels,
                                         const Input& input, float threshold = 0.3f) {
  std::vector<Detection> every;
  for (int place = 0; place < kPlaces; ++place) {
    if (labels[place] < 0 || !(scores[place] >= threshold && scores[place] > kScoreThreshold)) continue;
    const float* box = boxes + place * 4;
    Detection found;
    found.label = static_cast<int>(labels[place]);
    found.score = scores[place];
    found.left = box[0];
    found.top = box[1];
    found.right = box[2];
    found.bottom = box[3];
//end
//if masks
    found.place = place;
//end
//if final
    if (!detail::cut(found, input)) continue;
    detail::restore(found, input);
    every.push_back(found);
  }
  return every;
}
//end
//if masks

// Where an object is: a part of the picture around its box, row by row, 1 inside the object.
struct Mask {
  int left = 0, top = 0, width = 0, height = 0;
  std::vector<uint8_t> inside;
};

// The mask of an object, from the output of kPlaces squares; each is stretched over its box, from 0.5 up is object.
inline Mask mask(const float* masks, const Detection& found, const Input& input) {
  const auto within = [](float value, int most) { return std::clamp(static_cast<int>(value), 0, most); };
  Mask area;
  area.left = within(std::floor(found.left) - 1, input.pictureWidth);
  area.top = within(std::floor(found.top) - 1, input.pictureHeight);
  area.width = within(std::ceil(found.right) + 1, input.pictureWidth) - area.left;
  area.height = within(std::ceil(found.bottom) + 1, input.pictureHeight) - area.top;
  area.inside.resize(static_cast<size_t>(area.width) * area.height);
  const float* square = masks + static_cast<size_t>(found.place) * kMaskSide * kMaskSide;
  const auto at = [&](int y, int x) {
    return y < 0 || x < 0 || y >= kMaskSide || x >= kMaskSide ? 0.0f : square[y * kMaskSide + x];
  };
  for (int y = 0; y < area.height; ++y) {
    const float row =
        (static_cast<float>(area.top + y) + 0.5f - found.top) / (found.bottom - found.top) * kMaskSide - 0.5f;
    const int upper = static_cast<int>(std::floor(row));
    for (int x = 0; x < area.width; ++x) {
      const float column =
          (static_cast<float>(area.left + x) + 0.5f - found.left) / (found.right - found.left) * kMaskSide - 0.5f;
      const int left = static_cast<int>(std::floor(column));
      const float share = column - static_cast<float>(left);
      const float value = detail::between(detail::between(at(upper, left), at(upper, left + 1), share),
                                          detail::between(at(upper + 1, left), at(upper + 1, left + 1), share),
                                          row - static_cast<float>(upper));
      area.inside[static_cast<size_t>(y) * area.width + x] = value >= 0.5f;
    }
  }
  return area;
}
//end

}  // namespace phonecv

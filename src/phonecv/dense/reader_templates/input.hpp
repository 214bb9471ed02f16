//if stretch fit
constexpr int kHeight = @HEIGHT@, kWidth = @WIDTH@;  // of the input, pixels
//end
//if free
constexpr int kShort = @SHORT@, kLongest = @LONGEST@;  // most that the sides of a resized picture have, pixels
constexpr int kMultiple = @MULTIPLE@;  // height and width of the input are padded to multiples of this
//end
constexpr bool kNormalise = @NORMALISE@;  // false: the model takes pixel values 0..255
constexpr bool kChannelsFirst = @CHANNELS_FIRST@;
constexpr size_t kChannels = @CHANNELS@;  // of the input
constexpr float kMean[kChannels] = {@MEAN@};  // of values in 0..1, @COLOURS@
constexpr float kStd[kChannels] = {@STD@};
constexpr int kClasses = @CLASSES@;
constexpr const char* kNames[kClasses] = {
    @NAMES@};

// A picture as the model takes it.
struct Input {
  std::vector<float> values;                // @LAYOUT_TEXT@
  int height = 0, width = 0;                // of the tensor, pixels
  int usedHeight = 0, usedWidth = 0;        // of the part at its upper left that the picture fills; the rest is padding
  int pictureHeight = 0, pictureWidth = 0;  // as given
};

namespace detail {

// Where the pixels of a line of `to` lie in a line of `from`: bilinear without antialiasing, as in the evaluation.
struct Line {
  std::vector<int> low, high;
  std::vector<float> share;  // of the higher one
};

inline Line line(int from, int to) {
  Line found{std::vector<int>(to), std::vector<int>(to), std::vector<float>(to)};
  const float scale = static_cast<float>(from) / static_cast<float>(to);
  for (int i = 0; i < to; ++i) {
    const float place = std::max(0.0f, scale * (static_cast<float>(i) + 0.5f) - 0.5f);
    found.low[i] = std::min(static_cast<int>(place), from - 1);
    found.high[i] = std::min(found.low[i] + 1, from - 1);
    found.share[i] = place - static_cast<float>(found.low[i]);
  }
  return found;
}

inline float between(float one, float other, float share) { return one * (1.0f - share) + other * share; }

// What a pixel has in channel `c` of the input.
inline float sample(const uint8_t* pixel, size_t c) {
//if rgb
  return pixel[c];
//end
//if gray
  return (19595.0f * pixel[c] + 38470.0f * pixel[c + 1] + 7471.0f * pixel[c + 2]) / 65536.0f;  // luma of ITU-R 601-2
//end
}

// The sizes for a picture.
inline Input sized(int width, int height) {
  Input input;
  input.pictureHeight = height;
  input.pictureWidth = width;
//if stretch
  input.height = input.usedHeight = kHeight;
  input.width = input.usedWidth = kWidth;
//end
//if fit
  const double factor = std::min(static_cast<double>(kHeight) / height, static_cast<double>(kWidth) / width);
  input.height = kHeight;
  input.width = kWidth;
  input.usedHeight = std::min(kHeight, std::max(1, static_cast<int>(height * factor + 0.5)));
  input.usedWidth = std::min(kWidth, std::max(1, static_cast<int>(width * factor + 0.5)));
//end
//if free
  const double factor = std::min(static_cast<double>(kLongest) / std::max(height, width),
                                 static_cast<double>(kShort) / std::min(height, width));
  input.usedHeight = std::max(1, static_cast<int>(height * factor + 0.5));
  input.usedWidth = std::max(1, static_cast<int>(width * factor + 0.5));
  input.height = (input.usedHeight + kMultiple - 1) / kMultiple * kMultiple;
  input.width = (input.usedWidth + kMultiple - 1) / kMultiple * kMultiple;
//end
  return input;
}

}  // namespace detail

// The model's input. `channels` is 3 (RGB) or 4 (RGBA, the fourth is ignored); rows follow each other without gaps.
inline Input preprocess(const uint8_t* pixels, int width, int height, int channels) {
  if (pixels == nullptr || width < 1 || height < 1) throw std::invalid_argument("phonecv: no picture was given");
  if (channels != 3 && channels != 4) throw std::invalid_argument("phonecv: pixels have 3 or 4 channels, RGB or RGBA");
  Input input = detail::sized(width, height);
  const auto rows = detail::line(height, input.usedHeight), columns = detail::line(width, input.usedWidth);
  const size_t area = static_cast<size_t>(input.height) * input.width;
  const size_t step = kChannelsFirst ? 1 : kChannels;  // from pixel to pixel
  input.values.resize(kChannels * area);
  for (size_t c = 0; c < kChannels; ++c) {
    float* target = input.values.data() + (kChannelsFirst ? c * area : c);
    const float padding = kNormalise ? 0.0f : kMean[c] * 255.0f;  // the mean colour
    for (size_t i = 0; i < area; ++i) target[i * step] = padding;
    for (int y = 0; y < input.usedHeight; ++y) {
      const uint8_t* upper = pixels + static_cast<size_t>(rows.low[y]) * width * channels;
      const uint8_t* lower = pixels + static_cast<size_t>(rows.high[y]) * width * channels;
      for (int x = 0; x < input.usedWidth; ++x) {
        const int left = columns.low[x] * channels, right = columns.high[x] * channels;
        const float share = columns.share[x];
        const float above =
            detail::between(detail::sample(upper + left, c), detail::sample(upper + right, c), share);
        const float below =
            detail::between(detail::sample(lower + left, c), detail::sample(lower + right, c), share);
        const float value = detail::between(above, below, rows.share[y]);
        target[(static_cast<size_t>(y) * input.width + x) * step] =
            kNormalise ? (value / 255.0f - kMean[c]) / kStd[c] : value;
      }
    }
  }
  return input;
}

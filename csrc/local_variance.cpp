// Local variance on the CPU: window sums of x and x^2 along columns, then, on the transposed plane,
// along rows. Rows are taken in blocks as long as the window: a window is the end of one block and
// the beginning of the next, so that three additions a pixel serve windows of any size (van Herk
// 1992, Gil and Werman 1993).
//
// Against running sums this buys that rounding does not drift along the image, that a NaN touches
// only the windows that hold it, and that every loop vectorises over columns.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "border.h"
#include "kernels.h"
#include "parallel.h"
#include "simd.h"

namespace vaebias::cpu {
namespace {

// One axis of a plane: which position stands at each place of the bordered axis (-1: none, the
// constant outside), and how many windows lie in it.
struct Axis {
  std::int64_t size, window, windows;
  std::vector<std::int64_t> position;

  Axis(std::int64_t size, std::int64_t window, Border border) : size(size), window(window) {
    const std::int64_t margin = border == Border::valid ? 0 : window / 2;
    position.resize(static_cast<std::size_t>(size + 2 * margin));
    for (std::size_t i = 0; i < position.size(); ++i)
      position[i] = inside(static_cast<std::int64_t>(i) - margin, size, border);
    windows = places() - window + 1;
  }

  std::int64_t places() const { return static_cast<std::int64_t>(position.size()); }

  // The adjoint of this axis's window sums sums windows too: of outputs, with nothing around them.
  Axis adjoint() const {
    Axis result = *this;
    result.size = windows;
    result.windows = places();
    result.position.assign(static_cast<std::size_t>(places() + window - 1), -1);
    for (std::int64_t i = 0; i < windows; ++i)
      result.position[static_cast<std::size_t>(i + window - 1)] = i;
    return result;
  }
};

// to[i] = a[i] + b[i]; to may be one of them.
template <class Sum>
VAEBIAS_INLINE void add_rows(const Sum* a, const Sum* b, std::int64_t columns, Sum* to) {
#pragma omp simd
  for (std::int64_t c = 0; c < columns; ++c) to[c] = a[c] + b[c];
}

// Sums of `window` consecutive rows [windows, columns] of rows [size, columns] with the axis's
// border drawn around them; `outside` [columns] stands where it shows none. scratch [window + 1,
// columns].
template <class Sum>
VAEBIAS_CLONES void window_sums(const Sum* rows, const Sum* outside, const std::int64_t* position,
                                std::int64_t windows, std::int64_t window, std::int64_t columns,
                                Sum* scratch, Sum* result) {
  const auto row = [&](std::int64_t place) {
    return position[place] < 0 ? outside : rows + position[place] * columns;
  };
  Sum* const beginning = scratch + window * columns;
  for (std::int64_t block = 0; block < windows; block += window) {
    // Ends of this block: from each of its places to its last.
    std::copy(row(block + window - 1), row(block + window - 1) + columns,
              scratch + (window - 1) * columns);
    for (std::int64_t i = window - 2; i >= 0; --i)
      add_rows(scratch + (i + 1) * columns, row(block + i), columns, scratch + i * columns);
    std::copy(scratch, scratch + columns, result + block * columns);
    const std::int64_t last = std::min(window, windows - block);
    for (std::int64_t i = 1; i < last; ++i) {
      const Sum* const next = row(block + window + i - 1);
      if (i == 1) {
        std::copy(next, next + columns, beginning);
      } else {
        add_rows(beginning, next, columns, beginning);
      }
      add_rows(scratch + i * columns, beginning, columns, result + (block + i) * columns);
    }
  }
}

// [rows, columns] as [columns, rows], in squares that stay in cache.
template <class From, class To>
VAEBIAS_CLONES void transpose(const From* from, std::int64_t rows, std::int64_t columns, To* to) {
  constexpr std::int64_t side = 8;
  for (std::int64_t r = 0; r < rows; r += side) {
    const std::int64_t bottom = std::min(rows, r + side);
    for (std::int64_t c = 0; c < columns; ++c) {
      for (std::int64_t i = r; i < bottom; ++i)
        to[c * rows + i] = static_cast<To>(from[i * columns + c]);
    }
  }
}

// A plane and what its window sums need.
template <class Sum>
class Windows {
 public:
  Windows(const Axis& rows, const Axis& columns)
      : rows_(rows),
        columns_(columns),
        sums_(size(rows.windows * columns.size)),
        turned_(sums_.size()),
        outside_(size(std::max(rows.windows, columns.size))),
        scratch_(size((rows.window + 1) * std::max(rows.windows, columns.size))) {}

  // Transposed: result [columns.windows, rows.windows] of plane [rows.size, columns.size], with
  // `outside` where the border shows none of it.
  void add_up(const Sum* plane, Sum outside, Sum* result) {
    std::fill(outside_.begin(), outside_.end(), outside);
    window_sums(plane, outside_.data(), rows_.position.data(), rows_.windows, rows_.window,
                columns_.size, scratch_.data(), sums_.data());
    transpose(sums_.data(), rows_.windows, columns_.size, turned_.data());
    // A column outside sums `window` times what stands outside.
    std::fill(outside_.begin(), outside_.end(), static_cast<Sum>(rows_.window) * outside);
    window_sums(turned_.data(), outside_.data(), columns_.position.data(), columns_.windows,
                columns_.window, rows_.windows, scratch_.data(), result);
  }

 private:
  static std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

  const Axis rows_, columns_;
  std::vector<Sum> sums_, turned_, outside_, scratch_;
};

// Subtracting any value of the image before squaring makes a flat image exactly zero and a
// large common offset harmless.
template <class T>
double shift_of(const T* image, std::int64_t size) {
  return size > 0 && std::isfinite(image[0]) ? static_cast<double>(image[0]) : 0.0;
}
inline std::uint32_t shift_of(const std::uint8_t*, std::int64_t) { return 0; }

template <class Pixel, class Sum>
VAEBIAS_CLONES void shift_and_square(const Pixel* image, Sum shift, std::int64_t n, Sum* shifted,
                                     Sum* squares) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    const Sum x = static_cast<Sum>(image[i]) - shift;
    shifted[i] = x;
    squares[i] = x * x;
  }
}

// (n S2 - S1^2) / n^2: for bytes every term is a whole number under 2^53, so this is exact.
template <class Sum, class T>
VAEBIAS_CLONES void variance_of_sums(const Sum* sum, const Sum* sum_of_squares, std::int64_t size,
                                     double n, T* variance) {
  const double scale = 1.0 / (n * n);
#pragma omp simd
  for (std::int64_t i = 0; i < size; ++i) {
    const double s1 = static_cast<double>(sum[i]), s2 = static_cast<double>(sum_of_squares[i]);
    const double v = (n * s2 - s1 * s1) * scale;
    variance[i] = static_cast<T>(v < 0 ? 0.0 : v);  // so written, NaN stays NaN
  }
}

template <class Pixel, class Sum, class T>
void variance_planes(const Pixel* images, std::int64_t N, const Axis& rows, const Axis& columns,
                     T* variance, int threads) {
  const double n = static_cast<double>(rows.window) * static_cast<double>(rows.window);
  const std::int64_t size = rows.windows * columns.windows, pixels = rows.size * columns.size;
  parallel_for(N, std::max<std::int64_t>(1, 4096 / std::max<std::int64_t>(1, size)), threads,
               [&](std::int64_t begin, std::int64_t end) {
                 Windows<Sum> windows(rows, columns);
                 std::vector<Sum> buffer(static_cast<std::size_t>(2 * pixels + 2 * size));
                 std::vector<T> turned(static_cast<std::size_t>(size));
                 Sum* const shifted = buffer.data();
                 Sum* const squares = shifted + pixels;
                 Sum* const s1 = squares + pixels;
                 Sum* const s2 = s1 + size;
                 for (std::int64_t i = begin; i < end; ++i) {
                   const Pixel* const image = images + i * pixels;
                   const Sum shift = static_cast<Sum>(shift_of(image, pixels));
                   shift_and_square(image, shift, pixels, shifted, squares);
                   windows.add_up(shifted, Sum(0) - shift, s1);
                   windows.add_up(squares, shift * shift, s2);
                   variance_of_sums(s1, s2, size, n, turned.data());
                   transpose(turned.data(), columns.windows, rows.windows, variance + i * size);
                 }
               });
}

}  // namespace

template <class T>
void local_variance(const void* images, bool images_are_bytes, std::int64_t N, std::int64_t H,
                    std::int64_t W, std::int64_t window, Border border, T* variance, int threads) {
  const Axis rows(H, window, border), columns(W, window, border);
  if (!images_are_bytes) {
    variance_planes<T, double>(static_cast<const T*>(images), N, rows, columns, variance, threads);
    return;
  }
  const auto* bytes = static_cast<const std::uint8_t*>(images);
  if (window <= 257) {  // 255^2 * 257^2 < 2^32
    variance_planes<std::uint8_t, std::uint32_t>(bytes, N, rows, columns, variance, threads);
  } else {
    variance_planes<std::uint8_t, double>(bytes, N, rows, columns, variance, threads);
  }
}

// d variance_p / d x_q = (2/n) (x_q - mean_p) for each q in p's window, so that with A the
// adjoint of the window sum: grad_q = (2/n) (x_q A(g)_q - A(g mean)_q), then the drawn border is
// folded back onto the pixels that it shows.
template <class T>
void local_variance_backward(const T* images, const T* grad_variance, std::int64_t N,
                             std::int64_t H, std::int64_t W, std::int64_t window, Border border,
                             double*, T* grad_images, int threads) {
  const Axis rows(H, window, border), columns(W, window, border);
  const double n = static_cast<double>(window) * static_cast<double>(window);
  const std::int64_t size = rows.windows * columns.windows;
  const std::int64_t places = rows.places() * columns.places();
  parallel_for(N, 1, threads, [&](std::int64_t begin, std::int64_t end) {
    Windows<double> windows(rows, columns);
    Windows<double> adjoints(rows.adjoint(), columns.adjoint());
    std::vector<double> x(static_cast<std::size_t>(H * W)), squares(x.size()), sum(x.size());
    std::vector<double> turned(static_cast<std::size_t>(size)), mean(turned.size());
    std::vector<double> gradient(turned.size()), gradient_mean(turned.size());
    std::vector<double> adjoint(static_cast<std::size_t>(places)), adjoint_mean(adjoint.size());

    for (std::int64_t i = begin; i < end; ++i) {
      const T* const image = images + i * H * W;
      const T* const g = grad_variance + i * size;
      const double shift = shift_of(image, H * W);
      shift_and_square(image, shift, H * W, x.data(), squares.data());
      windows.add_up(x.data(), -shift, turned.data());
      transpose(turned.data(), columns.windows, rows.windows, mean.data());
      for (std::size_t p = 0; p < mean.size(); ++p) {
        gradient[p] = static_cast<double>(g[p]);
        gradient_mean[p] = gradient[p] * mean[p] / n;
      }
      adjoints.add_up(gradient.data(), 0.0, adjoint.data());
      adjoints.add_up(gradient_mean.data(), 0.0, adjoint_mean.data());
      std::fill(sum.begin(), sum.end(), 0.0);
      for (std::int64_t c = 0; c < columns.places(); ++c) {
        const std::int64_t column = columns.position[static_cast<std::size_t>(c)];
        for (std::int64_t y = 0; column >= 0 && y < rows.places(); ++y) {
          const std::int64_t row = rows.position[static_cast<std::size_t>(y)];
          if (row < 0) continue;
          const std::size_t at = static_cast<std::size_t>(row * W + column);
          const std::size_t place = static_cast<std::size_t>(c * rows.places() + y);
          sum[at] += x[at] * adjoint[place] - adjoint_mean[place];
        }
      }
      for (std::int64_t p = 0; p < H * W; ++p) {
        grad_images[i * H * W + p] = static_cast<T>(sum[static_cast<std::size_t>(p)] * (2.0 / n));
      }
    }
  });
}

VAEBIAS_FLOAT_AND_DOUBLE(local_variance)
VAEBIAS_FLOAT_AND_DOUBLE(local_variance_backward)

}  // namespace vaebias::cpu

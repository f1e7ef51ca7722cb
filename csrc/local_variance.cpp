// Local variance on the CPU: window sums of x and x^2 by doubling (spans 1, 2, 4, ... added up
// to the window), first along rows, then along columns.
//
// Against running sums this costs log2(window) adds a pixel instead of two, and buys that
// rounding does not drift along the image, that a NaN touches only the windows that hold it,
// and that every loop vectorises.
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

// In place: a[i] becomes a[i] + a[i+1] + ... + a[i+window-1] in units of `stride`, for
// i < count; needs count + (window-1) * stride readable elements, which it overwrites.
template <class Sum>
VAEBIAS_INLINE void window_sums(Sum* __restrict a, Sum* __restrict result, std::int64_t count,
                                std::int64_t stride, std::int64_t window) {
  std::int64_t covered = 0;
  for (std::int64_t span = 1; span <= window; span *= 2) {
    if (window & span) {
      const std::int64_t shift = covered * stride;
      if (covered == 0) {
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i) result[i] = a[i];
      } else {
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i) result[i] += a[i + shift];
      }
      covered += span;
    }
    if (2 * span <= window) {
      const std::int64_t step = span * stride;
      const std::int64_t reach = count + (window - 2 * span) * stride;
      // Reads run ahead of writes, so updating in place is safe in any vector width.
#pragma omp simd
      for (std::int64_t i = 0; i < reach; ++i) a[i] = a[i] + a[i + step];
    }
  }
}

template <class Sum>
VAEBIAS_CLONES void box_sums(Sum* padded, Sum* scratch, Sum* result, std::int64_t rows,
                             std::int64_t columns, std::int64_t window) {
  const std::int64_t out_rows = rows - window + 1, out_columns = columns - window + 1;
  for (std::int64_t y = 0; y < rows; ++y) {
    window_sums(padded + y * columns, scratch + y * out_columns, out_columns, std::int64_t{1},
                window);
  }
  window_sums(scratch, result, out_rows * out_columns, out_columns, window);
}

struct Plane {
  std::int64_t H, W, window;
  Border border;
  std::int64_t margin, rows, columns, out_rows, out_columns;
  std::vector<std::int64_t> row_at, column_at;  // image position of each padded one, -1 outside

  Plane(std::int64_t H, std::int64_t W, std::int64_t window, Border border)
      : H(H),
        W(W),
        window(window),
        border(border),
        margin(border == Border::valid ? 0 : window / 2),
        rows(H + 2 * margin),
        columns(W + 2 * margin),
        out_rows(rows - window + 1),
        out_columns(columns - window + 1),
        row_at(static_cast<std::size_t>(rows)),
        column_at(static_cast<std::size_t>(columns)) {
    for (std::int64_t y = 0; y < rows; ++y)
      row_at[static_cast<std::size_t>(y)] = inside(y - margin, H, border);
    for (std::int64_t x = 0; x < columns; ++x)
      column_at[static_cast<std::size_t>(x)] = inside(x - margin, W, border);
  }

  std::int64_t padded_size() const { return rows * columns; }

  // The image with its border drawn around it, as value - shift.
  template <class Pixel, class Sum>
  void pad(const Pixel* image, Sum shift, Sum* padded) const {
    for (std::int64_t y = 0; y < rows; ++y) {
      const std::int64_t from = row_at[static_cast<std::size_t>(y)];
      Sum* row = padded + y * columns;
      if (from < 0) {
        std::fill(row, row + columns, Sum(0) - shift);
        continue;
      }
      const Pixel* pixels = image + from * W;
      for (std::int64_t x = 0; x < margin; ++x) {
        const std::int64_t left = column_at[static_cast<std::size_t>(x)];
        const std::int64_t right = column_at[static_cast<std::size_t>(margin + W + x)];
        row[x] = (left < 0 ? Sum(0) : static_cast<Sum>(pixels[left])) - shift;
        row[margin + W + x] = (right < 0 ? Sum(0) : static_cast<Sum>(pixels[right])) - shift;
      }
      for (std::int64_t x = 0; x < W; ++x) row[margin + x] = static_cast<Sum>(pixels[x]) - shift;
    }
  }
};

// Subtracting any value of the image before squaring makes a flat image exactly zero and a
// large common offset harmless.
template <class T>
double shift_of(const T* image, std::int64_t size) {
  return size > 0 && std::isfinite(image[0]) ? static_cast<double>(image[0]) : 0.0;
}
inline std::uint32_t shift_of(const std::uint8_t*, std::int64_t) { return 0; }

template <class Sum>
VAEBIAS_INLINE void square(const Sum* __restrict a, Sum* __restrict squares, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) squares[i] = a[i] * a[i];
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
void variance_planes(const Pixel* images, std::int64_t N, const Plane& plane, T* variance,
                     int threads) {
  const double n = static_cast<double>(plane.window) * static_cast<double>(plane.window);
  const std::int64_t size = plane.out_rows * plane.out_columns;
  parallel_for(N, std::max<std::int64_t>(1, 4096 / std::max<std::int64_t>(1, size)), threads,
               [&](std::int64_t begin, std::int64_t end) {
                 std::vector<Sum> buffer(static_cast<std::size_t>(5 * plane.padded_size()));
                 Sum* const padded = buffer.data();
                 Sum* const squares = padded + plane.padded_size();
                 Sum* const scratch = squares + plane.padded_size();
                 Sum* const s1 = scratch + plane.padded_size();
                 Sum* const s2 = s1 + plane.padded_size();
                 for (std::int64_t i = begin; i < end; ++i) {
                   const Pixel* image = images + i * plane.H * plane.W;
                   plane.pad(image, static_cast<Sum>(shift_of(image, plane.H * plane.W)), padded);
                   square(padded, squares, plane.padded_size());
                   box_sums(padded, scratch, s1, plane.rows, plane.columns, plane.window);
                   box_sums(squares, scratch, s2, plane.rows, plane.columns, plane.window);
                   variance_of_sums(s1, s2, size, n, variance + i * size);
                 }
               });
}

}  // namespace

template <class T>
void local_variance(const void* images, bool images_are_bytes, std::int64_t N, std::int64_t H,
                    std::int64_t W, std::int64_t window, Border border, T* variance, int threads) {
  const Plane plane(H, W, window, border);
  if (!images_are_bytes) {
    variance_planes<T, double>(static_cast<const T*>(images), N, plane, variance, threads);
    return;
  }
  const auto* bytes = static_cast<const std::uint8_t*>(images);
  if (window <= 257) {  // 255^2 * 257^2 < 2^32
    variance_planes<std::uint8_t, std::uint32_t>(bytes, N, plane, variance, threads);
  } else {
    variance_planes<std::uint8_t, double>(bytes, N, plane, variance, threads);
  }
}

// d variance_p / d x_q = (2/n) (x_q - mean_p) for each q in p's window, so that with A the
// adjoint of the window sum: grad_q = (2/n) (x_q A(g)_q - A(g mean)_q), then the drawn border is
// folded back onto the pixels that it shows.
template <class T>
void local_variance_backward(const T* images, const T* grad_variance, std::int64_t N,
                             std::int64_t H, std::int64_t W, std::int64_t window, Border border,
                             double*, T* grad_images, int threads) {
  const Plane plane(H, W, window, border);
  const double n = static_cast<double>(window) * static_cast<double>(window);
  const std::int64_t size = plane.out_rows * plane.out_columns;
  // The adjoint of the window sum is the window sum of the zero-padded gradient.
  const std::int64_t wide_rows = plane.rows + window - 1, wide_columns = plane.columns + window - 1;
  const std::int64_t wide = wide_rows * wide_columns;
  parallel_for(N, 1, threads, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> buffer(static_cast<std::size_t>(5 * wide + H * W));
    double* const x = buffer.data();
    double* const work = x + wide;
    double* const scratch = work + wide;
    double* const adjoint = scratch + wide;
    double* const adjoint_mean = adjoint + wide;
    double* const sum = adjoint_mean + wide;
    std::vector<double> mean(static_cast<std::size_t>(size));

    const auto spread = [&](const T* g, const double* factor, double* result) {
      std::fill(work, work + wide, 0.0);
      for (std::int64_t y = 0; y < plane.out_rows; ++y) {
        for (std::int64_t c = 0; c < plane.out_columns; ++c) {
          const std::int64_t at = y * plane.out_columns + c;
          work[(y + window - 1) * wide_columns + c + window - 1] =
              static_cast<double>(g[at]) * (factor ? factor[at] : 1.0);
        }
      }
      box_sums(work, scratch, result, wide_rows, wide_columns, window);
    };

    for (std::int64_t i = begin; i < end; ++i) {
      const T* image = images + i * H * W;
      const T* g = grad_variance + i * size;
      plane.pad(image, shift_of(image, H * W), x);
      std::copy(x, x + plane.padded_size(), work);
      box_sums(work, scratch, mean.data(), plane.rows, plane.columns, window);
      for (double& value : mean) value /= n;
      spread(g, nullptr, adjoint);
      spread(g, mean.data(), adjoint_mean);
      std::fill(sum, sum + H * W, 0.0);
      for (std::int64_t y = 0; y < plane.rows; ++y) {
        const std::int64_t row = plane.row_at[static_cast<std::size_t>(y)];
        for (std::int64_t c = 0; row >= 0 && c < plane.columns; ++c) {
          const std::int64_t column = plane.column_at[static_cast<std::size_t>(c)];
          const std::int64_t at = y * plane.columns + c;
          if (column >= 0) sum[row * W + column] += x[at] * adjoint[at] - adjoint_mean[at];
        }
      }
      for (std::int64_t p = 0; p < H * W; ++p) {
        grad_images[i * H * W + p] = static_cast<T>(sum[p] * (2.0 / n));
      }
    }
  });
}

VAEBIAS_FLOAT_AND_DOUBLE(local_variance)
VAEBIAS_FLOAT_AND_DOUBLE(local_variance_backward)

}  // namespace vaebias::cpu

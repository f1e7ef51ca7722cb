// Local variance on CUDA. A block owns a strip of columns and a few output rows: it walks down the
// rows that they see, forms each row's window sums once in shared memory, and every thread adds
// them to the outputs of its column in registers. No running sums, so rounding does not drift and
// a NaN touches only the windows that hold it.
#include <cmath>

#include "border.h"
#include "cuda_common.cuh"

namespace vaebias::cuda {
namespace {

constexpr int kColumns = 128;  // of a block at most, a thread each
constexpr int kRows = 16;
constexpr int kSegment = 1024;  // of a window, at a time: shared memory holds any window

struct Window {
  std::int64_t H, W, size, margin, out_H, out_W;
  Border border;

  Window(std::int64_t H, std::int64_t W, std::int64_t size, Border border)
      : H(H), W(W), size(size), border(border) {
    margin = border == Border::valid ? 0 : size / 2;
    out_H = H + 2 * margin - size + 1;
    out_W = W + 2 * margin - size + 1;
  }
};

__device__ inline double shift_of(double first) { return isfinite(first) ? first : 0.0; }

// Window sums S1, S2 of (x - shift) at each output, handed to emit(plane, y, x, s1, s2).
template <class Pixel, class Emit>
__device__ void window_sums(const Pixel* images, const Window window, const Emit& emit) {
  __shared__ double line[kColumns + kSegment - 1];
  const int columns = static_cast<int>(blockDim.x);
  const std::int64_t strips = (window.out_W + columns - 1) / columns;
  const std::int64_t bands = (window.out_H + kRows - 1) / kRows;
  const std::int64_t plane = blockIdx.x / (strips * bands);
  const std::int64_t x0 = blockIdx.x % strips * columns;
  const std::int64_t y0 = blockIdx.x / strips % bands * kRows;
  const Pixel* image = images + plane * window.H * window.W;
  const double shift = shift_of(static_cast<double>(image[0]));

  const bool counts = x0 + threadIdx.x < window.out_W;

  double s1[kRows] = {}, s2[kRows] = {};
  const std::int64_t last = min(window.out_H, y0 + kRows) + window.size - 1;
  for (std::int64_t y = y0; y < last; ++y) {  // in padded rows
    const std::int64_t row = inside(y - window.margin, window.H, window.border);
    double h1 = 0, h2 = 0;
    for (std::int64_t left = 0; left < window.size; left += kSegment) {
      const int width =
          static_cast<int>(min(static_cast<std::int64_t>(kSegment), window.size - left));
      for (int i = static_cast<int>(threadIdx.x); i < columns + width - 1; i += columns) {
        const std::int64_t padded = x0 + left + i;
        double value = 0;
        if (padded < window.W + 2 * window.margin) {
          const std::int64_t column = inside(padded - window.margin, window.W, window.border);
          const bool outside = row < 0 || column < 0;
          value = (outside ? 0.0 : static_cast<double>(image[row * window.W + column])) - shift;
        }
        line[i] = value;
      }
      __syncthreads();
      for (int i = 0; i < (counts ? width : 0); ++i) {
        const double value = line[threadIdx.x + i];
        h1 += value;
        h2 += value * value;
      }
      __syncthreads();
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (y >= y0 + r && y < y0 + r + window.size) {
        s1[r] += h1;
        s2[r] += h2;
      }
    }
  }
  const std::int64_t x = x0 + threadIdx.x;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (x < window.out_W && y0 + r < window.out_H) emit(plane, y0 + r, x, s1[r], s2[r]);
  }
}

template <class Pixel, class T>
__global__ void __launch_bounds__(kColumns, 3)
    variance_kernel(const Pixel* images, const Window window, T* variance) {
  const double n = static_cast<double>(window.size) * static_cast<double>(window.size);
  window_sums(images, window,
              [&](std::int64_t plane, std::int64_t y, std::int64_t x, double s1, double s2) {
                const double v = (n * s2 - s1 * s1) / (n * n);
                variance[(plane * window.out_H + y) * window.out_W + x] =
                    static_cast<T>(v < 0 ? 0.0 : v);
              });
}

// The window mean of (x - shift) at each output, which the backward pass needs.
template <class T>
__global__ void __launch_bounds__(kColumns, 3)
    mean_kernel(const T* images, const Window window, double* mean) {
  const double n = static_cast<double>(window.size) * static_cast<double>(window.size);
  window_sums(images, window,
              [&](std::int64_t plane, std::int64_t y, std::int64_t x, double s1, double) {
                mean[(plane * window.out_H + y) * window.out_W + x] = s1 / n;
              });
}

// Adjoint of the bordered window sum along one axis, for position q of n: visit(p) for each
// output p and each padded position within p's window that shows q.
template <class Visit>
__device__ inline void visit_windows(std::int64_t q, std::int64_t n, std::int64_t outputs,
                                     const Window& window, const Visit& visit) {
  const auto visit_padded = [&](std::int64_t padded) {
    const std::int64_t from = padded - window.size + 1 > 0 ? padded - window.size + 1 : 0;
    for (std::int64_t p = from; p <= padded && p < outputs; ++p) visit(p);
  };
  for (std::int64_t i = 0; i < window.margin; ++i) {
    if (inside(i - window.margin, n, window.border) == q) visit_padded(i);
  }
  visit_padded(q + window.margin);
  for (std::int64_t i = 0; i < window.margin; ++i) {
    if (inside(n + i, n, window.border) == q) visit_padded(n + window.margin + i);
  }
}

template <class T>
__global__ void adjoint_columns(const T* grad, const double* mean, const Window window,
                                std::int64_t N, double* adjoint, double* adjoint_mean) {
  const std::int64_t i = global_thread();
  if (i >= N * window.out_H * window.W) return;
  const std::int64_t row = i / window.W * window.out_W;
  double sum = 0, sum_mean = 0;
  visit_windows(i % window.W, window.W, window.out_W, window, [&](std::int64_t p) {
    const double g = static_cast<double>(grad[row + p]);
    sum += g;
    sum_mean += g * mean[row + p];
  });
  adjoint[i] = sum;
  adjoint_mean[i] = sum_mean;
}

template <class T>
__global__ void adjoint_rows(const T* images, const double* adjoint, const double* adjoint_mean,
                             const Window window, std::int64_t N, T* grad_images) {
  const std::int64_t i = global_thread();
  if (i >= N * window.H * window.W) return;
  const std::int64_t plane = i / (window.H * window.W), column = i % window.W;
  double sum = 0, sum_mean = 0;
  visit_windows(i / window.W % window.H, window.H, window.out_H, window, [&](std::int64_t p) {
    const std::int64_t at = (plane * window.out_H + p) * window.W + column;
    sum += adjoint[at];
    sum_mean += adjoint_mean[at];
  });
  const double shift = shift_of(static_cast<double>(images[plane * window.H * window.W]));
  const double n = static_cast<double>(window.size) * static_cast<double>(window.size);
  const double x = static_cast<double>(images[i]) - shift;
  grad_images[i] = static_cast<T>(2.0 / n * (x * sum - sum_mean));
}

// Threads that a block of window_sums has: no more than there are columns, in warps.
int columns_of(const Window& window) {
  const std::int64_t needed = (window.out_W + 31) / 32 * 32;
  return static_cast<int>(needed < kColumns ? needed : kColumns);
}

unsigned strip_blocks(const Window& window, std::int64_t N) {
  const std::int64_t strips = (window.out_W + columns_of(window) - 1) / columns_of(window);
  const std::int64_t bands = (window.out_H + kRows - 1) / kRows;
  return blocks_for(N * strips * bands, 1);
}

}  // namespace

template <class T>
void local_variance(const void* images, bool images_are_bytes, std::int64_t N, std::int64_t H,
                    std::int64_t W, std::int64_t window_size, Border border, T* variance,
                    Stream stream) {
  const Window window(H, W, window_size, border);
  if (N == 0 || window.out_H <= 0 || window.out_W <= 0) return;
  const unsigned blocks = strip_blocks(window, N);
  if (images_are_bytes) {
    variance_kernel<<<blocks, columns_of(window), 0, native(stream)>>>(
        static_cast<const std::uint8_t*>(images), window, variance);
  } else {
    variance_kernel<<<blocks, columns_of(window), 0, native(stream)>>>(
        static_cast<const T*>(images), window, variance);
  }
  check_launch("local_variance");
}

template <class T>
void local_variance_backward(const T* images, const T* grad_variance, std::int64_t N,
                             std::int64_t H, std::int64_t W, std::int64_t window_size,
                             Border border, double* workspace, T* grad_images, Stream stream) {
  const Window window(H, W, window_size, border);
  if (N == 0 || window.out_H <= 0 || window.out_W <= 0) return;
  double* const mean = workspace;
  double* const adjoint = mean + N * H * W;
  double* const adjoint_mean = adjoint + N * H * W;
  mean_kernel<<<strip_blocks(window, N), columns_of(window), 0, native(stream)>>>(
      images, window, mean);
  check_launch("local_variance_backward");
  adjoint_columns<<<blocks_for(N * window.out_H * W, 256), 256, 0, native(stream)>>>(
      grad_variance, mean, window, N, adjoint, adjoint_mean);
  check_launch("local_variance_backward");
  adjoint_rows<<<blocks_for(N * H * W, 256), 256, 0, native(stream)>>>(
      images, adjoint, adjoint_mean, window, N, grad_images);
  check_launch("local_variance_backward");
}

VAEBIAS_FLOAT_AND_DOUBLE(local_variance)
VAEBIAS_FLOAT_AND_DOUBLE(local_variance_backward)

}  // namespace vaebias::cuda

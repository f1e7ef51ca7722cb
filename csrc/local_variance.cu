// Local variance on CUDA. Windows of few pixels have a kernel of their own (small_windows.cuh). For
// others a block owns a strip of columns and some output rows, of one plane or several: it walks
// down the rows that they see and forms each row's window sums once. Every thread then sums windows
// of those down its column, in blocks as long as the window: a window is the end of one block, kept
// in a ring in shared memory, and the beginning of the next, in registers (van Herk 1992, Gil and
// Werman 1993). No running sums, so rounding does not drift and a NaN touches only the windows that
// hold it. Bytes add up in integers, exactly. A ring too large for shared memory gives way to sums
// of every output in registers.
#include "cuda_common.cuh"
#include "small_windows.cuh"
#include "windows.cuh"

namespace vaebias::cuda {
namespace {

constexpr int kColumns = 128;  // of a block at most, a thread each
constexpr int kBand = 32;      // output rows of a block
constexpr int kRows = 16;      // the same without a ring
constexpr std::size_t kRingBytes = 48 * 1024;  // of shared memory: any GPU has them unasked
constexpr std::int64_t kIntegerWindow = 257;   // 255^2 * 257^2 < 2^32
constexpr int kSegment = 1024;  // of a window, at a time: shared memory holds any window

// How a launch with a ring divides its planes: `columns` threads side by side, for `planes` at once.
struct Layout {
  int columns = 0, planes = 0;
  std::int64_t strips, bands;
  std::size_t bytes = 0;

  // `numbers` of Sum a column and row of the ring: as many as are summed. Without columns where no
  // ring fits.
  Layout(const Window& window, std::size_t sum, int numbers) {
    const std::int64_t needed = parts_of(window.out_W, 32) * 32;
    for (int most = kColumns; most >= 32 && columns == 0; most /= 2) {
      const int wanted = static_cast<int>(needed < most ? needed : most);
      const auto threads = static_cast<std::size_t>(most / wanted * wanted);
      const auto lines = 2 * static_cast<std::size_t>(most / wanted) *
                         static_cast<std::size_t>(wanted + window.size - 1);
      bytes = sum * (lines + static_cast<std::size_t>(window.size) * threads *
                                 static_cast<std::size_t>(numbers));
      if (bytes > kRingBytes) continue;
      columns = wanted;
      planes = most / wanted;
    }
    strips = parts_of(window.out_W, columns > 0 ? columns : 1);
    bands = parts_of(window.out_H, kBand);
  }

  unsigned blocks(std::int64_t N) const { return blocks_for(parts_of(N, planes) * strips * bands, 1); }
  int threads() const { return columns * planes; }
};

// Window sums S1, and S2 where `squares`, of (x - shift) at each output, handed to
// emit(plane, y, x, s1, s2).
template <bool squares, class Sum, class Pixel, class Emit>
__device__ void window_sums(const Pixel* images, const Window window, const Layout layout,
                            std::int64_t N, const Emit& emit) {
  extern __shared__ double memory[];
  constexpr int numbers = squares ? 2 : 1;
  const int columns = layout.columns, size = static_cast<int>(window.size);
  const int threads = columns * layout.planes, length = columns + size - 1;
  const int own = static_cast<int>(threadIdx.x) / columns;
  const int column = static_cast<int>(threadIdx.x) % columns;
  const std::int64_t of_plane = layout.strips * layout.bands;
  const std::int64_t wanted = blockIdx.x / of_plane * layout.planes + own;
  const std::int64_t plane = min(wanted, N - 1);
  const std::int64_t x0 = blockIdx.x % layout.strips * columns, x = x0 + column;
  const std::int64_t y0 = blockIdx.x / layout.strips % layout.bands * kBand;
  const bool counts = wanted < N && x < window.out_W;
  const Pixel* const image = images + plane * window.H * window.W;
  const Sum shift = static_cast<Sum>(shift_for(image));
  Sum* const lines = reinterpret_cast<Sum*>(memory) + 2 * own * length;
  Sum* const ring = reinterpret_cast<Sum*>(memory) + 2 * layout.planes * length +
                    numbers * static_cast<int>(threadIdx.x);
  const int step = numbers * threads;  // from row to row of the ring

  Sum p1 = 0, p2 = 0;  // of the rows since the last block ended
  int place = 0;       // in this block
  const int rows = static_cast<int>(min(window.out_H - y0, static_cast<std::int64_t>(kBand))) +
                   size - 1;
  for (int y = 0; y < rows; ++y) {
    Sum* const line = lines + y % 2 * length;
    const std::int64_t row = inside(y0 + y - window.margin, window.H, window.border);
    for (int i = column; i < length; i += columns) {
      Sum value = 0;
      if (x0 + i < window.W + 2 * window.margin) {
        const std::int64_t at = inside(x0 + i - window.margin, window.W, window.border);
        const bool outside = row < 0 || at < 0;
        value = (outside ? Sum(0) : static_cast<Sum>(image[row * window.W + at])) - shift;
      }
      line[i] = value;
    }
    __syncthreads();  // and the line before this one is no longer read
    Sum h1 = 0, h2 = 0;
#pragma unroll 4
    for (int i = 0; i < size; ++i) {
      const Sum value = line[column + i];
      h1 += value;
      if (squares) h2 += value * value;
    }
    p1 = place == 0 ? h1 : p1 + h1;
    p2 = place == 0 ? h2 : p2 + h2;
    Sum* const here = ring + place * step;
    here[0] = h1;
    if (squares) here[1] = h2;
    Sum s1 = p1, s2 = p2;
    if (place == size - 1) {  // the block's own window; its ends, for those that begin in it
      Sum end1 = 0, end2 = 0;
      for (int i = size - 1; i > 0; --i) {
        Sum* const end = ring + i * step;
        end[0] = end1 += end[0];
        if (squares) end[1] = end2 += end[1];
      }
      place = 0;
    } else {
      ++place;
      if (y >= size) {
        s1 += ring[place * step];
        if (squares) s2 += ring[place * step + 1];
      }
    }
    if (counts && y >= size - 1) emit(plane, y0 + y - size + 1, x, s1, s2);
  }
}

// The same of windows too large for a ring.
template <class Pixel, class Emit>
__device__ void wide_window_sums(const Pixel* images, const Window window, const Emit& emit) {
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

// Hands the variance of each window on, as the CPU rounds it.
template <class T>
struct Variance {
  const Window window;
  T* variance;
  template <class Sum>
  __device__ void operator()(std::int64_t plane, std::int64_t y, std::int64_t x, Sum sum,
                             Sum sum_of_squares) const {
    const double n = static_cast<double>(window.size) * static_cast<double>(window.size);
    const double s1 = static_cast<double>(sum), s2 = static_cast<double>(sum_of_squares);
    const double v = (n * s2 - s1 * s1) * (1.0 / (n * n));
    variance[(plane * window.out_H + y) * window.out_W + x] = static_cast<T>(v < 0 ? 0.0 : v);
  }
};

// The window mean of (x - shift) at each output, which the backward pass needs.
struct Mean {
  const Window window;
  double* mean;
  __device__ void operator()(std::int64_t plane, std::int64_t y, std::int64_t x, double sum,
                             double) const {
    const double n = static_cast<double>(window.size) * static_cast<double>(window.size);
    mean[(plane * window.out_H + y) * window.out_W + x] = sum * (1.0 / n);
  }
};

template <bool squares, class Sum, class Pixel, class Emit>
__global__ void __launch_bounds__(kColumns)
    window_kernel(const Pixel* images, const Window window, const Layout layout, std::int64_t N,
                  const Emit emit) {
  window_sums<squares, Sum>(images, window, layout, N, emit);
}

template <class Pixel, class Emit>
__global__ void __launch_bounds__(kColumns, 3)
    wide_window_kernel(const Pixel* images, const Window window, const Emit emit) {
  wide_window_sums(images, window, emit);
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

// Threads that a block of wide_window_sums has: no more than there are columns, in warps.
int columns_of(const Window& window) {
  const std::int64_t needed = parts_of(window.out_W, 32) * 32;
  return static_cast<int>(needed < kColumns ? needed : kColumns);
}

template <bool squares, class Sum, class Pixel, class Emit>
void launch_windows(const Pixel* images, const Window& window, std::int64_t N, const Emit& emit,
                    cudaStream_t stream) {
  const Layout layout(window, sizeof(Sum), squares ? 2 : 1);
  if (layout.columns > 0) {
    window_kernel<squares, Sum><<<layout.blocks(N), layout.threads(), layout.bytes, stream>>>(
        images, window, layout, N, emit);
  } else {
    const int columns = columns_of(window);
    const unsigned blocks =
        blocks_for(N * parts_of(window.out_W, columns) * parts_of(window.out_H, kRows), 1);
    wide_window_kernel<<<blocks, columns, 0, stream>>>(images, window, emit);
  }
  check_launch("local_variance");
}

}  // namespace

template <class T>
void local_variance(const void* images, bool images_are_bytes, std::int64_t N, std::int64_t H,
                    std::int64_t W, std::int64_t window_size, Border border, T* variance,
                    Stream stream) {
  const Window window(H, W, window_size, border);
  if (N == 0 || window.out_H <= 0 || window.out_W <= 0) return;
  const Variance<T> emit{window, variance};
  const auto* const numbers = static_cast<const T*>(images);
  const auto* const bytes = static_cast<const std::uint8_t*>(images);
  if (images_are_bytes
          ? launch_small_windows<unsigned>(bytes, window, N, variance, native(stream))
          : launch_small_windows<double>(numbers, window, N, variance, native(stream))) {
    return;
  }
  if (!images_are_bytes) {
    launch_windows<true, double>(numbers, window, N, emit, native(stream));
  } else if (window.size <= kIntegerWindow) {
    launch_windows<true, unsigned>(bytes, window, N, emit, native(stream));
  } else {
    launch_windows<true, double>(bytes, window, N, emit, native(stream));
  }
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
  launch_windows<false, double>(images, window, N, Mean{window, mean}, native(stream));
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

// Variance in windows of few pixels on CUDA. A block takes strips of columns, of one plane or of
// several, down a band of output rows, as many rows at a time as the window is long. First a thread
// a column adds up rows, in registers: a window is the end of the rows before and the beginning of
// these (van Herk 1992, Gil and Werman 1993). Their sums go to shared memory, from where a thread
// takes those of eight windows side by side, which share the columns that all of them see. The next
// rows are on their way meanwhile.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "cuda_common.cuh"
#include "windows.cuh"

namespace vaebias::cuda {

// Sums S1 and S2 of a column, that move as one.
template <class Sum>
struct PairOf;
template <>
struct PairOf<double> {
  using type = double2;
};
template <>
struct PairOf<unsigned> {
  using type = uint2;
};

// How a launch divides its planes.
struct Strips {
  static constexpr int kGroup = 8;      // windows side by side that one thread takes
  static constexpr int kColumns = 120;  // of outputs in a strip at most
  static constexpr int kRows = 64;      // of outputs in a band at most
  static constexpr int kThreads = 256;  // of a block at most
  static constexpr int kTogether = 25;  // strips of a block at most
  static constexpr std::size_t kBytes = 46 * 1024 + 512;  // of sums: with the rest less than 48 KiB
  static constexpr std::int64_t kEnough = 512;  // blocks: fewer take fewer strips each

  int groups, width;     // of a strip: its groups of outputs, and the columns that they see
  int places;            // in shared memory of a strip's columns, `size` pairs of sums each
  int together;          // strips of a block
  int count;             // strips of all planes
  int of_plane;          // strips of a plane
  int bands, rows;       // bands of a plane, and outputs in one
  bool fits;

  // Room every eighth column: eight threads that read eight columns apart meet all banks, as do
  // threads that write side by side, since sizes are odd.
  VAEBIAS_HOST_DEVICE static constexpr int place(int column) { return column + column / kGroup; }

  Strips(const Window& window, std::int64_t N, std::size_t pair) {
    const int size = static_cast<int>(window.size);
    const std::int64_t strips = parts_of(window.out_W, kColumns);
    // Bytes of a plane, and strips of all, are counted in 32 bits.
    constexpr std::int64_t most = 2147483647;
    fits = window.H <= most / window.W / 8 && N <= most / strips;
    if (!fits) return;
    of_plane = static_cast<int>(strips);
    count = static_cast<int>(N * strips);
    groups = static_cast<int>(parts_of(parts_of(window.out_W, strips), kGroup));
    width = groups * kGroup + size - 1;
    places = place(width - 1) + 1;
    bands = static_cast<int>(parts_of(window.out_H, kRows));
    rows = static_cast<int>(parts_of(window.out_H, bands));
    const std::int64_t enough = std::max<std::int64_t>(1, N * strips * bands / kEnough);
    together = 1;
    for (int more = 2; more <= std::min<std::int64_t>(kTogether, enough); ++more) {
      if (more * width > kThreads || pair * static_cast<std::size_t>(more * size * places) > kBytes)
        break;
      // Whichever leaves fewer threads of its warps idle.
      if (more * warps(together) >= together * warps(more)) together = more;
    }
  }

  int warps(int strips_of_block) const { return (strips_of_block * width + 31) / 32; }
  int threads() const { return 32 * warps(together); }
  unsigned blocks() const { return blocks_for(parts_of(count, together) * bands, 1); }
  std::size_t bytes(int size, std::size_t pair) const {
    return pair * static_cast<std::size_t>(together * size * places);
  }
};

// Sums of `size` columns from each of `kGroup` on, with those that several windows see added once.
// at(i): sums of column i; emit(i, s1, s2): of window i.
template <int size, class Sum, class At, class Emit>
__device__ inline void sums_of_group(const At& at, const Emit& emit) {
  // Windows at a time: each must see the last column that the first one sees.
  constexpr int block = size > 8 ? 8 : size > 4 ? 4 : 2;
#pragma unroll
  for (int first = 0; first < Strips::kGroup; first += block) {
    Sum end1[block], end2[block];  // from a window's first column to the last of the first window
    Sum s1, s2;
#pragma unroll
    for (int i = size - 1; i >= 0; --i) {
      const auto column = at(first + i);
      s1 = i == size - 1 ? column.x : s1 + column.x;
      s2 = i == size - 1 ? column.y : s2 + column.y;
      if (i < block) {
        end1[i] = s1;
        end2[i] = s2;
      }
    }
    emit(first, end1[0], end2[0]);
#pragma unroll
    for (int i = 1; i < block; ++i) {  // and the columns past those
      const auto column = at(first + size - 1 + i);
      s1 = i == 1 ? column.x : s1 + column.x;
      s2 = i == 1 ? column.y : s2 + column.y;
      emit(first + i, end1[i] + s1, end2[i] + s2);
    }
  }
}

// As the CPU rounds it. Integers are exact to the end: 11^4 * 255^2 < 2^32.
template <int size, class T, class Sum>
__device__ inline T variance_of(Sum s1, Sum s2) {
  constexpr Sum n = size * size;
  constexpr double squared = static_cast<double>(n) * static_cast<double>(n);
  const T v = static_cast<T>(static_cast<double>(n * s2 - s1 * s1) * (1.0 / squared));
  return v <= 0 ? T(0) : v;
}

// Of the next rows, how many a thread has registers for while it takes its windows' sums.
template <int size>
constexpr int kAhead = size / 2 + 1;

// Blocks that a multiprocessor has registers for.
template <int size, class Sum, class Pixel>
constexpr int kBlocksAtOnce =
    (sizeof(Sum) == sizeof(double) ? 3 : 4) - (size > 9 || sizeof(Pixel) == sizeof(double));

template <int size, class Sum, class Pixel, class T>
__global__ void __launch_bounds__(Strips::kThreads, kBlocksAtOnce<size, Sum, Pixel>)
    small_window_kernel(const Pixel* images, const Window window, const Strips strips, bool packed,
                        T* variance) {
  using Pair = typename PairOf<Sum>::type;
  constexpr int group = Strips::kGroup;
  extern __shared__ double2 pairs[];
  Pair* const sums = reinterpret_cast<Pair*>(pairs);  // [strips.together, places, size]
  __shared__ std::int64_t origin[Strips::kTogether];  // each strip's first output
  __shared__ int outputs[Strips::kTogether];          // columns of it that there are
  __shared__ unsigned offset[Strips::kRows + 2 * size];  // of each row in its plane, in bytes
  constexpr unsigned nowhere = 0xffffffffu;              // where there is none
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const int H = static_cast<int>(window.H), W = static_cast<int>(window.W);
  const int margin = static_cast<int>(window.margin);
  const int block = static_cast<int>(blockIdx.x);
  const int y0 = block % strips.bands * strips.rows;
  const int rows = min(static_cast<int>(window.out_H) - y0, strips.rows);
  const int depth = rows + size - 1;  // rows that these windows see

  const int own = thread / strips.width, column = thread % strips.width;
  const int wanted = block / strips.bands * strips.together + own;
  const int strip = min(wanted, strips.count - 1);
  const int x0 = strip % strips.of_plane * strips.groups * group;
  const std::int64_t plane = strip / strips.of_plane;
  const Pixel* const image = images + plane * H * W;
  const Sum shift = static_cast<Sum>(shift_for(image));
  const int at = inside(x0 + column - margin, W, window.border);
  const char* const pixels = reinterpret_cast<const char*>(image + max(at, 0));
  const bool adds = own < strips.together;
  if (adds && column == 0) {
    origin[own] = (plane * window.out_H + y0) * window.out_W + x0;
    outputs[own] = wanted < strips.count ? static_cast<int>(window.out_W) - x0 : 0;
  }
#pragma unroll 1
  for (int y = thread; y < strips.rows + 2 * size; y += threads) {
    const int row = y < depth ? inside(y0 + y - margin, H, window.border) : -1;
    offset[y] = row < 0 ? nowhere : static_cast<unsigned>(row) * W * sizeof(Pixel);
  }
  __syncthreads();
  Pair* const line = sums + (own * strips.places + Strips::place(column)) * size;

  // Which group of outputs this thread takes, of every how many lines.
  const int step = threads / strips.groups, lines = strips.together * size;
  const int own_group = thread % strips.groups;
  const int first_line = thread / strips.groups < step ? thread / strips.groups : lines;

  Pixel earlier[size] = {};  // this column's rows before these
  for (int first = 0;; first += size) {
    Pixel row[size];
    const auto load = [&](int begin, int end) {
#pragma unroll
      for (int r = begin; r < end; ++r) {
        const unsigned from = offset[first + r];
        row[r] = Pixel(0);
        if (from != nowhere && at >= 0) row[r] = *reinterpret_cast<const Pixel*>(pixels + from);
      }
    };
    if (first < depth) load(0, kAhead<size>);
    if (first > 0) {
      __syncthreads();
      for (int l = first_line; l < lines; l += step) {
        const int which = l / size, r = l % size, y = first - size + r - (size - 1);
        const int x = own_group * group, left = outputs[which] - x;
        if (y < 0 || y >= rows || left <= 0) continue;
        const Pair* const from = sums + (which * strips.places + Strips::place(x)) * size + r;
        T* const to = variance + origin[which] + y * window.out_W + x;
        constexpr int vector = 16 / sizeof(T);
        Pack<T, vector> pack;
        sums_of_group<size, Sum>(
            [&](int i) { return from[Strips::place(i) * size]; },
            [&](int i, Sum s1, Sum s2) {
              pack.value[i % vector] = variance_of<size, T>(s1, s2);
              if (i % vector < vector - 1) return;
              const int start = i + 1 - vector;
              if (packed && left >= group) {
                store_pack<true>(to + start, pack, vector);
              } else {
                store_pack<false>(to + start, pack, left - start);
              }
            });
      }
      if (first >= depth) break;
      __syncthreads();
    }
    load(kAhead<size>, size);
    Sum end1[size], end2[size], e1, e2;  // of the rows before: from each to the last
#pragma unroll
    for (int r = size - 1; r > 0; --r) {
      const Sum value = static_cast<Sum>(earlier[r]) - shift;
      e1 = r == size - 1 ? value : e1 + value;
      e2 = r == size - 1 ? value * value : e2 + value * value;
      end1[r] = e1;
      end2[r] = e2;
    }
    Sum s1, s2;  // of these rows, from the first
#pragma unroll
    for (int r = 0; r < size; ++r) {
      const Sum value = static_cast<Sum>(row[r]) - shift;
      s1 = r == 0 ? value : s1 + value;
      s2 = r == 0 ? value * value : s2 + value * value;
      earlier[r] = row[r];
      Pair both{s1, s2};
      if (r < size - 1) both = {end1[r + 1] + s1, end2[r + 1] + s2};
      if (adds) line[r] = both;
    }
  }
}

// Whether a kernel of this window's size was launched.
template <class Sum, class Pixel, class T>
bool launch_small_windows(const Pixel* images, const Window& window, std::int64_t N, T* variance,
                          cudaStream_t stream) {
  using Pair = typename PairOf<Sum>::type;
  const Strips strips(window, N, sizeof(Pair));
  if (!strips.fits) return false;
  constexpr int vector = 16 / sizeof(T);
  const bool packed = window.out_W % vector == 0 && is_aligned<vector>(variance);
  const auto launch = [&](auto size) {
    small_window_kernel<size.value, Sum>
        <<<strips.blocks(), strips.threads(), strips.bytes(size.value, sizeof(Pair)), stream>>>(
            images, window, strips, packed, variance);
    check_launch("local_variance");
    return true;
  };
  switch (window.size) {
    case 3: return launch(std::integral_constant<int, 3>{});
    case 5: return launch(std::integral_constant<int, 5>{});
    case 7: return launch(std::integral_constant<int, 7>{});
    case 9: return launch(std::integral_constant<int, 9>{});
    case 11: return launch(std::integral_constant<int, 11>{});
    default: return false;
  }
}

}  // namespace vaebias::cuda

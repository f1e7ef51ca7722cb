// Products of columns of P numbers on the CPU, a strip of pixels at a time, in blocks of columns
// whose sums stay in registers; a register of partial sums for each product is kept until the end.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <type_traits>
#include <vector>

#include "simd.h"

#ifdef __has_builtin
#if __has_builtin(__builtin_shufflevector)
#define VAEBIAS_SHUFFLE
#endif
#endif

namespace vaebias::cpu {

using simd::Register;

// Pixels. Within a strip products add up in the type of the columns, in the lanes of a register,
// and strips in double.
constexpr std::int64_t kStrip = 256;
constexpr std::int64_t kStride = kStrip + 16;  // between columns: not all in one set of the cache
constexpr std::int64_t kPair = 2;
constexpr std::int64_t kLanesOfSum = 8;  // partial sums of a product: the widest register's

inline std::int64_t padded(std::int64_t columns) { return (columns + kPair - 1) / kPair * kPair; }

// Columns of one strip, and where in memory to find the next one's: a piece for each column, of
// `bytes` a pixel, or null.
template <class T>
struct Strip {
  const T* const* at;
  const char* const* ahead = nullptr;
  std::int64_t bytes = 0;

  VAEBIAS_INLINE Strip from(std::int64_t column) const {
    return {at + column, ahead ? ahead + column : nullptr, bytes};
  }
  VAEBIAS_INLINE Strip alone() const { return {at}; }
};

// Adds a register of partial sums to W of the lanes of one.
template <int W, class T, class Numbers>
VAEBIAS_INLINE void add_lanes(Numbers numbers, double* lanes) {
  using Doubles = typename Register<double, W>::type;
  using Part = typename Register<T, W>::type;
  Part parts[sizeof(Numbers) / sizeof(Part)];
  std::memcpy(parts, &numbers, sizeof numbers);
  Doubles sum = *reinterpret_cast<const Doubles*>(lanes);
  for (const Part& part : parts) sum += __builtin_convertvector(part, Doubles);
  *reinterpret_cast<Doubles*>(lanes) = sum;
}

// Adds the products of R columns x with C columns y to sums [R, C, kLanesOfSum], `stride` products
// between rows; those of the lower triangle only, diagonal included, if `triangle`. Twelve sums and
// three columns fill the registers of SSE and AVX2. What x has ahead is fetched along the way: a
// column is too short a stream for the processor to see it coming.
template <int W, int R, int C, bool triangle = false, class T>
VAEBIAS_INLINE void add_block(Strip<T> x, const T* const* y, std::int64_t width, double* sums,
                              std::int64_t stride) {
  constexpr std::int64_t N = W * sizeof(double) / sizeof(T);
  using Numbers = typename Register<T, N>::type;
  const auto load = [](const T* from) VAEBIAS_INLINE_LAMBDA {
    return *reinterpret_cast<const Numbers*>(from);
  };
  Numbers block[R][C] = {};
  std::int64_t p = 0;
  for (; p + N <= width; p += N) {
    Numbers left[R];
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      left[i] = load(x.at[i] + p);
      if (x.ahead) __builtin_prefetch(x.ahead[i] + p * x.bytes);
    }
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) {
      const Numbers right = load(y[j] + p);
#pragma GCC unroll 8
      for (int i = triangle ? j : 0; i < R; ++i) block[i][j] += left[i] * right;
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < (triangle ? i + 1 : C); ++j) {
      double* const lanes = sums + (i * stride + j) * kLanesOfSum;
      add_lanes<W, T>(block[i][j], lanes);
      for (std::int64_t q = p; q < width; ++q)
        *lanes += static_cast<double>(x.at[i][q]) * static_cast<double>(y[j][q]);
    }
  }
}

template <int count>
using Count = std::integral_constant<int, count>;

// Adds the products of a pair of columns x with `count` columns y, an even number.
template <int W, class T>
VAEBIAS_INLINE void add_pair(Strip<T> x, const T* const* y, std::int64_t count, std::int64_t width,
                             double* sums, std::int64_t stride) {
  const auto add = [&](auto columns, std::int64_t j) VAEBIAS_INLINE_LAMBDA {
    add_block<W, 2, columns.value>(j ? x.alone() : x, y + j, width, sums + j * kLanesOfSum, stride);
  };
  std::int64_t j = 0;
  for (; count - j >= 10 || count - j == 6; j += 6) add(Count<6>{}, j);  // fours rather than twos
  for (; count - j >= 4; j += 4) add(Count<4>{}, j);
  if (j < count) add(Count<2>{}, j);
}

// Adds the products of all columns x with all y, an even number of each, to sums [columns, count,
// kLanesOfSum].
template <int W, class T>
VAEBIAS_INLINE void add_pairs(Strip<T> x, std::int64_t columns, const T* const* y,
                              std::int64_t count, std::int64_t width, double* sums) {
  for (std::int64_t i = 0; i < columns; i += kPair)
    add_pair<W>(x.from(i), y, count, width, sums + i * count * kLanesOfSum, count);
}

// Adds the products of all pairs of `count` columns, an even number, to sums [count, count,
// kLanesOfSum]: those of the lower triangle, and of some 2 x 2 blocks on its diagonal.
template <int W, class T>
VAEBIAS_INLINE void add_triangle(Strip<T> x, std::int64_t count, std::int64_t width,
                                 double* sums) {
  if (count == 2) add_block<W, 2, 2, true>(x, x.at, width, sums, count);
  if (count >= 4) add_block<W, 4, 4, true>(x, x.at, width, sums, count);
  for (std::int64_t i = 4; i < count; i += kPair)
    add_pair<W>(x.from(i), x.at, i + kPair, width, sums + i * count * kLanesOfSum, count);
}

VAEBIAS_FOR_EACH_WIDTH([[maybe_unused]] static void, add_gram,
                       (Strip<double> x, std::int64_t count, std::int64_t width, double* sums),
                       add_triangle, (x, count, width, sums))
VAEBIAS_FOR_EACH_WIDTH([[maybe_unused]] static void, add_gram,
                       (Strip<float> x, std::int64_t count, std::int64_t width, double* sums),
                       add_triangle, (x, count, width, sums))

inline double sum_lanes(const double* lanes) {
  return std::accumulate(lanes, lanes + kLanesOfSum, 0.0);
}

// Four rows of four floats as four columns of four numbers; `stride` in floats.
template <class T>
VAEBIAS_INLINE void transpose_four(const float* rows, std::int64_t stride, T* columns) {
#ifdef VAEBIAS_SHUFFLE
  typedef float Quad __attribute__((vector_size(16)));
  typedef T Numbers __attribute__((vector_size(4 * sizeof(T))));
  Quad row[4];
  for (int i = 0; i < 4; ++i) std::memcpy(&row[i], rows + i * stride, sizeof(Quad));
  const Quad low01 = __builtin_shufflevector(row[0], row[1], 0, 4, 1, 5);
  const Quad high01 = __builtin_shufflevector(row[0], row[1], 2, 6, 3, 7);
  const Quad low23 = __builtin_shufflevector(row[2], row[3], 0, 4, 1, 5);
  const Quad high23 = __builtin_shufflevector(row[2], row[3], 2, 6, 3, 7);
  const Quad column[4] = {__builtin_shufflevector(low01, low23, 0, 1, 4, 5),
                          __builtin_shufflevector(low01, low23, 2, 3, 6, 7),
                          __builtin_shufflevector(high01, high23, 0, 1, 4, 5),
                          __builtin_shufflevector(high01, high23, 2, 3, 6, 7)};
  for (int i = 0; i < 4; ++i) {
    const Numbers numbers = __builtin_convertvector(column[i], Numbers);
    std::memcpy(columns + i * kStride, &numbers, sizeof numbers);
  }
#else
  for (int i = 0; i < 4; ++i) {
    for (int p = 0; p < 4; ++p) columns[i * kStride + p] = static_cast<T>(rows[p * stride + i]);
  }
#endif
}

// Fetches what stands 2 KB beyond `count` numbers that are read from `from` on: the processor's own
// look ahead ends with a page.
template <class T>
VAEBIAS_INLINE void fetch_ahead(const T* from, std::int64_t count) {
  const std::uintptr_t ahead = reinterpret_cast<std::uintptr_t>(from) + 2048;
  for (std::uintptr_t byte = 0; byte < count * sizeof(T); byte += 64)
    __builtin_prefetch(reinterpret_cast<const void*>(ahead + byte));
}

// `width` pixels of [P, count] as [count, kStride].
template <class From, class T>
VAEBIAS_CLONES static void transpose_strip(const From* pixels, std::int64_t count,
                                           std::int64_t width, T* strip) {
  std::int64_t done = 0;  // pixels
  if constexpr (std::is_same_v<From, float>) {
    if (count >= 4) {
      for (; done + 4 <= width; done += 4) {
        fetch_ahead(pixels + done * count, 4 * count);
        for (std::int64_t i = 0; i < count; i += 4) {
          const std::int64_t at = std::min(i, count - 4);  // the last four may overlap
          transpose_four(pixels + done * count + at, count, strip + at * kStride + done);
        }
      }
    }
  }
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t p = done; p < width; ++p)
      strip[i * kStride + p] = static_cast<T>(pixels[p * count + i]);
  }
}

// As it is, or times a power of two.
template <class From, class T>
VAEBIAS_CLONES static void copy_strip(const From* column, std::int64_t width, T scale, T* strip) {
#pragma omp simd
  for (std::int64_t p = 0; p < width; ++p) strip[p] = static_cast<T>(column[p]) * scale;
}

// The strips of a matrix of From, one after the other, as numbers of T. Columns that lie [count, P]
// in memory are read in place if no conversion or scaling is asked for.
template <class From, class T>
class Columns {
 public:
  Columns(std::int64_t count, std::int64_t P, bool pixels_last)
      : count_(count),
        P_(P),
        pixels_last_(pixels_last),
        at_(static_cast<std::size_t>(padded(count))),
        ahead_(at_.size()) {}

  // Pixels [first, first + width) of `matrix`; scale [count] or null.
  Strip<T> load(const From* matrix, std::int64_t first, std::int64_t width, const double* scale) {
    if (!pixels_last_ || scale || !std::is_same_v<From, T>)
      strip_.resize(static_cast<std::size_t>(count_ * kStride));
    if (!pixels_last_) transpose_strip(matrix + first * count_, count_, width, strip_.data());
    const bool last = first + 2 * width > P_;
    for (std::int64_t i = 0; i < count_; ++i) {
      const From* const column = matrix + (pixels_last_ ? i * P_ + first : 0);
      at_[static_cast<std::size_t>(i)] = place(column, i, width, scale);
      ahead_[static_cast<std::size_t>(i)] =
          reinterpret_cast<const char*>(column + (last ? 0 : width));
    }
    // An odd column has itself for a partner; what that gives is not used.
    if (count_ < padded(count_)) {
      at_.back() = at_[static_cast<std::size_t>(count_ - 1)];
      ahead_.back() = ahead_[static_cast<std::size_t>(count_ - 1)];
    }
    // Pixels first is one long stream, which the processor sees coming.
    return {at_.data(), pixels_last_ ? ahead_.data() : nullptr, sizeof(From)};
  }

 private:
  // Column i of the strip, from `column` where pixels are last; else strip_ has it.
  const T* place(const From* column, std::int64_t i, std::int64_t width, const double* scale) {
    T* const own = strip_.data() + i * kStride;
    const T factor = scale ? static_cast<T>(scale[i]) : T(1);
    if (!pixels_last_) {
      if (scale) copy_strip(own, width, factor, own);
      return own;
    }
    if constexpr (std::is_same_v<From, T>) {
      if (!scale) return column;
    }
    copy_strip(column, width, factor, own);
    return own;
  }

  std::int64_t count_, P_;
  bool pixels_last_;
  std::vector<const T*> at_;
  std::vector<const char*> ahead_;
  std::vector<T> strip_;  // [count, kStride]
};

// True for a column of zeros.
template <class From>
bool vanishes(const From* matrix, std::int64_t i, std::int64_t count, std::int64_t P,
              bool pixels_last) {
  const From* const column = pixels_last ? matrix + i * P : matrix + i;
  const std::int64_t stride = pixels_last ? 1 : count;
  for (std::int64_t p = 0; p < P; ++p) {
    if (column[p * stride] != From(0)) return false;
  }
  return true;
}

// Whether a column's sum of squares, added up in T, can be trusted: nothing overflowed, and nothing
// that counts underflowed. Zero is what a column of zeros gives, and one of numbers whose squares
// vanish.
template <class T>
bool in_range(double sum_of_squares) {
  constexpr double smallest = static_cast<double>(std::numeric_limits<T>::min());
  constexpr double largest = static_cast<double>(std::numeric_limits<T>::max());
  // 2^28 pixels or fewer each lose at most the least normal number.
  return sum_of_squares > smallest * 1e14 && sum_of_squares < largest * 1e-3;
}

}  // namespace vaebias::cpu

// Products of columns of P numbers on the CPU, a strip of pixels at a time, in blocks of 2 x 4
// whose sums stay in registers. Blocks are loops over scalars, not vectors of a fixed length: each
// clone then uses its own registers, where a vector longer than them would live in memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "simd.h"

#ifdef __has_builtin
#if __has_builtin(__builtin_shufflevector)
#define VAEBIAS_SHUFFLE
#endif
#endif

namespace vaebias::cpu {

// Pixels. Within a strip products add up in the type of the columns, in the lanes of a register,
// and strips in double.
constexpr std::int64_t kStrip = 256;
constexpr std::int64_t kStride = kStrip + 16;  // between columns: not all in one set of the cache
constexpr std::int64_t kPair = 2;

inline std::int64_t padded(std::int64_t columns) { return (columns + kPair - 1) / kPair * kPair; }

// Adds the products of columns x[0], x[1] with y[0] to y[3] to sums [2, 4], `stride` between rows.
template <class T>
VAEBIAS_INLINE void add_2x4(const T* const* x, const T* const* y, std::int64_t width, double* sums,
                            std::int64_t stride) {
  const T *const x0 = x[0], *const x1 = x[1];
  const T *const y0 = y[0], *const y1 = y[1], *const y2 = y[2], *const y3 = y[3];
  T a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
#pragma omp simd reduction(+ : a0, a1, a2, a3, b0, b1, b2, b3)
  for (std::int64_t p = 0; p < width; ++p) {
    const T a = x0[p], b = x1[p];
    a0 += a * y0[p];
    a1 += a * y1[p];
    a2 += a * y2[p];
    a3 += a * y3[p];
    b0 += b * y0[p];
    b1 += b * y1[p];
    b2 += b * y2[p];
    b3 += b * y3[p];
  }
  double* const next = sums + stride;
  sums[0] += static_cast<double>(a0);
  sums[1] += static_cast<double>(a1);
  sums[2] += static_cast<double>(a2);
  sums[3] += static_cast<double>(a3);
  next[0] += static_cast<double>(b0);
  next[1] += static_cast<double>(b1);
  next[2] += static_cast<double>(b2);
  next[3] += static_cast<double>(b3);
}

// The same of y[0] and y[1].
template <class T>
VAEBIAS_INLINE void add_2x2(const T* const* x, const T* const* y, std::int64_t width, double* sums,
                            std::int64_t stride) {
  const T *const x0 = x[0], *const x1 = x[1], *const y0 = y[0], *const y1 = y[1];
  T a0 = 0, a1 = 0, b0 = 0, b1 = 0;
#pragma omp simd reduction(+ : a0, a1, b0, b1)
  for (std::int64_t p = 0; p < width; ++p) {
    const T a = x0[p], b = x1[p];
    a0 += a * y0[p];
    a1 += a * y1[p];
    b0 += b * y0[p];
    b1 += b * y1[p];
  }
  sums[0] += static_cast<double>(a0);
  sums[1] += static_cast<double>(a1);
  sums[stride] += static_cast<double>(b0);
  sums[stride + 1] += static_cast<double>(b1);
}

// Adds the products of a pair of columns x with `count` columns y, an even number.
template <class T>
VAEBIAS_INLINE void add_pair(const T* const* x, const T* const* y, std::int64_t count,
                             std::int64_t width, double* sums, std::int64_t stride) {
  std::int64_t j = 0;
  for (; j + 4 <= count; j += 4) add_2x4(x, y + j, width, sums + j, stride);
  if (j < count) add_2x2(x, y + j, width, sums + j, stride);
}

// Adds the products of all pairs of `count` columns, an even number, to sums [count, count]: those
// of the lower triangle, and of the 2 x 2 blocks on its diagonal.
template <class T>
VAEBIAS_INLINE void add_gram(const T* const* at, std::int64_t count, std::int64_t width,
                             double* sums) {
  for (std::int64_t i = 0; i < count; i += kPair)
    add_pair(at + i, at, i + kPair, width, sums + i * count, count);
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

// `width` pixels of [P, count] as [count, kStride].
template <class From, class T>
VAEBIAS_CLONES static void transpose_strip(const From* pixels, std::int64_t count,
                                           std::int64_t width, T* strip) {
  std::int64_t done = 0;  // pixels
  if constexpr (std::is_same_v<From, float>) {
    if (count >= 4) {
      for (; done + 4 <= width; done += 4) {
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

// Where the columns of a matrix of From stand, strip by strip, as numbers of T. Those that lie
// [count, P] in memory are read in place if no conversion or scaling is asked for.
template <class From, class T>
class Columns {
 public:
  Columns(std::int64_t count, std::int64_t P, bool pixels_last)
      : count_(count),
        P_(P),
        pixels_last_(pixels_last),
        at_(static_cast<std::size_t>(padded(count))) {}

  // Pixels [first, first + width) of `matrix`; scale [count] or null.
  void load(const From* matrix, std::int64_t first, std::int64_t width, const double* scale) {
    if (!pixels_last_ || scale || !std::is_same_v<From, T>)
      strip_.resize(static_cast<std::size_t>(count_ * kStride));
    if (!pixels_last_) transpose_strip(matrix + first * count_, count_, width, strip_.data());
    for (std::int64_t i = 0; i < count_; ++i) {
      const T*& column = at_[static_cast<std::size_t>(i)];
      T* const own = strip_.data() + i * kStride;
      const T factor = scale ? static_cast<T>(scale[i]) : T(1);
      column = own;
      if (!pixels_last_) {
        if (scale) copy_strip(own, width, factor, own);
        continue;
      }
      const From* const from = matrix + i * P_ + first;
      if constexpr (std::is_same_v<From, T>) {
        if (!scale) {
          column = from;
          continue;
        }
      }
      copy_strip(from, width, factor, own);
    }
    // An odd column has itself for a partner; what that gives is not used.
    if (count_ < padded(count_)) at_.back() = at_[static_cast<std::size_t>(count_ - 1)];
  }

  const T* const* at() const { return at_.data(); }

 private:
  std::int64_t count_, P_;
  bool pixels_last_;
  std::vector<const T*> at_;
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

// What the kernels of local variance share: windows over bordered planes, and shifts of values.
#pragma once

#include <cmath>
#include <cstdint>

#include "border.h"

namespace vaebias::cuda {

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

template <class T>
__device__ inline double shift_for(const T* image) {
  return shift_of(static_cast<double>(*image));
}
// Integers need none.
__device__ inline unsigned shift_for(const std::uint8_t*) { return 0; }

inline std::int64_t parts_of(std::int64_t size, std::int64_t part) {
  return (size + part - 1) / part;
}

}  // namespace vaebias::cuda

// Rows times a factor each, in place, on the CPU.
#include <algorithm>
#include <stdexcept>

#include "kernels.h"
#include "parallel.h"
#include "simd.h"

namespace vaebias::cpu {
namespace {

template <class T>
VAEBIAS_CLONES void scale(T* numbers, T factor, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) numbers[i] *= factor;
}

}  // namespace

template <class T>
void scale_rows(void* rows, Storage stored, const T* factors, bool shared, std::int64_t B,
                std::int64_t P, int threads) {
  if (stored != Storage::same) throw std::invalid_argument("rows are stored in another type");
  T* const numbers = static_cast<T*>(rows);
  const std::int64_t grain = std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(P, 1));
  parallel_for(B, grain, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const T factor = factors[shared ? 0 : row];
      if (factor != T(1)) scale(numbers + row * P, factor, P);
    }
  });
}

VAEBIAS_FLOAT_AND_DOUBLE(scale_rows)

}  // namespace vaebias::cpu

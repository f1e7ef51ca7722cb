// Rows times a factor each, in place, on CUDA. A gradient that was written in the forward pass is
// scaled so: the factor is most often 1, which only the device knows, and then nothing moves.
#include <stdexcept>

#include "cuda_common.cuh"
#include "storage.cuh"

namespace vaebias::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kAhead = 4;                  // packs of a thread that are loaded together
constexpr std::int64_t kPerBlock = 16384;  // numbers: many, since most blocks have nothing to do

// Block (row, part of it).
template <bool packed, class T, class Stored>
__global__ void __launch_bounds__(kThreads)
    scale(Stored* rows, const T* factors, bool shared, std::int64_t P, unsigned per_row) {
  constexpr int width = kPackWidth<T>;
  const std::int64_t row = blockIdx.x / per_row, part = blockIdx.x % per_row;
  const T factor = factors[shared ? 0 : row];
  if (factor == T(1)) return;
  const int size = static_cast<int>(min(P - part * kPerBlock, kPerBlock));
  Stored* const numbers = rows + row * P + part * kPerBlock;
  constexpr int stride = kThreads * width;
  for (int first = static_cast<int>(threadIdx.x) * width; first < size; first += kAhead * stride) {
    Pack<Stored, width> packs[kAhead];
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      const int at = first + u * stride;
      if (at < size) packs[u] = load_pack<packed, width>(numbers + at, size - at);
    }
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      const int at = first + u * stride;
      if (at >= size) break;
#pragma unroll
      for (int i = 0; i < width; ++i) {
        narrow(widened<T>(packs[u].value[i]) * factor, &packs[u].value[i]);
      }
      store_pack<packed>(numbers + at, packs[u], size - at);
    }
  }
}

template <class T, class Stored>
void launch_scale(Stored* rows, const T* factors, bool shared, std::int64_t B, std::int64_t P,
                  cudaStream_t stream) {
  constexpr int width = kPackWidth<T>;
  const std::int64_t per_row = (P + kPerBlock - 1) / kPerBlock;
  const bool whole = P % width == 0 && is_aligned<width>(rows);
  const auto kernel = whole ? scale<true, T, Stored> : scale<false, T, Stored>;
  kernel<<<blocks_for(B * per_row, 1), kThreads, 0, stream>>>(rows, factors, shared, P,
                                                              static_cast<unsigned>(per_row));
  check_launch("scale_rows");
}

}  // namespace

template <class T>
void scale_rows(void* rows, Storage stored, const T* factors, bool shared, std::int64_t B,
                std::int64_t P, Stream stream) {
  if (B == 0 || P == 0) return;
  const auto launch = [&](auto* typed) {
    using Stored = std::remove_pointer_t<decltype(typed)>;
    launch_scale<T>(static_cast<Stored*>(rows), factors, shared, B, P, native(stream));
  };
  if constexpr (std::is_same_v<T, float>) {
    if (stored == Storage::half) return launch(static_cast<__half*>(nullptr));
    if (stored == Storage::bfloat16) return launch(static_cast<__nv_bfloat16*>(nullptr));
  }
  if (stored != Storage::same) throw std::invalid_argument("rows are stored in another type");
  launch(static_cast<T*>(nullptr));
}

VAEBIAS_FLOAT_AND_DOUBLE(scale_rows)

}  // namespace vaebias::cuda

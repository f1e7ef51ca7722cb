// What kernels.h is written in: the types that cross from Python, and the macros that declare and
// compile a kernel.
#pragma once

#include <cstdint>

#include "constants.h"

namespace vaebias {

using Stream = void*;  // a cudaStream_t; opaque here, so that this header needs no CUDA

// How pixels depart from their prediction: Bernoulli on logits, or normal around means.
enum class Likelihood : int { bernoulli, gaussian };
constexpr const char* kLikelihoods[] = {"bernoulli", "gaussian"};

// How pixels are stored: as T, in 16 bits (read and written on CUDA only, and counted in float),
// or as bytes, read as value/255.
enum class Storage : int { same, half, bfloat16, bytes };
constexpr const char* kStorages[] = {"same", "half", "bfloat16", "bytes"};

// What stands beyond an image's border, as in scipy.ndimage: d c b a | a b c d | d c b a, the
// nearest pixel, or zero; valid keeps to windows that lie inside.
enum class Border : int { reflect, nearest, constant, valid };
constexpr const char* kBorders[] = {"reflect", "nearest", "constant", "valid"};

namespace cuda {
void set_device(int device);
}

// The same kernel on both devices: cpu::name(..., threads) and cuda::name(..., stream).
#define VAEBIAS_KERNEL(name, ...)        \
  namespace vaebias::cpu {               \
  template <class T>                     \
  void name(__VA_ARGS__, int threads);   \
  }                                      \
  namespace vaebias::cuda {              \
  template <class T>                     \
  void name(__VA_ARGS__, Stream stream); \
  }

// Closes a kernel's file: compiles it for both types.
#define VAEBIAS_FLOAT_AND_DOUBLE(name)        \
  template decltype(name<float>) name<float>; \
  template decltype(name<double>) name<double>;

}  // namespace vaebias

// What the compiler needs to vectorise the CPU kernels: function clones for each
// instruction set, registers of numbers, and functions that inline.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "elementary.h"

// The loader picks the best clone once, by an ifunc; levels as in the x86-64 psABI. A build may be
// told to leave higher ones out (VAEBIAS_X86_LEVEL), so that each can be measured on one machine.
#if !defined(__x86_64__) || !defined(__GNUC__) || defined(__clang__) || defined(VAEBIAS_NO_CLONES)
#define VAEBIAS_CLONES
#define VAEBIAS_CLONE_LEVEL 0
#elif defined(VAEBIAS_X86_LEVEL) && VAEBIAS_X86_LEVEL < 3
#define VAEBIAS_CLONES
#define VAEBIAS_CLONE_LEVEL 1
#elif defined(VAEBIAS_X86_LEVEL) && VAEBIAS_X86_LEVEL == 3
#define VAEBIAS_CLONES __attribute__((target_clones("default", "arch=x86-64-v3")))
#define VAEBIAS_CLONE_LEVEL 3
#else
#define VAEBIAS_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#define VAEBIAS_CLONE_LEVEL 4
#endif

// Defines `result name parameters` once for each instruction set, as `body<W> arguments`, where W is
// how many doubles a register holds: for code that has to know it. No templates: they cannot be
// chosen between when the module is loaded.
#define VAEBIAS_DEFINE_FOR(set, W, result, name, parameters, body, arguments) \
  __attribute__((target(set))) result name parameters { return body<W> arguments; }
#if VAEBIAS_CLONE_LEVEL == 4
#define VAEBIAS_FOR_EACH_WIDTH(...)                      \
  VAEBIAS_DEFINE_FOR("default", 2, __VA_ARGS__)        \
  VAEBIAS_DEFINE_FOR("arch=x86-64-v3", 4, __VA_ARGS__) \
  VAEBIAS_DEFINE_FOR("arch=x86-64-v4", 8, __VA_ARGS__)
#elif VAEBIAS_CLONE_LEVEL == 3
#define VAEBIAS_FOR_EACH_WIDTH(...)               \
  VAEBIAS_DEFINE_FOR("default", 2, __VA_ARGS__) \
  VAEBIAS_DEFINE_FOR("arch=x86-64-v3", 4, __VA_ARGS__)
#else
#define VAEBIAS_FOR_EACH_WIDTH(result, name, parameters, body, arguments) \
  result name parameters { return body<2> arguments; }
#endif

// VAEBIAS_INLINE for lambdas.
#define VAEBIAS_INLINE_LAMBDA __attribute__((always_inline))

namespace vaebias::simd {

// Four doubles at once: a register of AVX2 and later. Longer ones would live in memory there.
constexpr int kLanes = 4;
typedef double Four __attribute__((vector_size(4 * sizeof(double)), may_alias));

// Memory for them. A std::vector<Four> would forget their alignment: templates ignore attributes.
class Fours {
 public:
  explicit Fours(std::int64_t size) : lines_(static_cast<std::size_t>(size)) {}
  Four* data() { return reinterpret_cast<Four*>(lines_.data()); }
  void clear() { std::fill(lines_.begin(), lines_.end(), Line{}); }

 private:
  struct alignas(sizeof(Four)) Line {
    double value[kLanes] = {};
  };
  std::vector<Line> lines_;
};

// N numbers in a register, read from where their scalars stand.
template <class T, int N>
struct Register {
  typedef T type __attribute__((vector_size(N * sizeof(T)), aligned(sizeof(T)), may_alias));
};

}  // namespace vaebias::simd

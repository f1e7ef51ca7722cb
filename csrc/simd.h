// What the compiler needs to vectorise the CPU kernels: function clones for each
// instruction set, and what inlines into them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "polynomials.h"

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

// A helper must inline into every clone, or it would be compiled for the baseline only.
#define VAEBIAS_INLINE inline __attribute__((always_inline))
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

template <class T>
struct Exp;

template <>
struct Exp<float> {
  using Bits = std::uint32_t;
  static constexpr int mantissa = 23;
  static constexpr Bits bias = 127;
  static constexpr float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  static constexpr float underflow = -87.33f;  // below, exp(x) is under the least normal number
  static constexpr float ln2_high = 0.693145752f, ln2_low = 1.42860677e-6f;
  static constexpr float polynomial[] = {1.0f,           1.000000038f,  0.5000000047f,
                                         0.1666641551f,  0.0416663529f, 0.008375126398f,
                                         0.001394110843f};
};

template <>
struct Exp<double> {
  using Bits = std::uint64_t;
  static constexpr int mantissa = 52;
  static constexpr Bits bias = 1023;
  static constexpr double magic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double underflow = -708.39;
  static constexpr double ln2_high = 0.693147180369123816490, ln2_low = 1.90821492927058770002e-10;
  static constexpr double polynomial[] = {1.0,
                                          0.9999999999999999985,
                                          0.4999999999999999999,
                                          0.1666666666666670241,
                                          0.04166666666666669219,
                                          0.008333333333309527079,
                                          0.001388888888887188822,
                                          0.0001984126990921710137,
                                          0.00002480158735011079562,
                                          2.755722495839262269e-6,
                                          2.755725190417491259e-7,
                                          2.511486952865776494e-8,
                                          2.092157996495030007e-9};
};

// exp(x) for x <= 0, or what rounding left above, within 1 ulp (test_nll.py against mpmath);
// exactly 0 where the result would be subnormal, NaN for NaN.
template <class T>
VAEBIAS_INLINE T exp_nonpositive(T x) {
  using E = Exp<T>;
  const T inverse_ln2 = static_cast<T>(1.44269504088896340736);
  // Clamped so that 2^n stays a normal number; written so that NaN passes through.
  const T clamped = x < E::underflow ? E::underflow : x;
  const T shifted = clamped * inverse_ln2 + E::magic;
  const T n = shifted - E::magic;
  const T r = (clamped - n * E::ln2_high) - n * E::ln2_low;
  typename E::Bits bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + E::bias) << E::mantissa;  // the integer n sits in the low bits of `shifted`
  T power;
  std::memcpy(&power, &bits, sizeof power);
  const T value = horner(E::polynomial, r) * power;
  return x < E::underflow ? T(0) : value;
}

// erf(y) for y >= 0 within 2 ulp, given e = exp(-y^2), which callers need as well: y times a
// polynomial in y^2, then 1 - e times one in 1/(y + 2) - 1/4 for exp(y^2) erfc(y).
VAEBIAS_INLINE float erf_nonnegative(float y, float e) {
  constexpr float small[] = {1.128379166f,    -0.3761262582f,    0.1128358515f, -0.02685381199f,
                             0.005188327784f, -0.0008010194475f, 7.8538641e-5f};
  constexpr float large[] = {0.2553956779f, 1.708743414f,  3.866516323f,
                             5.055161996f,  0.9548130321f, -7.385651127f};
  const float tail = e * horner(large, 1.0f / (y + 2.0f) - 0.25f);
  return y < 1.0f ? y * horner(small, y * y) : 1.0f - tail;
}

VAEBIAS_INLINE double erf_nonnegative(double y, double e) {
  constexpr double small[] = {
      1.128379167095512566,     -0.3761263890318351955,     0.1128379167094418498,
      -0.02686617064311150198,  0.005223977606118711824,    -0.0008548325929323978374,
      0.0001205529357713558495, -0.00001492471230574011726, 1.644713160924534963e-6,
      -1.620631399777275792e-7, 1.371098124678856707e-8,    -7.779469781253706111e-10};
  constexpr double large[] = {0.2553956763105070724, 1.708743389655771617,  3.866531107856661911,
                              5.054629186356833821,  0.9556204810891545644, -7.165403691995523456,
                              -3.469865675019348342, 16.09000098575782181,  2.820886933751015421,
                              -45.63502371951560694, 34.34475958239525585,  50.00717569543012339};
  const double tail = e * horner(large, 1.0 / (y + 2.0) - 0.25);
  return y < 1.0 ? y * horner(small, y * y) : 1.0 - tail;
}

}  // namespace vaebias::simd

// Elementary functions on the CPU as straight lines, which vectorise in the loops that they inline
// into. Their errors are measured against mpmath in tests/ops.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#include "polynomials.h"

namespace vaebias::simd {

// How a number is stored.
template <class T>
struct Binary;

template <>
struct Binary<float> {
  using Bits = std::uint32_t;
  static constexpr int mantissa = 23;
  static constexpr Bits bias = 127;
  static constexpr float unit = 8388608.0f;    // 2^23: above it, floats are integers
  static constexpr float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  static constexpr float ln2_high = 0.693145752f, ln2_low = 1.42860677e-6f;
};

template <>
struct Binary<double> {
  using Bits = std::uint64_t;
  static constexpr int mantissa = 52;
  static constexpr Bits bias = 1023;
  static constexpr double unit = 4503599627370496.0;   // 2^52
  static constexpr double magic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double ln2_high = 0.693147180369123816490, ln2_low = 1.90821492927058770002e-10;
};

template <class T>
VAEBIAS_INLINE typename Binary<T>::Bits bits_of(T x) {
  typename Binary<T>::Bits bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

template <class T>
VAEBIAS_INLINE T number_of(typename Binary<T>::Bits bits) {
  T x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// The range in which e^x is a normal number, and a polynomial for (e^r - 1)/r where |r| is at most
// log(2)/2.
template <class T>
struct Exp;

template <>
struct Exp<float> {
  static constexpr float underflow = -87.33f, overflow = 88.37f;
  static constexpr float polynomial[] = {1.000000038f,  0.5000000047f,   0.1666641551f,
                                         0.0416663529f, 0.008375126398f, 0.001394110843f};
};

template <>
struct Exp<double> {
  static constexpr double underflow = -708.39, overflow = 709.43;
  static constexpr double polynomial[] = {
      0.9999999999999999985,    0.4999999999999999999,     0.1666666666666670241,
      0.04166666666666669219,   0.008333333333309527079,   0.001388888888887188822,
      0.0001984126990921710137, 0.00002480158735011079562, 2.755722495839262269e-6,
      2.755725190417491259e-7,  2.511486952865776494e-8,   2.092157996495030007e-9};
};

// e^x = power (1 + rest), power one of two, for x in the range of Exp<T>.
template <class T>
struct Exponential {
  T power, rest;

  VAEBIAS_INLINE explicit Exponential(T x) {
    using B = Binary<T>;
    const T shifted = x * static_cast<T>(1.44269504088896340736) + B::magic;
    const T n = shifted - B::magic;
    const T r = (x - n * B::ln2_high) - n * B::ln2_low;
    // The integer n sits in the low bits of `shifted`.
    power = number_of<T>((bits_of(shifted) + B::bias) << B::mantissa);
    rest = r * horner(Exp<T>::polynomial, r);
  }
};

// exp(x) for x <= 0, or what rounding left above, within 1 ulp (test_nll.py against mpmath);
// exactly 0 where the result would be subnormal, NaN for NaN.
template <class T>
VAEBIAS_INLINE T exp_nonpositive(T x) {
  // Clamped so that the power of two stays a normal number; written so that NaN passes through.
  const Exponential<T> e(x < Exp<T>::underflow ? Exp<T>::underflow : x);
  const T value = (T(1) + e.rest) * e.power;
  return x < Exp<T>::underflow ? T(0) : value;
}

// exp(x), within 1.1 ulp, and expm1(x), such that h (h + 2) is that of 2 x within 3 ulp
// (test_sample_and_kl.py). exp(x) is 0 where it would be subnormal and infinite above E::overflow,
// the type's largest number divided by the root of 2; expm1(x) stays at that.
template <class T>
VAEBIAS_INLINE T exp_and_expm1(T x, T* expm1) {
  using E = Exp<T>;
  const T bounded = x < E::underflow ? E::underflow : x;
  const Exponential<T> e(bounded > E::overflow ? E::overflow : bounded);
  const T value = e.power + e.power * e.rest;
  *expm1 = (e.power - T(1)) + e.power * e.rest;
  const T finite = x < E::underflow ? T(0) : value;
  return x > E::overflow ? std::numeric_limits<T>::infinity() : finite;
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

// Polynomials in s^2 for (log((1 + s)/(1 - s))/s - 2)/s^2, and in r^2 for sin(pi r/2)/r and
// cos(pi r/2), |r| at most 1/2.
template <class T>
struct Series;

template <>
struct Series<float> {
  static constexpr float log[] = {0.6666666655f, 0.400001227f, 0.2855074276f, 0.2333223689f};
  static constexpr float sine[] = {1.570796327f, -0.6459640961f, 0.07969258184f, -0.004681260627f,
                                   0.0001581950744f};
  static constexpr float cosine[] = {1.0f, -1.23370054f, 0.2536691826f, -0.02085993605f,
                                     0.0009033630077f};
};

template <>
struct Series<double> {
  static constexpr double log[] = {
      0.6666666666666666646, 0.4000000000000088602, 0.2857142857079869843, 0.2222222239271578303,
      0.181817955428634221,  0.1538624455033252741, 0.1326865335152677554, 0.1308778899253069396};
  static constexpr double sine[] = {1.570796326794896619,     -0.6459640975062462522,
                                    0.07969262624616692082,   -0.004681754135314739374,
                                    0.0001604411847256724081, -3.598842711290138335e-6,
                                    5.691926150040759846e-8,  -6.627430866894504343e-10};
  static constexpr double cosine[] = {1.0,
                                      -1.23370055013616981,
                                      0.2536695079010465744,
                                      -0.02086348076330800302,
                                      0.0009192602741467661558,
                                      -0.00002520203655817729563,
                                      4.710603580313987291e-7,
                                      -6.320557221324734017e-9};
};

// log(x) for positive normal x. Normals by Box and Muller from this and the next are good to 4 ulp
// (test_sample_and_kl.py). With x = 2^n (1 + f), 1 + f between the roots of 1/2 and 2, and
// s = f/(2 + f): log(1 + f) = 2 s + s^3 times a polynomial, where 2 s = f - f^2/2 + s f^2/2.
template <class T>
VAEBIAS_INLINE T log_positive(T x) {
  using B = Binary<T>;
  using Bits = typename B::Bits;
  const Bits root = bits_of(static_cast<T>(0.70710678118654752440));
  const Bits shifted = bits_of(x) - root + (B::bias << B::mantissa);
  const Bits exponent = shifted >> B::mantissa;
  // Or-ed into 2^mantissa, the exponent becomes a number without a conversion of 64 bits.
  const T n = number_of<T>(exponent | bits_of(B::unit)) - (B::unit + static_cast<T>(B::bias));
  const T f = number_of<T>((shifted & ((Bits{1} << B::mantissa) - 1)) + root) - T(1);
  const T s = f / (T(2) + f), half_square = T(0.5) * f * f;
  const T rest = s * s * horner(Series<T>::log, s * s);
  return n * B::ln2_high - ((half_square - (s * (half_square + rest) + n * B::ln2_low)) - f);
}

// Sine and cosine of `turn` whole turns, 0 <= turn <= 1. The angle is reduced exactly.
template <class T>
VAEBIAS_INLINE void sincos_of_turn(T turn, T* sine, T* cosine) {
  using B = Binary<T>;
  using Bits = typename B::Bits;
  const T shifted = T(4) * turn + B::magic;
  const Bits quarter = bits_of(shifted);  // its low bits: the nearest quarter of a turn
  const T r = T(4) * turn - (shifted - B::magic), square = r * r;
  const T s = r * horner(Series<T>::sine, square), c = horner(Series<T>::cosine, square);
  const bool odd = (quarter & 1) != 0;
  constexpr int to_sign = static_cast<int>(8 * sizeof(T)) - 2;
  *sine = number_of<T>(bits_of(odd ? c : s) ^ ((quarter & 2) << to_sign));
  *cosine = number_of<T>(bits_of(odd ? s : c) ^ (((quarter + 1) & 2) << to_sign));
}

}  // namespace vaebias::simd

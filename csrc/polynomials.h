// Functions as straight-line polynomials that inline into loops, for both devices.
#pragma once

#include "host_device.h"

namespace vaebias {

template <class T, int n>
VAEBIAS_HOST_DEVICE_INLINE T horner(const T (&coefficients)[n], T x) {
  T sum = coefficients[n - 1];
#ifdef __CUDA_ARCH__
#pragma unroll
#elif !defined(__CUDACC__)  // of nvcc, the host's pass knows neither
#pragma GCC unroll 32
#endif
  for (int i = n - 2; i >= 0; --i) sum = sum * x + coefficients[i];
  return sum;
}

// log(1 + e) for e in [0, 1], within 2 ulp: e times a polynomial in e - 1/2 for log1p(e)/e,
// which keeps the relative error small down to e = 0.
VAEBIAS_HOST_DEVICE_INLINE float log1p_unit(float e) {
  constexpr float polynomial[] = {
      0.8109302199f,   -0.2885271014f, 0.1326090158f,    -0.06768818965f, 0.03663523417f,
      -0.02056318243f, 0.01157768518f, -0.006788016952f, 0.005250270678f, -0.003176057018f};
  return e * horner(polynomial, e - 0.5f);
}

VAEBIAS_HOST_DEVICE_INLINE double log1p_unit(double e) {
  constexpr double polynomial[] = {
      0.810930216216328764,      -0.2885270990993238966,     0.1326097537542037542,
      -0.06768864331096429562,   0.03661185452304442513,     -0.02054881191912071423,
      0.01183379211549827359,    -0.006945394974985512936,   0.004136178969492578875,
      -0.00249184119479886247,   0.00151538510533750961,     -0.0009288574279277323546,
      0.0005730446084677867223,  -0.0003548204878310238112,  0.0002211917089576656569,
      -0.0001421000228999902963, 0.00008933303406819271381,  -0.00004482844325223256342,
      0.00002827808358562654376, -0.00003836237445160124533, 0.00002443797394858094711};
  return e * horner(polynomial, e - 0.5);
}

}  // namespace vaebias

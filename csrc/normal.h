// Normal posteriors N(mu, e^logvar), for both devices.
#pragma once

#include <cmath>
#include <limits>

#include "constants.h"
#include "host_device.h"

namespace vaebias {

// KL to the standard normal, nats, given expm1(logvar): near the prior e^l - 1 - l loses its digits
// to the rounding of e^l; expm1 keeps half of them.
template <class T>
VAEBIAS_HOST_DEVICE_INLINE T kl_standard_normal(T mu, T logvar, T expm1) {
  return (mu * mu + (expm1 - logvar)) / 2;
}
template <class T>
VAEBIAS_HOST_DEVICE inline T kl_standard_normal(T mu, T logvar) {
  using std::expm1;
  return kl_standard_normal(mu, logvar, expm1(logvar));
}

// 1/(sigma sqrt 2): log N(z; mu, e^logvar) + log(2 pi)/2 is -logvar/2 - u^2 with u = (z - mu) times
// this. Finite even where sigma is zero, so that a deviation of zero stays zero.
template <class T>
VAEBIAS_HOST_DEVICE inline T deviation_scale(T logvar) {
  using std::exp;
  constexpr T largest = std::numeric_limits<T>::max();
  const T scale = static_cast<T>(kSqrtHalf) * exp(-logvar / 2);
  return scale > largest ? largest : scale;  // so written, NaN stays NaN
}

}  // namespace vaebias

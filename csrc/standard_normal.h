// The KL of a posterior N(mu, e^logvar) to the standard normal, for both devices.
#pragma once

#include <cmath>

#include "host_device.h"

namespace vaebias {

template <class T>
VAEBIAS_HOST_DEVICE inline T kl_standard_normal(T mu, T logvar) {
  using std::expm1;
  // Near the prior e^l - 1 - l loses its digits to the rounding of e^l; expm1 keeps half of them.
  return (mu * mu + (expm1(logvar) - logvar)) / 2;
}

}  // namespace vaebias

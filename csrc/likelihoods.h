// -log p of one pixel up to a constant, and its slope in the prediction, for both devices.
#pragma once

#include <cmath>

#include "host_device.h"
#include "polynomials.h"

namespace vaebias {

// Functions has the device's own exp_nonpositive(x) for x <= 0, and reciprocal_of_one_to_two(x).
template <class Functions>
struct Bernoulli {
  static constexpr bool kBounded = true;  // targets lie in [0, 1]
  template <class T>
  VAEBIAS_HOST_DEVICE_INLINE static T value_and_slope(T logit, T target, T, T* slope) {
    // softplus(l) - t l and sigmoid(l) - t, both from e = exp(-|l|) <= 1: nothing overflows.
    const T e = Functions::exp_nonpositive(-std::fabs(logit));
    const T reciprocal = Functions::reciprocal_of_one_to_two(T(1) + e);
    *slope = (logit >= T(0) ? reciprocal : e * reciprocal) - target;
    const T positive = logit > T(0) ? logit : T(0);
    return (positive - target * logit) + log1p_unit(e);
  }
};

struct Gaussian {
  static constexpr bool kBounded = false;
  template <class T>
  VAEBIAS_HOST_DEVICE_INLINE static T value_and_slope(T prediction, T target, T inverse_variance,
                                                      T* slope) {
    const T difference = prediction - target;
    *slope = difference * inverse_variance;
    return *slope * difference * T(0.5);
  }
};

}  // namespace vaebias

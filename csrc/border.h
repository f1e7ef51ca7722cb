// What stands beyond an image's border, for both devices.
#pragma once

#include <cstdint>

#include "contract.h"
#include "host_device.h"

namespace vaebias {

// The position inside [0, n) that stands at i, or -1 for the constant outside; as scipy.ndimage.
VAEBIAS_HOST_DEVICE inline std::int64_t inside(std::int64_t i, std::int64_t n, Border border) {
  if (i >= 0 && i < n) return i;
  switch (border) {
    case Border::reflect: {
      // A window wider than the image sees it mirrored again and again, with period 2n.
      const std::int64_t period = 2 * n;
      const std::int64_t j = ((i % period) + period) % period;
      return j < n ? j : period - 1 - j;
    }
    case Border::nearest:
      return i < 0 ? 0 : n - 1;
    default:
      return -1;
  }
}

}  // namespace vaebias

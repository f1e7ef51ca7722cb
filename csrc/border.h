// What stands beyond an image's border, for both devices.
#pragma once

#include <cstdint>

#include "contract.h"
#include "host_device.h"

namespace vaebias {

// The position inside [0, n) that stands at i, or -1 for the constant outside; as scipy.ndimage.
template <class Int>
VAEBIAS_HOST_DEVICE inline Int inside(Int i, Int n, Border border) {
  if (i >= 0 && i < n) return i;
  switch (border) {
    case Border::reflect: {
      // A window wider than the image sees it mirrored again and again, with period 2n.
      const Int period = 2 * n;
      const Int j = ((i % period) + period) % period;
      return j < n ? j : period - 1 - j;
    }
    case Border::nearest:
      return i < 0 ? 0 : n - 1;
    default:
      return -1;
  }
}

}  // namespace vaebias

// The device that this module's own CUDA runtime works on; torch has another runtime beside it.
#include "contract.h"
#include "cuda_common.cuh"

namespace vaebias::cuda {

void set_device(int device) { check(cudaSetDevice(device), "set_device"); }

}  // namespace vaebias::cuda

// Functions that both compilers see.
#pragma once

#ifdef __CUDACC__
#define VAEBIAS_HOST_DEVICE __host__ __device__
#else
#define VAEBIAS_HOST_DEVICE
#endif

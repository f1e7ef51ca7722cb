// Loops over independent pieces of work, on as many threads as torch is told to use.
#pragma once

#include <algorithm>
#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace vaebias {

// Calls body(begin, end) on disjoint ranges that cover [0, n).
//
// One thread runs without entering OpenMP at all: a forked DataLoader worker has
// inherited a thread pool whose threads did not survive the fork, and torch sets its
// thread count to one there.
template <class Body>
void parallel_for(std::int64_t n, std::int64_t grain, int threads, const Body& body) {
  const std::int64_t pieces = grain > 0 ? (n + grain - 1) / grain : n;
  const int team = static_cast<int>(std::min<std::int64_t>(threads, pieces));
  if (n <= 0) return;
#ifdef _OPENMP
  if (team > 1) {
#pragma omp parallel num_threads(team)
    {
      // The runtime may grant fewer threads than asked for.
      const std::int64_t size = omp_get_num_threads();
      const std::int64_t rank = omp_get_thread_num();
      const std::int64_t begin = n * rank / size;
      const std::int64_t end = n * (rank + 1) / size;
      if (begin < end) body(begin, end);
    }
    return;
  }
#endif
  static_cast<void>(team);
  body(std::int64_t{0}, n);
}

}  // namespace vaebias

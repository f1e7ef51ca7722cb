// From one small Gram matrix to its principal directions and their distance to the axes: cyclic
// Jacobi and the assignment problem, written once for both devices. A Group says which lane of a
// CUDA warp runs and how lanes wait for and reduce to each other (a CPU thread is a group of one);
// a Number is a double, or on the CPU four of them: the same step of four matrices at once.
#pragma once

#include <cmath>
#include <cstdint>

#include "host_device.h"

#ifdef __CUDACC__
#define VAEBIAS_SOLVER_INLINE __host__ __device__ inline
#else
#include "simd.h"
#define VAEBIAS_SOLVER_INLINE VAEBIAS_INLINE
#endif

namespace vaebias {

struct Least {
  double value;
  int index;
};

struct Serial {
  static constexpr int lanes = 1;
  int lane() const { return 0; }
  void sync() const {}
  Least least(Least own) const { return own; }
};

// The few operations that a vector of numbers spells differently.
VAEBIAS_HOST_DEVICE inline bool any(bool condition) { return condition; }
VAEBIAS_HOST_DEVICE inline double choose(bool condition, double yes, double no) {
  return condition ? yes : no;
}
VAEBIAS_HOST_DEVICE inline double root(double x) { return sqrt(x); }

#ifndef __CUDACC__
typedef std::int64_t FourTruths __attribute__((vector_size(4 * sizeof(std::int64_t))));

VAEBIAS_INLINE bool any(const FourTruths& condition) {
  std::int64_t found = 0;
  for (int i = 0; i < simd::kLanes; ++i) found |= condition[i];
  return found != 0;
}
VAEBIAS_INLINE simd::Four choose(const FourTruths& condition, const simd::Four& yes,
                                 const simd::Four& no) {
  return condition ? yes : no;
}
VAEBIAS_INLINE simd::Four root(const simd::Four& x) {
  simd::Four result;
  for (int i = 0; i < simd::kLanes; ++i) result[i] = std::sqrt(x[i]);
  return result;
}
#endif

template <class Number>
VAEBIAS_SOLVER_INLINE Number magnitude(const Number& x) {
  return choose(x < 0, -x, x);
}

// The even number e with x between 2^e and 2^(e + 2): entries of a matrix divided by 2^e can be
// squared within the range of double, and its eigenvalues keep their digits. 0 for zero; never so
// far from it that 2^e leaves that range.
VAEBIAS_HOST_DEVICE inline int even_exponent(double x) {
  if (!(x > 0)) return 0;
  const int exponent = ilogb(x);
  return (exponent < -1000 ? -1000 : exponent > 1000 ? 1000 : exponent) & ~1;
}

// Diagonalises the symmetric m x m matrix `a`, whose largest entry is near one (even_exponent), in
// place and leaves its eigenvectors as the columns of `v`, by plane rotations, which find small
// eigenvalues of a Gram matrix to high relative accuracy (Demmel and Veselic 1992). Rows and columns
// of zeros keep their unit vectors. Ends after 30 sweeps at the latest.
template <class Group, class Number>
VAEBIAS_SOLVER_INLINE void jacobi_eigenvectors(const Group& group, Number* a, Number* v, int m) {
  constexpr double epsilon = 2.220446049250313e-16;
  Number largest = {};
  for (int i = 0; i < m; ++i) {
    const Number size = magnitude(a[i * m + i]);
    largest = choose(size > largest, size, largest);
  }
  for (int i = group.lane(); i < m * m; i += Group::lanes) {
    v[i] = Number{} + (i / m == i % m ? 1.0 : 0.0);
  }
  group.sync();
  bool rotated = true;
  for (int sweep = 0; sweep < 30 && rotated; ++sweep) {
    rotated = false;
    for (int p = 0; p < m - 1; ++p) {
      for (int q = p + 1; q < m; ++q) {
        const Number app = a[p * m + p], aqq = a[q * m + q], apq = a[p * m + q];
        // Relative to the pair's own size, and never below what the whole matrix resolves.
        const Number own = epsilon * root(magnitude(app) * magnitude(aqq));
        const Number floor = epsilon * epsilon * largest;
        const auto matters = magnitude(apq) > choose(own > floor, own, floor);
        if (!any(matters)) continue;
        rotated = true;
        const Number theta = (aqq - app) / (2 * apq);
        const Number size = 1 / (magnitude(theta) + root(theta * theta + 1));
        const Number t = choose(matters, choose(theta < 0, -size, size), Number{});
        const Number c = 1 / root(t * t + 1), s = t * c;
        group.sync();  // every lane has read the pivot before one overwrites it
        for (int k = group.lane(); k < m; k += Group::lanes) {
          if (k != p && k != q) {
            const Number akp = a[k * m + p], akq = a[k * m + q];
            a[k * m + p] = a[p * m + k] = c * akp - s * akq;
            a[k * m + q] = a[q * m + k] = s * akp + c * akq;
          }
          const Number vkp = v[k * m + p], vkq = v[k * m + q];
          v[k * m + p] = c * vkp - s * vkq;
          v[k * m + q] = s * vkp + c * vkq;
        }
        if (group.lane() == 0) {
          a[p * m + p] = app - t * apq;
          a[q * m + q] = aqq + t * apq;
          a[p * m + q] = a[q * m + p] = choose(matters, Number{}, apq);
        }
        group.sync();
      }
    }
  }
}

// What the assignment works on, carved out of one piece of memory.
struct SolverSpace {
  double* gram;     // [m, m], its diagonal the eigenvalues
  double* vectors;  // [m, m], column j the j-th eigenvector
  double* row_potential;
  double* column_potential;
  double* shortest;
  int* order;   // [m] eigenvectors by descending eigenvalue
  int* row_of;  // [m + 1] the row assigned to each column
  int* previous;
  int* done;

  VAEBIAS_HOST_DEVICE static std::int64_t bytes(std::int64_t m) {
    return static_cast<std::int64_t>(sizeof(double)) * (2 * m * m + 3 * (m + 1)) +
           static_cast<std::int64_t>(sizeof(int)) * 4 * (m + 1);
  }
  // `elsewhere` holds the vectors where the memory has no room for them.
  VAEBIAS_HOST_DEVICE SolverSpace(void* memory, int m, double* elsewhere = nullptr) {
    gram = static_cast<double*>(memory);
    vectors = elsewhere ? elsewhere : gram + m * m;
    row_potential = gram + (elsewhere ? 1 : 2) * m * m;
    column_potential = row_potential + (m + 1);
    shortest = column_potential + (m + 1);
    order = reinterpret_cast<int*>(shortest + (m + 1));
    row_of = order + (m + 1);
    previous = row_of + (m + 1);
    done = previous + (m + 1);
  }
};

// Ranks eigenvalues, largest first. Ties keep their order, so that equal eigenvalues give one
// answer on every device.
template <class Group>
VAEBIAS_HOST_DEVICE inline void order_directions(const Group& group, const SolverSpace& space,
                                                 int m) {
  for (int i = group.lane(); i < m; i += Group::lanes) {
    const double own = space.gram[i * m + i];
    int rank = 0;
    for (int j = 0; j < m; ++j) {
      const double other = space.gram[j * m + j];
      rank += other > own || (other == own && j < i);
    }
    space.order[rank] = i;
  }
  group.sync();
}

// |entry| of V in the order of descending singular values: latent `row`, direction `column`.
VAEBIAS_HOST_DEVICE inline double directed(const SolverSpace& space, int m, int row, int column) {
  return space.vectors[row * m + space.order[column]];
}

// Gives each latent (row) its own direction (column) so that the sum of |V| is largest: shortest
// augmenting paths with potentials (Jonker and Volgenant 1987), O(m^3). Column m is the virtual
// start of each path. Leaves row_of[column].
template <class Group>
VAEBIAS_HOST_DEVICE inline void assign_directions(const Group& group, const SolverSpace& space,
                                                  int m) {
  for (int j = group.lane(); j <= m; j += Group::lanes) {
    space.row_potential[j] = space.column_potential[j] = 0;
    space.row_of[j] = -1;
  }
  group.sync();
  for (int row = 0; row < m; ++row) {
    for (int j = group.lane(); j <= m; j += Group::lanes) {
      space.shortest[j] = HUGE_VAL;
      space.previous[j] = m;
      space.done[j] = 0;
      if (j == m) space.row_of[j] = row;
    }
    group.sync();
    int column = m;
    while (space.row_of[column] >= 0) {
      const int from = space.row_of[column];
      group.sync();
      if (group.lane() == 0) space.done[column] = 1;
      group.sync();
      Least own{HUGE_VAL, m};
      for (int j = group.lane(); j < m; j += Group::lanes) {
        if (space.done[j]) continue;
        const double reduced = -fabs(directed(space, m, from, j)) - space.row_potential[from] -
                               space.column_potential[j];
        if (reduced < space.shortest[j]) {
          space.shortest[j] = reduced;
          space.previous[j] = column;
        }
        if (space.shortest[j] < own.value) own = {space.shortest[j], j};
      }
      const Least next = group.least(own);
      group.sync();  // every lane has read the potentials before one changes them
      for (int j = group.lane(); j <= m; j += Group::lanes) {
        if (space.done[j]) {
          space.row_potential[space.row_of[j]] += next.value;
          space.column_potential[j] -= next.value;
        } else {
          space.shortest[j] -= next.value;
        }
      }
      group.sync();
      column = next.index;
    }
    group.sync();  // every lane has seen the path end before one lane rewrites it
    // Hand the columns of the path on, one step back each.
    if (group.lane() == 0) {
      while (column != m) {
        const int before = space.previous[column];
        space.row_of[column] = space.row_of[before];
        column = before;
      }
    }
    group.sync();
  }
}

// Writes direction j into column j of v [d, d], signed so that the entry of the latent it was given
// to is positive, notes it as that latent's in permutation [d], and returns its squared distance
// from the latent's axis. latents [m] are the places of the active ones among all d.
template <class T>
VAEBIAS_HOST_DEVICE inline double place_direction(const SolverSpace& space, int m, int j,
                                                  const int* latents, std::int64_t d, T* v,
                                                  std::int64_t* permutation) {
  const int owner = space.row_of[j];
  const double sign = directed(space, m, owner, j) < 0 ? -1.0 : 1.0;
  double squared = 0;
  for (int i = 0; i < m; ++i) {
    const double entry = sign * directed(space, m, i, j);
    v[latents[i] * d + j] = static_cast<T>(entry);
    const double difference = entry - (i == owner ? 1.0 : 0.0);
    squared += difference * difference;
  }
  permutation[latents[owner]] = j;
  return squared;
}

}  // namespace vaebias

// From Jacobian to numbers on CUDA, in two launches. Blocks read the Jacobian of a point and leave
// its Gram; then a warp a point turns that into principal directions, by rotations of disjoint
// pairs at a time, and assigns them to latents (gram_solver.h).
#include <cmath>

#include "column_products.cuh"
#include "gram_solver.h"

namespace vaebias::cuda {
namespace {

struct Warp {
  static constexpr int lanes = 32;
  __device__ int lane() const { return static_cast<int>(threadIdx.x) % 32; }
  __device__ void sync() const { __syncwarp(); }
  // Every lane gets the least value; the lowest index among equals, as on the CPU.
  __device__ Least least(Least own) const {
    for (int step = 16; step > 0; step /= 2) {
      const Least other{__shfl_xor_sync(0xffffffffu, own.value, step),
                        __shfl_xor_sync(0xffffffffu, own.index, step)};
      if (other.value < own.value || (other.value == own.value && other.index < own.index))
        own = other;
    }
    return own;
  }
};

constexpr int kPoints = 4;  // a block of the second launch takes, a warp each
constexpr std::int64_t kSolverBytes = 40 * 1024;  // of shared memory: any GPU has them unasked

// Block (point, part of its Gram).
template <class S, class T>
__global__ void __launch_bounds__(kProductThreads, kProductBlocks)
    gram_kernel(const T* jacobian, bool latents_first, std::int64_t P, int d, int blocks, T* gram,
                double* exact) {
  const std::int64_t b = blockIdx.x / blocks;
  const T* const own = jacobian + b * P * d;
  const std::int64_t column_step = latents_first ? P : 1, pixel_step = latents_first ? 1 : d;
  gram_of_columns<S>(
      d, static_cast<int>(blockIdx.x % blocks), P,
      [&](int first) {
        return Columns<S, S::X, T>(own + first * column_step, d - first, P, column_step,
                                   pixel_step);
      },
      [&](int i, int j, double sum) {
        exact[(b * d + i) * d + j] = exact[(b * d + j) * d + i] = sum;
        gram[(b * d + i) * d + j] = gram[(b * d + j) * d + i] = static_cast<T>(sum);
      });
}

// One rotation of columns p and q, as jacobi_eigenvectors chooses it.
struct Rotation {
  double c, s;
  int p, q;
};

// Who meets whom in a round of n players, an even number, so that n - 1 rounds bring all together:
// one stays, the others move on by one seat (the circle method).
__device__ inline void pair_of_round(int round, int which, int n, int* p, int* q) {
  const auto seat = [&](int player) { return 1 + (player < n - 1 ? player : player - (n - 1)); };
  const int a = which == 0 ? 0 : seat(round + which - 1), b = seat(round + n - 2 - which);
  *p = min(a, b);
  *q = max(a, b);
}

// Four entries of `a` where two turned columns cross two turned rows, and their mirror images.
__device__ inline void turn_block(double* a, int m, const Rotation& x, const Rotation& y) {
  const bool has_xq = x.q < m, has_yq = y.q < m;
  const double pp = a[x.p * m + y.p], pq = has_yq ? a[x.p * m + y.q] : 0,
               qp = has_xq ? a[x.q * m + y.p] : 0, qq = has_xq && has_yq ? a[x.q * m + y.q] : 0;
  const double top_p = x.c * pp - x.s * qp, top_q = x.c * pq - x.s * qq;
  const double low_p = x.s * pp + x.c * qp, low_q = x.s * pq + x.c * qq;
  a[x.p * m + y.p] = a[y.p * m + x.p] = y.c * top_p - y.s * top_q;
  if (has_yq) a[x.p * m + y.q] = a[y.q * m + x.p] = y.s * top_p + y.c * top_q;
  if (has_xq) a[x.q * m + y.p] = a[y.p * m + x.q] = y.c * low_p - y.s * low_q;
  if (has_xq && has_yq) a[x.q * m + y.q] = a[y.q * m + x.q] = y.s * low_p + y.c * low_q;
}

// As jacobi_eigenvectors, but with the m/2 disjoint pairs of a round turned at the same time. The
// largest diagonal entry is between 1 and 4, so that no square that matters leaves the range of
// double. `rotations` holds m/2 of them, rounded up.
__device__ void jacobi_by_rounds(const Warp& warp, double* a, double* v, int m,
                                 Rotation* rotations) {
  constexpr double epsilon = 2.220446049250313e-16, square = epsilon * epsilon;
  const int n = m + m % 2, half = n / 2;  // an odd one out meets nobody, and is number m
  double largest = 0;
  for (int i = 0; i < m; ++i) largest = fmax(largest, fabs(a[i * m + i]));
  for (int i = warp.lane(); i < m * m; i += Warp::lanes) v[i] = i / m == i % m ? 1.0 : 0.0;
  warp.sync();
  // Which two pairs cross, and which pair turns which row of the vectors, is the same in all
  // rounds: a lane's first ones, and the steps to its next, so that no round divides.
  int first_x, first_y;
  pair_of(warp.lane(), &first_x, &first_y);
  const int pairs = max(half, 1), first_row = warp.lane() / pairs, first_pair = warp.lane() % pairs;
  const int more_rows = Warp::lanes / pairs, more_pairs = Warp::lanes % pairs;
  bool rotated = m > 1;
  for (int sweep = 0; sweep < 30 && rotated; ++sweep) {
    rotated = false;
    for (int round = 0; round < n - 1; ++round) {
      bool matters = false;
      double app = 0, aqq = 0, apq = 0, t = 0;
      Rotation own{1, 0, 0, m};
      if (warp.lane() < half) {
        pair_of_round(round, warp.lane(), n, &own.p, &own.q);
        if (own.q < m) {
          app = a[own.p * m + own.p], aqq = a[own.q * m + own.q], apq = a[own.p * m + own.q];
          matters = apq * apq > square * fmax(fabs(app * aqq), square * largest * largest);
        }
        if (matters) {
          const double difference = aqq - app, twice = 2 * apq;
          const double size = fabs(twice) / (fabs(difference) + sqrt(difference * difference +
                                                                     twice * twice));
          t = difference * apq < 0 ? -size : size;
          own.c = rsqrt(t * t + 1);
          own.s = t * own.c;
        }
        rotations[warp.lane()] = own;
      }
      if (!__any_sync(0xffffffffu, matters)) continue;
      rotated = true;
      warp.sync();
      for (int x = first_x, y = first_y; x + 1 < half;) {
        turn_block(a, m, rotations[x + 1], rotations[y]);
        for (y += Warp::lanes; y > x; ++x) y -= x + 1;
      }
      int pair = first_pair;
      for (int row = first_row; row < m; row += more_rows) {
        const Rotation turn = rotations[pair];
        if (turn.q < m) {
          double* const of_row = v + row * m;
          const double vp = of_row[turn.p], vq = of_row[turn.q];
          of_row[turn.p] = turn.c * vp - turn.s * vq;
          of_row[turn.q] = turn.s * vp + turn.c * vq;
        }
        pair += more_pairs;
        if (pair >= half) {
          pair -= half;
          ++row;
        }
      }
      if (matters) {
        a[own.p * m + own.p] = app - t * apq;
        a[own.q * m + own.q] = aqq + t * apq;
        a[own.p * m + own.q] = a[own.q * m + own.p] = 0;
      }
      warp.sync();
    }
  }
}

// Warp of point b: everything that follows from its Gram, `exact` [B, d, d].
// elsewhere: vectors [B, d, d], or null where shared memory holds them
template <class T>
__global__ void __launch_bounds__(kPoints * 32)
    solver_kernel(const double* exact, const std::uint8_t* active, std::int64_t B, std::int64_t P,
                  int d, int bytes_each, double* elsewhere, T* singular_values, T* v, T* distance,
                  std::int64_t* permutation, T* ima_contrast) {
  extern __shared__ double memory[];
  __shared__ int places[kPoints][kMaxColumns];
  __shared__ Rotation rotations[kPoints][kMaxColumns / 2];
  const Warp warp;
  const int which = static_cast<int>(threadIdx.x) / Warp::lanes;
  const std::int64_t b = static_cast<std::int64_t>(blockIdx.x) * (blockDim.x / Warp::lanes) + which;
  if (b >= B) return;
  int* const latents = places[which];
  const double* const own = exact + b * d * d;
  bool finite = true;
  for (int i = warp.lane(); i < d * d; i += Warp::lanes) finite = finite && isfinite(own[i]);
  const bool broken = __any_sync(0xffffffffu, !finite);
  int m = 0;
  for (int first = 0; first < d; first += Warp::lanes) {
    const int i = first + warp.lane();
    const bool counts = i < d && (!active || active[b * d + i]);
    const unsigned mask = __ballot_sync(0xffffffffu, counts);
    if (counts) latents[m + __popc(mask & ((1u << warp.lane()) - 1))] = i;
    m += __popc(mask);
  }
  if (m < d || broken) {
    const T blank = broken ? static_cast<T>(nan("")) : T(0);
    for (int i = warp.lane(); i < d * d; i += Warp::lanes) v[b * d * d + i] = blank;
    for (int i = warp.lane(); i < d; i += Warp::lanes) {
      singular_values[b * d + i] = blank;
      permutation[b * d + i] = -1;
    }
    if (broken) {
      if (warp.lane() == 0) distance[b] = ima_contrast[b] = blank;
      return;
    }
  }
  warp.sync();

  const SolverSpace space(reinterpret_cast<char*>(memory) + which * bytes_each, m,
                          elsewhere ? elsewhere + b * d * d : nullptr);
  double contrast = 0, largest = 0;
  for (int i = warp.lane(); i < m * m; i += Warp::lanes) {
    space.gram[i] = own[latents[i / m] * d + latents[i % m]];
    if (i / m == i % m) {
      contrast += log(space.gram[i]);
      largest = fmax(largest, space.gram[i]);
    }
  }
  const int exponent = even_exponent(warp_max(largest));
  const double down = ldexp(1.0, -exponent), up = ldexp(1.0, exponent);
  for (int i = warp.lane(); i < m * m; i += Warp::lanes) space.gram[i] *= down;
  warp.sync();
  jacobi_by_rounds(warp, space.gram, space.vectors, m, rotations[which]);
  order_directions(warp, space, m);
  assign_directions(warp, space, m);
  double squared_distance = 0;
  int dependent = m > P;  // whatever rounding leaves of an eigenvalue of zero
  for (int j = warp.lane(); j < m; j += Warp::lanes) {
    const double eigenvalue = up * fmax(0.0, space.gram[space.order[j] * (m + 1)]);
    dependent |= eigenvalue == 0;
    contrast -= log(eigenvalue);
    singular_values[b * d + j] = static_cast<T>(sqrt(eigenvalue));
    squared_distance +=
        place_direction(space, m, j, latents, d, v + b * d * d, permutation + b * d);
  }
  squared_distance = warp_sum(squared_distance);
  contrast = warp_sum(contrast) / 2;
  const bool infinite = __any_sync(0xffffffffu, dependent);
  if (warp.lane() == 0) {
    distance[b] = static_cast<T>(sqrt(squared_distance));
    ima_contrast[b] = static_cast<T>(infinite ? HUGE_VAL : fmax(0.0, contrast));
  }
}

}  // namespace

template <class T>
void gram_alignment(const T* jacobian, bool latents_first, const std::uint8_t* active,
                    std::int64_t B, std::int64_t P, std::int64_t d, double* workspace, T* gram,
                    T* singular_values, T* v, T* distance, std::int64_t* permutation,
                    T* ima_contrast, Stream stream) {
  if (B == 0) return;
  const int latents = static_cast<int>(d), blocks = gram_blocks(latents);
  if (latents > 0) {
    with_gram_shape(latents, latents_first && can_pack(P, jacobian), [&](auto shape) {
      gram_kernel<decltype(shape), T><<<blocks_for(B * blocks, 1), kProductThreads, 0,
                                        native(stream)>>>(jacobian, latents_first, P, latents,
                                                          blocks, gram, workspace);
    });
    check_launch("gram_alignment");
  }
  // Many latents leave shared memory no room for the vectors: they go into the workspace.
  std::int64_t each = (SolverSpace::bytes(d) + 15) / 16 * 16;
  double* const elsewhere = each > kSolverBytes ? workspace + B * d * d : nullptr;
  if (elsewhere) each -= static_cast<std::int64_t>(sizeof(double)) * d * d;
  const std::int64_t fit = kSolverBytes / each;
  const int points = static_cast<int>(fit < kPoints ? fit : kPoints);
  solver_kernel<<<blocks_for(B, points), points * 32, static_cast<std::size_t>(points * each),
                  native(stream)>>>(workspace, active, B, P, latents, static_cast<int>(each),
                                    elsewhere, singular_values, v, distance, permutation,
                                    ima_contrast);
  check_launch("gram_alignment");
}

VAEBIAS_FLOAT_AND_DOUBLE(gram_alignment)

}  // namespace vaebias::cuda

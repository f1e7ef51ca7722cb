// Every kernel: raw pointers, sizes, and where it runs. No Python, no torch.
//
// Letters: B batch, d latents, k factors, P pixels, N images, M stored images, H W height
// and width. T is float or double. Arrays are contiguous, last axis fastest; a pointer marked
// "or null" leaves that output (or input) out. Sizes may be zero.
//
// This is also the list of kernels: bindings.cpp includes it again with a VAEBIAS_KERNEL of its
// own, so it has no include guard, and a declaration here is all that binding one takes.
#include "contract.h"

// z = mu + exp(logvar/2) n and kl = (mu^2 + e^logvar - logvar - 1)/2, elementwise on size numbers.
// n is `noise`, or, where that is null, Philox normals of (seed, offset).
VAEBIAS_KERNEL(sample_and_kl, const T* mu, const T* logvar, const T* noise, std::uint64_t seed,
               std::uint64_t offset, std::int64_t size, T* z, T* kl)

// Gradients of the above from those of z and kl; draws n again.
VAEBIAS_KERNEL(sample_and_kl_backward, const T* mu, const T* logvar, const T* noise,
               std::uint64_t seed, std::uint64_t offset, std::int64_t size, const T* grad_z,
               const T* grad_kl, T* grad_mu, T* grad_logvar)

// The normals that sample_and_kl draws, of several seeds at once: normals [streams, size] of
// (seeds[i], *offset). Both lie in memory, so that a captured launch draws anew each time.
VAEBIAS_KERNEL(philox_normal, const std::int64_t* seeds, const std::int64_t* offset,
               std::int64_t streams, std::int64_t size, T* normals)

// Negative log-likelihood of each row and, in the same pass, `weight` times its gradient.
// prediction [B, P], not of bytes; target [B, P] of T, of bytes, or stored as the prediction;
// nll [B], NaN where a Bernoulli target lies outside [0, 1] by more than kTargetTolerance;
// gradient [B, P], stored as the prediction, or null; `scale` is the width of the normal and unused
// by Bernoulli. workspace [B (max(1, ceil(P / kPiece)) + 1) + 1].
VAEBIAS_KERNEL(nll, const void* prediction, Storage predictions, const void* target,
               Storage targets, std::int64_t B, std::int64_t P, Likelihood likelihood, double scale,
               double weight, double* workspace, T* nll, void* gradient)

// Multiplies rows [B, P], stored as said (not as bytes), by a factor each, [B], or all by factors[0]
// where `shared`. Rows whose factor is 1 are neither read nor written.
VAEBIAS_KERNEL(scale_rows, void* rows, Storage stored, const T* factors, bool shared,
               std::int64_t B, std::int64_t P)

// The fused loss mean_b(reconstruction_b + beta sum_j kl_bj), with its gradients already over B.
// As nll, with mu, logvar [B, d]; loss []; reconstruction [B]; kl, grad_mu, grad_logvar [B, d].
// The three gradients are written together, or left out (all null).
VAEBIAS_KERNEL(elbo, const void* prediction, Storage predictions, const void* target,
               Storage targets, const T* mu, const T* logvar, std::int64_t B, std::int64_t P,
               std::int64_t d, Likelihood likelihood, double scale, double beta, double* workspace,
               T* loss, T* reconstruction, T* kl, void* gradient, T* grad_mu, T* grad_logvar)

// KL(N(mu, e^logvar) || Laplace(previous, 1/rate)), elementwise on size numbers, and in the same
// pass its slopes in mu (that in previous is its negative) and logvar, both or neither (null).
VAEBIAS_KERNEL(laplace_kl, const T* mu, const T* logvar, const T* previous, double rate,
               std::int64_t size, T* kl, T* slope_mu, T* slope_logvar)

// Densities of the batch under its own aggregate posterior, where density_ij of z_i under
// posterior j is N(z_i; mu_j, e^logvar_j), for all latents at once or one by one:
// log_qz[i] = log sum_j W_ij prod_l density_ijl, log_prod_qz[i] = sum_l log sum_j W_ij density_ijl.
// log W_ij = others + own where j = i, + next where j = i + 1 mod B, + 0 elsewhere.
// z, mu, logvar [B, d]; log_qz, log_prod_qz [B]; normalisers [d + 1, B]: each latent's log sum and
// last that of all at once, without `others` and log(2 pi)/2, as the backward pass takes them;
// slopes [2, B, d] or null: those of log_qz, then of log_prod_qz, in z.
// workspace [total_correlation_spans(B), B, 4 d + 2], used on CUDA only.
VAEBIAS_KERNEL(total_correlation, const T* z, const T* mu, const T* logvar, std::int64_t B,
               std::int64_t d, double own, double next, double others, double* workspace, T* log_qz,
               T* log_prod_qz, T* normalisers, T* slopes)

// Gradients [B, d] from grad_qz, grad_prod [B]. grad_z weighs the slopes of the forward pass; both
// are null where it is not wanted. For grad_mu and grad_logvar, null together, each posterior sums
// over the rows that it explains, so that no two threads write to one place.
// workspace [total_correlation_spans(B), 2, B, d], used on CUDA only, with grad_mu.
VAEBIAS_KERNEL(total_correlation_backward, const T* z, const T* mu, const T* logvar,
               const T* normalisers, const T* slopes, const T* grad_qz, const T* grad_prod,
               std::int64_t B, std::int64_t d, double own, double next, double* workspace,
               T* grad_z, T* grad_mu, T* grad_logvar)

// Population variance in the odd `window` around each pixel of N planes.
// images [N, H, W] of T or bytes; variance [N, H', W'], H' = H, or H - window + 1 where
// the border is `valid`.
VAEBIAS_KERNEL(local_variance, const void* images, bool images_are_bytes, std::int64_t N,
               std::int64_t H, std::int64_t W, std::int64_t window, Border border, T* variance)

// grad_images [N, H, W] from grad_variance [N, H', W']. workspace [3, N, H, W], used on CUDA only.
VAEBIAS_KERNEL(local_variance_backward, const T* images, const T* grad_variance, std::int64_t N,
               std::int64_t H, std::int64_t W, std::int64_t window, Border border,
               double* workspace, T* grad_images)

// gram[n,a,b] = t_a . t_b with t_a = (images[plus[n,a]] - images[minus[n,a]]) * inverse_steps[n,a].
// images [M, P] of T or bytes; plus, minus [N, k]; inverse_steps [N, k], one over the steps between
// the two, where 0 means no tangent and its indices are not looked at. An index outside [0, M)
// makes its row and column NaN.
VAEBIAS_KERNEL(tangent_gram, const void* images, bool images_are_bytes, const std::int64_t* plus,
               const std::int64_t* minus, const T* inverse_steps, std::int64_t M, std::int64_t N,
               std::int64_t k, std::int64_t P, T* gram)

// grad_images [M, P] from weight = grad_gram + its transpose [N, k, k]. uses[starts[m] :
// starts[m+1]] lists where image m stands, as 2 (n k + a) + (0 as plus, 1 as minus), ascending:
// each image sums its own uses, so that no two threads write to one place.
VAEBIAS_KERNEL(tangent_gram_backward, const T* images, const std::int64_t* plus,
               const std::int64_t* minus, const T* inverse_steps, const T* weight,
               const std::int64_t* uses, const std::int64_t* starts, std::int64_t M, std::int64_t N,
               std::int64_t k, std::int64_t P, T* grad_images)

// From Jacobians to numbers. jacobian [B, P, d], or [B, d, P] where latents_first;
// active [B, d] bytes or null (all). gram [B, d, d] of all columns; the rest is about the active
// ones, m of them: singular_values [B, d] descending, then zeros; v [B, d, d], whose columns are
// the right singular vectors in that order, zero elsewhere; permutation [B, d], the singular
// vector given to each latent, -1 where passive, signs of v such that its entry is positive;
// distance [B] = |V - P(V)|_F; ima_contrast [B], infinite where active columns are dependent, as
// more than P of them are. A Jacobian with NaN or infinity gives NaN and permutation -1.
// d <= kMaxColumns. workspace [2, B, d, d], used on CUDA only.
VAEBIAS_KERNEL(gram_alignment, const T* jacobian, bool latents_first, const std::uint8_t* active,
               std::int64_t B, std::int64_t P, std::int64_t d, double* workspace, T* gram,
               T* singular_values, T* v, T* distance, std::int64_t* permutation, T* ima_contrast)

// cosines[b,i,a] between column i of a Jacobian and component a, 0 where either vanishes.
// jacobian [B, P, d], or [B, d, P] where latents_first; components [B, k, P]; cosines [B, d, k];
// norms [B, d + k]: Euclidean, of the columns and then the components.
VAEBIAS_KERNEL(direction_cosines, const T* jacobian, bool latents_first, const T* components,
               std::int64_t B, std::int64_t P, std::int64_t d, std::int64_t k, T* cosines, T* norms)

"""The kernels as plain PyTorch operators, each with its reference beside it.

Every operator runs on CPU and CUDA, supports autograd and torch.compile, and is defined by
``<name>_reference``, a few lines of torch in the same module.
"""

from vaebias.ops._native import build_info
from vaebias.ops.direction_cosines import direction_cosines
from vaebias.ops.elbo import Elbo, elbo
from vaebias.ops.gram_alignment import GramAlignment, gram_alignment
from vaebias.ops.laplace_kl import laplace_kl
from vaebias.ops.local_variance import local_variance
from vaebias.ops.nll import bernoulli_nll, gaussian_nll
from vaebias.ops.sample_and_kl import sample_and_kl
from vaebias.ops.tangent_gram import tangent_gram
from vaebias.ops.total_correlation import total_correlation

__all__ = [
    "Elbo",
    "GramAlignment",
    "bernoulli_nll",
    "build_info",
    "direction_cosines",
    "elbo",
    "gaussian_nll",
    "gram_alignment",
    "laplace_kl",
    "local_variance",
    "sample_and_kl",
    "tangent_gram",
    "total_correlation",
]

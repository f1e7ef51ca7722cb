"""The kernels as plain PyTorch operators, each with its reference beside it.

Every operator runs on CPU and CUDA, knows autograd and torch.compile, and has a
``reference`` of a few torch lines in its own module that defines it.
"""

from vaebias.ops._native import build_info
from vaebias.ops.alignment import GramAlignment, gram_alignment
from vaebias.ops.elbo import Elbo, bernoulli_nll, elbo, gaussian_nll, sample_and_kl
from vaebias.ops.local_variance import local_variance
from vaebias.ops.tangent_gram import tangent_gram

__all__ = [
    "Elbo",
    "GramAlignment",
    "bernoulli_nll",
    "build_info",
    "elbo",
    "gaussian_nll",
    "gram_alignment",
    "local_variance",
    "sample_and_kl",
    "tangent_gram",
]

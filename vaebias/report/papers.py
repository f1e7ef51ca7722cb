"""The papers that pages cite, with their addresses."""

from __future__ import annotations

__all__ = ["CHEN2018", "GRESELE2021", "HYVARINEN2017", "ROLINEK2019", "ZIETLOW2021"]

ZIETLOW2021 = (
    "Zietlow, Rolinek and Martius, “Demystifying inductive biases for (beta-)VAE based "
    "architectures”, ICML 2021: the effect and the mixing of local components.",
    "https://doi.org/10.48550/arXiv.2102.06822",
)
ROLINEK2019 = (
    "Rolinek, Zietlow and Martius, “Variational autoencoders pursue PCA directions (by "
    "accident)”, CVPR 2019: distance to orthogonality.",
    "https://doi.org/10.48550/arXiv.1812.06775",
)
CHEN2018 = (
    "Chen, Li, Grosse and Duvenaud, “Isolating sources of disentanglement in variational "
    "autoencoders”, NeurIPS 2018: MIG.",
    "https://doi.org/10.48550/arXiv.1802.04942",
)
HYVARINEN2017 = (
    "Hyvärinen and Morioka, “Nonlinear ICA of temporally dependent stationary sources”, "
    "AISTATS 2017: PCL.",
    "https://proceedings.mlr.press/v54/hyvarinen17a.html",
)
GRESELE2021 = (
    "Gresele et al., “Independent mechanism analysis, a new concept?”, NeurIPS 2021: c_IMA.",
    "https://doi.org/10.48550/arXiv.2106.05200",
)

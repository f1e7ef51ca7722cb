# ---
# jupyter:
#   jupytext:
#     formats: py:percent
# ---

# %% [markdown]
# # Diagnose a decoder of your own
#
# Any function from latents to images can be diagnosed. This one is built so that the answer is
# known: its latents are first the factors x and y of a blob, then the same two turned by 45°.

# %%
import math

import torch

from vaebias import analysis

SIZE = 24


def blob(z: torch.Tensor) -> torch.Tensor:
    """Draw a soft blob at (x, y) = z, [B, 2] -> [B, 1, 24, 24]."""
    place = torch.linspace(-3, 3, SIZE)
    x = torch.exp(-((place - z[:, :1]) ** 2))
    y = torch.exp(-((place - 1.5 * z[:, 1:]) ** 2))
    return (y[:, :, None] * x[:, None, :])[:, None]


# %% [markdown]
# The distance to orthogonality (DtO) is near 0 for latents that move along the decoder's own
# principal directions, and near its chance level for random ones.

# %%
torch.manual_seed(0)
points = 0.5 * torch.randn(64, 2)
print(analysis.diagnose(blob, points, output="image").summary())

# %%
half = math.sqrt(0.5)
turn = torch.tensor([[half, -half], [half, half]])
turned = analysis.diagnose(lambda z: blob(z @ turn), points, output="image")
print(turned.summary())

# ---
# jupyter:
#   jupytext:
#     formats: py:percent
# ---

# %% [markdown]
# # Would a VAE's axes be the factors of my data?
#
# A data set is a grid: an image for each combination of factor levels. The answer needs no
# training.

# %%
import numpy as np

from vaebias import data, perturb, structure

width, height = np.linspace(2, 5, 12), np.linspace(3, 6, 12)
y, x = np.mgrid[-8:8, -8:8] + 0.5
radius = (x / width[:, None, None, None]) ** 2 + (y / height[None, :, None, None]) ** 2
images = (1 / (1 + np.exp(4 * (radius - 1)))).astype(np.float32)

axes = [data.Factor("width", width), data.Factor("height", height)]
grid = data.ArrayGrid("ellipses", axes, images.reshape(144, 1, 16, 16), "rendered")

# %% [markdown]
# At how many images do the local principal components mix the factors, and what would a VAE do?

# %%
print(structure.structure(grid).to_json()["mixed_share"])
print(structure.price(grid, beta=4, likelihood="gaussian", scale=0.1).verdict)

# %% [markdown]
# A version of the same data in which they are mixtures: a small pattern, the factors intact.

# %%
pattern = perturb.gram(grid, [("width", "height")], epsilon=0.2, steps=300)
modified = perturb.PerturbedGrid(grid, pattern)
print(structure.structure(modified).to_json()["mixed_share"])
print(structure.price(modified, beta=4, likelihood="gaussian", scale=0.1).verdict)

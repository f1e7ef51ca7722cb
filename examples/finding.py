# ---
# jupyter:
#   jupytext:
#     formats: py:percent
# ---

# %% [markdown]
# # The finding, in twenty lines
#
# The same model and the same factors, on images whose local principal components are the factors
# and on images where they are mixtures. `STEPS` is what the demo uses; with fewer the score of
# the original is lower too.

# %%
import os

from vaebias import data, metrics, models, perturb, training

STEPS = int(os.environ.get("STEPS", "4500"))
grid = data.load("blobs")
vae = {"beta": 8, "likelihood": "gaussian", "scale": 0.113}
pattern = perturb.priced(grid, [("x", "y")], epsilon=0.2, seed=0, **vae)
versions = {
    "original": perturb.PerturbedGrid(grid, None, 0.2),
    "modified": perturb.PerturbedGrid(grid, pattern),
    "noise": perturb.PerturbedGrid(grid, perturb.noise(grid, 0.2, seed=0)),
}

# %%
for name, images in versions.items():
    model = models.build("beta_vae", grid.image_shape, 5, seed=0, **vae)
    training.fit(model, images, STEPS, 64, 5e-3, seed=0, schedule="one-cycle")
    codes = training.encode_grid(model, images)[0]
    score = metrics.mig(codes, images.factors(range(len(images))), names=images.names)
    print(f"{name}: MIG {score.score:.2f}")

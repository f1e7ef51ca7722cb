"""A user's script, type-checked by `make lint`: README's lines pass, mistakes do not.

Strict mypy refuses an ignore that ignores nothing, so each ``type: ignore`` below is an error
that a user would see.
"""

from vaebias import analysis, data, metrics, models, perturb, training

grid = data.load("blobs")  # or "dsprites"
mixing = perturb.priced(  # a small learned pattern
    grid, [("x", "y")], epsilon=0.2, beta=8, likelihood="gaussian", scale=0.113
)
grid = perturb.PerturbedGrid(grid, mixing)  # a factor grid like any other
model = models.build("beta_vae", grid.image_shape, 5, beta=8, likelihood="gaussian", scale=0.113)
training.fit(model, grid, 3000, 128, 2e-3, seed=0, schedule="one-cycle")
codes = training.encode_grid(model, grid)[0]
print(metrics.mig(codes, grid.factors(range(len(grid))), names=grid.names).per_factor)
diagnosis = analysis.diagnose(model.decode, encoder=model.encode, data=grid, output=model.output)
print(diagnosis.summary())

factors = grid.factors(range(len(grid)))
score: float = metrics.sap(codes, factors, continuous=True).score
matrix = metrics.dci(codes, factors, estimator="histgbt").importance.sum(0)
spread: float | None = metrics.evaluate(codes, factors, metrics=["mig"]).scores["mig"].std
metrics.mig(codes, factors, binz=3)  # type: ignore[call-arg]
metrics.dci(codes, factors, estimator="forest")  # type: ignore[arg-type]
print(metrics.mig(codes, factors).per_facto)  # type: ignore[attr-defined]

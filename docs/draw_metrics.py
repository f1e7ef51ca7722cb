"""Draw docs/metrics.png: what each score says of the same codes, spoilt in five ways.

python docs/draw_metrics.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from vaebias import metrics

SCORES = (
    *("mig", "sap", "dci", "dci.completeness", "dci.informativeness", "factor_vae_score"),
    *("beta_vae_score", "modularity", "explicitness", "irs", "infomec", "infomec.compactness"),
    *("infomec.explicitness", "mcc"),
)
ROWS = 6000


def main() -> None:
    """Score aligned, rotated, pruned, noisy and dead codes; draw the scores as a table."""
    versions = codes(np.random.default_rng(0))
    factors = versions.pop("factors")
    found = {}
    for name, table in versions.items():
        one = metrics.evaluate(table, factors, "fast", 3, jobs=1)
        found[name] = [one.scores[score].mean for score in SCORES]
        print(name, dict(zip(SCORES, np.round(found[name], 2), strict=True)), flush=True)
    values = np.array(list(found.values())).T
    figure = Figure(figsize=(5.4, 5.2), layout="constrained")
    ax = figure.subplots()
    ax.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for i, j in np.ndindex(values.shape):
        colour = "black" if values[i, j] > 0.55 else "white"
        ax.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", fontsize=8, color=colour)
    ax.set_xticks(range(len(found)), list(found))
    ax.set_yticks(range(len(SCORES)), SCORES)
    ax.tick_params(length=0, labelsize=9, labeltop=True, labelbottom=False)
    out = Path(__file__).with_name("metrics.png")
    figure.savefig(out, dpi=110)
    print(out)


def codes(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Three standardised factors of 8, 8 and 4 classes; three codes of them and two of noise."""
    factors = np.stack([rng.integers(size, size=ROWS) for size in (8, 8, 4)], 1)
    aligned = (factors - factors.mean(0)) / factors.std(0)
    spare = 0.05 * rng.normal(size=(ROWS, 2))
    turned = aligned.copy()
    turned[:, :2] = aligned[:, :2] @ np.array([[1, 1], [1, -1]]) / np.sqrt(2)
    dead = 0.05 * rng.normal(size=aligned.shape)
    versions = {
        "aligned": aligned,
        "rotated": turned,
        "pruned": np.concatenate([aligned[:, :2], dead[:, 2:]], 1),
        "noisy": aligned + 0.5 * rng.normal(size=aligned.shape),
        "dead": dead,
    }
    tables = {name: np.concatenate([table, spare], 1) for name, table in versions.items()}
    return {"factors": factors} | tables


if __name__ == "__main__":
    main()

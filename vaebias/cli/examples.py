"""Example command lines, shown at the end of each command's help."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["EXAMPLES"]

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "agree": (
        "vaebias agree out",
        "vaebias agree runs/seed-0 runs/seed-1 --data dsprites --json",
    ),
    "align": (
        "vaebias align example",
        "vaebias align runs/model.safetensors --data dsprites",
        "vaebias align --model my_module:build --weights my.pt --data dsprites",
        "vaebias align VAE_dsprites betaH_dsprites --data dsprites --html align.html",
    ),
    "data": (
        "vaebias data list",
        "vaebias data show shapes3d --out sheet.png",
        "vaebias data export dsprites --restrict shape=2 --out hearts.npz",
        "vaebias data export blobs-modified-v1 --out modified.h5",
        "vaebias data card blobs-modified-v1-a blobs-noise-v1-a",
    ),
    "demo": ("vaebias demo", "vaebias demo --seeds 0..9 --jobs 8 --out demo-10"),
    "doctor": ("vaebias doctor",),
    "evaluate": (
        "vaebias evaluate runs --data dsprites",
        "vaebias evaluate codes.npz --metrics mig,dci --repeats 10 --json",
    ),
    "perturb": (
        "vaebias perturb dsprites --out mixed.safetensors --verify",
        "vaebias perturb blobs --pairs x+y --epsilon 0.2 --method pattern --out m.safetensors",
    ),
    "predict": (
        "vaebias predict out --figure turns.svg",
        "vaebias predict studies/prediction-16x16 studies/prediction-16x8 --json",
    ),
    "report": ("vaebias report studies/blobs studies/dsprites --out report.html",),
    "reproduce": (
        "vaebias reproduce zietlow2021 --dry-run",
        "vaebias reproduce zietlow2021 --budget small --out reproduce",
    ),
    "rescore": ("vaebias rescore out", "vaebias rescore studies/blobs studies/dsprites"),
    "structure": (
        "vaebias structure dsprites --sample 4000",
        "vaebias structure dsprites --perturbation mixed.safetensors --html structure.html",
    ),
    "sweep": (
        "vaebias sweep small-blobs --out out --dry-run",
        "vaebias sweep mine.toml --out out --seeds 0..9 --jobs 8",
    ),
    "table": ("vaebias table out", "vaebias table out --format latex"),
    "train": (
        "vaebias train --model beta_vae --set beta=8 --data dsprites --steps 300000 --out runs",
        "vaebias train --model pcl --data blobs --latents 3 --steps 3000 --seeds 0..9 --out pcl",
    ),
}

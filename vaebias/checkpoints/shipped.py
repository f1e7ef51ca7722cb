"""A trained checkpoint that is included in vaebias, for trying commands."""

from __future__ import annotations

from pathlib import Path

__all__ = ["EXAMPLE", "example"]

EXAMPLE = "beta_vae_blobs"


def example() -> Path:
    """Return the path of the checkpoint that is included in vaebias.

    A beta-VAE (beta 8, dense networks, 5 latents of which 3 are active) on the original images of
    the protocol ``small-blobs``, seed 0: ``vaebias sweep small-blobs --models beta-VAE --seeds 0``.
    """
    return Path(__file__).parent / "examples" / f"{EXAMPLE}.safetensors"

"""Modified data sets that are the same for everyone: shipped perturbations, with checksums."""

from vaebias.perturb.canonical.card import CardTable, DataCard, card_tables, data_card
from vaebias.perturb.canonical.sets import (
    CANONICAL,
    CanonicalSet,
    PixelCheck,
    canonical,
    check_pixels,
    pixel_digest,
)
from vaebias.perturb.canonical.shipped import shipped

__all__ = [
    "CANONICAL",
    "CanonicalSet",
    "CardTable",
    "DataCard",
    "PixelCheck",
    "canonical",
    "card_tables",
    "check_pixels",
    "data_card",
    "pixel_digest",
    "shipped",
]

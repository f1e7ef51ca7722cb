"""How far codes are disentangled, by the scores of the field: one file a score."""

from vaebias.metrics.information import discretise, entropy, mutual_information
from vaebias.metrics.metric import METRICS, Score
from vaebias.metrics.mig import Mig, mig

__all__ = [
    "METRICS",
    "Mig",
    "Score",
    "discretise",
    "entropy",
    "mig",
    "mutual_information",
]

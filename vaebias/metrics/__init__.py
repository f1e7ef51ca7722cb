"""Disentanglement metrics: one file for each."""

from vaebias.metrics.beta_vae_score import BetaVaeScore, beta_vae_score
from vaebias.metrics.dci import Dci, dci
from vaebias.metrics.dci_es import DciEs, dci_es
from vaebias.metrics.effective_rank import EffectiveRank, effective_rank
from vaebias.metrics.evaluate import evaluate
from vaebias.metrics.evaluation import Evaluation, Summary
from vaebias.metrics.explicitness import Explicitness, explicitness
from vaebias.metrics.factor_vae_score import FactorVaeScore, factor_vae_score
from vaebias.metrics.gaussian_tc import GaussianTc, gaussian_tc
from vaebias.metrics.infomec import Infomec, infomec
from vaebias.metrics.information import discretise, entropy, mutual_information
from vaebias.metrics.irs import Irs, irs
from vaebias.metrics.latent_kl import LatentKl, latent_kl
from vaebias.metrics.mcc import Mcc, mcc
from vaebias.metrics.metric import METRICS, Result, Score
from vaebias.metrics.mig import Mig, mig
from vaebias.metrics.modularity import Modularity, modularity
from vaebias.metrics.over_pruning import OverPruning, over_pruning
from vaebias.metrics.panels import PANELS
from vaebias.metrics.reconstruction import Reconstruction, reconstruction
from vaebias.metrics.rotation_test import RotationTest, rotation_test
from vaebias.metrics.sap import Sap, sap
from vaebias.metrics.seed_agreement import SeedAgreement, seed_agreement
from vaebias.metrics.tables import SUFFIXES as TABLE_SUFFIXES
from vaebias.metrics.udr import Udr, udr

__all__ = [
    "METRICS",
    "PANELS",
    "TABLE_SUFFIXES",
    "BetaVaeScore",
    "Dci",
    "DciEs",
    "EffectiveRank",
    "Evaluation",
    "Explicitness",
    "FactorVaeScore",
    "GaussianTc",
    "Infomec",
    "Irs",
    "LatentKl",
    "Mcc",
    "Mig",
    "Modularity",
    "OverPruning",
    "Reconstruction",
    "Result",
    "RotationTest",
    "Sap",
    "Score",
    "SeedAgreement",
    "Summary",
    "Udr",
    "beta_vae_score",
    "dci",
    "dci_es",
    "discretise",
    "effective_rank",
    "entropy",
    "evaluate",
    "explicitness",
    "factor_vae_score",
    "gaussian_tc",
    "infomec",
    "irs",
    "latent_kl",
    "mcc",
    "mig",
    "modularity",
    "mutual_information",
    "over_pruning",
    "reconstruction",
    "rotation_test",
    "sap",
    "seed_agreement",
    "udr",
]

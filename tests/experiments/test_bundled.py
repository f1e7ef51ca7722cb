"""The protocols that come with vaebias."""

from __future__ import annotations

import pytest

from vaebias.experiments.protocol import Protocol, bundled, load_protocol
from vaebias.experiments.running.estimate import estimate
from vaebias.experiments.running.run import check, variant_grid
from vaebias.perturb.canonical import CANONICAL, pixel_digest, shipped

PAPER = {"AE", "beta-VAE", "FactorVAE", "beta-TCVAE", "SlowVAE", "PCL", "weak GAN"}


@pytest.mark.parametrize("name", bundled())
def test_protocol_names_only_what_exists_and_no_run_twice(name: str) -> None:
    protocol = load_protocol(name)
    assert protocol.name == name
    check(protocol)
    runs = protocol.runs()
    assert len({run.key for run in runs}) == len(runs)
    assert len({run.label for run in runs}) == len(runs)


@pytest.mark.parametrize("name", bundled())
def test_shipped_variants_have_the_pixels_of_canonical_sets(name: str) -> None:
    protocol = load_protocol(name)
    for spec, variant in protocol.versions():
        if variant.method == "shipped":
            grid = protocol.data.load()
            made = variant_grid(grid, spec, shipped(grid, spec.epsilon, **variant.options))
            assert pixel_digest(made) in {one.pixels for one in CANONICAL.values()}


@pytest.mark.parametrize("name", bundled())
def test_time_is_estimated_from_a_few_real_steps(name: str) -> None:
    protocol = load_protocol(name)
    one = protocol.with_models((protocol.models[0].name,))
    found = estimate(one, steps=3)
    assert found.step.keys() == {model.name for model in one.models}
    assert found.total == pytest.approx(sum(found.seconds(run) for run in one.runs()))
    assert found.total > 0
    assert len(found.to_json()["runs"]) == len(one.runs())


@pytest.mark.parametrize(
    ("name", "epsilon", "latents"), [("paper-dsprites", 0.1, 5), ("paper-shapes3d", 0.175, 6)]
)
def test_papers_grid_is_complete(name: str, epsilon: float, latents: int) -> None:
    protocol = load_protocol(name)
    assert {model.name for model in protocol.models} == PAPER
    assert {(m.steps, m.latents) for m in protocol.models} == {(300_000, latents)}
    assert len(protocol.seeds) == 10
    assert [variant.name for variant in protocol.variants] == ["original", "modified", "noise"]
    assert protocol.perturbation.epsilon == epsilon


@pytest.mark.parametrize(
    "name", ["paper-dsprites", "paper-shapes3d", "small-blobs", "small-dsprites", "small-shapes3d"]
)
def test_models_of_the_paper_have_equal_latents_and_its_authors_losses(name: str) -> None:
    papers = [model for model in load_protocol(name).models if model.name in PAPER]
    assert {model.name for model in papers} == PAPER
    assert len({model.latents for model in papers}) == 1
    (slow,) = (model for model in papers if model.objective == "slow_vae")
    assert slow.options["official"] is True


def _weight(protocol: Protocol, epsilon: float) -> set[float]:
    """Weights of the squared error of original images at an epsilon."""
    return {
        round((1 + 2 * epsilon) ** -2 / (2 * run.model.options["scale"] ** 2), 6)
        for run in protocol.runs()
        if run.perturbation.epsilon == epsilon and "scale" in run.model.options
    }


@pytest.mark.parametrize("name", ["small-blobs", "line-search", "epsilon", "noise-level"])
def test_squared_error_weighs_the_same_at_every_epsilon(name: str) -> None:
    protocol = load_protocol(name)
    for epsilon in protocol.perturbation.epsilons or (protocol.perturbation.epsilon,):
        assert _weight(protocol, epsilon) == {20.0}


def test_line_search_meets_the_study_of_the_toy_at_one() -> None:
    ours = {run.key for run in load_protocol("small-blobs").runs()}
    line = [run for run in load_protocol("line-search").runs() if run.model.strengths == (1.0,)]
    assert len(line) == 4 * 2 * 10
    assert {run.key for run in line} <= ours

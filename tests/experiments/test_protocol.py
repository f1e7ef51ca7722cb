from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vaebias.errors import InputError, UnknownNameError
from vaebias.experiments.protocol import ModelSpec, Protocol, VariantSpec, load_protocol
from vaebias.experiments.run import check


def test_demo_protocol_names_only_what_exists() -> None:
    check(load_protocol("demo"))


def test_demo_protocol_crosses_variants_models_and_seeds() -> None:
    protocol = load_protocol("demo")
    runs = protocol.runs()
    assert len(runs) == 3 * 2 * 3
    assert len({run.key for run in runs}) == len(runs)
    assert [variant.name for variant in protocol.variants] == ["original", "modified", "noise"]


def test_protocol_weighs_the_squared_error_as_on_images_that_are_not_rescaled() -> None:
    protocol = load_protocol("demo")
    scale = protocol.models[0].options["scale"]
    weight = 20 * (1 + 2 * protocol.perturbation.epsilon) ** 2
    assert 1 / (2 * scale**2) == pytest.approx(weight, rel=1e-12)


def test_key_depends_on_the_configuration_and_not_on_labels(tiny: Protocol) -> None:
    run = tiny.runs()[0]
    relabelled = replace(
        run,
        variant=replace(run.variant, name="other"),
        model=replace(run.model, name="other"),
    )
    assert relabelled.key == run.key
    assert replace(run, seed=5).key != run.key
    assert replace(run, model=replace(run.model, steps=4)).key != run.key


def test_key_is_the_same_in_every_process_and_release(tiny: Protocol) -> None:
    # Pinned: a change here orphans the finished runs of everyone's studies.
    assert tiny.runs()[0].key == "e9c8bbf14f833ad3"


def test_options_in_another_order_are_the_same_run(tiny: Protocol) -> None:
    run = tiny.runs()[0]
    turned = dict(reversed(list(run.model.options.items())))
    assert replace(run, model=replace(run.model, options=turned)).key == run.key


def test_configuration_is_json(tiny: Protocol) -> None:
    assert json.loads(json.dumps(tiny.to_json()))["name"] == "tiny"


def test_seeds_and_steps_can_be_replaced(tiny: Protocol) -> None:
    changed = tiny.with_seeds((7,)).with_steps(11)
    assert {(run.seed, run.model.steps) for run in changed.runs()} == {(7, 11)}


def test_unknown_protocol_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown protocol 'nope'; known: .*demo"):
        load_protocol("nope")


def test_protocol_from_a_file_names_it_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nsteps = 3\n')
    with pytest.raises(InputError, match=r"mine\.toml: steps: expected a key among name, "):
        load_protocol(path)
    with pytest.raises(InputError, match="a file that can be read"):
        load_protocol(tmp_path / "absent.toml")


def test_names_may_not_repeat(tiny: Protocol) -> None:
    with pytest.raises(InputError, match="variants: expected each only once, found 'original' 2"):
        replace(tiny, variants=(tiny.variants[0], tiny.variants[0]))
    with pytest.raises(InputError, match="seeds: expected at least one, found none"):
        tiny.with_seeds(())


def test_values_out_of_range_are_refused(tiny: Protocol) -> None:
    with pytest.raises(InputError, match=r"perturbation\.epsilon: expected in \(0, 1\]"):
        replace(tiny, perturbation=replace(tiny.perturbation, epsilon=0.0))
    with pytest.raises(InputError, match=r"models\.beta-VAE\.steps"):
        tiny.with_steps(0)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        (VariantSpec("v", "magic"), "unknown perturbation 'magic'; known: gram, learned, noise"),
        (VariantSpec("v", "noise", {"sede": 1}), r"variants\.v\.options: expected options among"),
        (VariantSpec("v", "noise", {"epsilon": 1}), r"variants\.v\.options: expected options"),
        (VariantSpec("v", "none", {"seed": 1}), r"variants\.v\.options: expected none"),
    ],
)
def test_variant_that_cannot_be_is_found_before_training(
    tiny: Protocol, variant: VariantSpec, message: str
) -> None:
    with pytest.raises((InputError, UnknownNameError), match=message):
        check(replace(tiny, variants=(variant,)))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ModelSpec("m", "magic", 2, 1), "unknown model 'magic'"),
        (ModelSpec("m", "beta_vae", 2, 1, options={"betta": 1}), "betta"),
        (ModelSpec("m", "pcl", 2, 1), r"models\.m\.rate: expected a value"),
        (ModelSpec("m", "beta_vae", 2, 1, rate=3.0), r"models\.m\.rate: expected none"),
    ],
)
def test_model_that_cannot_be_is_found_before_training(
    tiny: Protocol, model: ModelSpec, message: str
) -> None:
    with pytest.raises((InputError, UnknownNameError), match=message):
        check(replace(tiny, models=(model,)))


def test_pair_of_unknown_factors_is_found_before_training(tiny: Protocol) -> None:
    spec = replace(tiny.perturbation, pairs=(("x", "hue"),))
    with pytest.raises(UnknownNameError, match="unknown factor 'hue'; known: size, x, y"):
        check(replace(tiny, perturbation=spec))

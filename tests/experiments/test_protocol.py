from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from vaebias import data
from vaebias.errors import InputError, UnknownNameError
from vaebias.experiments.protocol import (
    ContrastSpec,
    ModelSpec,
    Protocol,
    VariantSpec,
    load_protocol,
    seed_groups,
)
from vaebias.experiments.protocol.config import from_table
from vaebias.experiments.running.run import check


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
    with pytest.raises(InputError, match=r"absent\.toml: expected a file, found no"):
        load_protocol(tmp_path / "absent.toml")


def test_names_may_not_repeat(tiny: Protocol) -> None:
    with pytest.raises(InputError, match="variants: expected each only once, found 'original'"):
        replace(tiny, variants=(tiny.variants[0], tiny.variants[0]))
    with pytest.raises(InputError, match="seeds: expected at least one, found none"):
        tiny.with_seeds(())
    with pytest.raises(InputError, match="seeds: expected numbers not below 0, found -1"):
        tiny.with_seeds((0, -1))


def test_values_out_of_range_are_refused(tiny: Protocol) -> None:
    with pytest.raises(InputError, match=r"perturbation\.epsilon: expected in \(0, 1\]"):
        replace(tiny, perturbation=replace(tiny.perturbation, epsilon=0.0))
    with pytest.raises(InputError, match=r"models\.beta-VAE\.steps"):
        tiny.with_steps(0)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        (VariantSpec("v", "sorcery"), "unknown perturbation 'sorcery'; known: gram, learned"),
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
        (
            ModelSpec("m", "pcl", 2, 1),
            r"models\.m\.pair_rate: expected a rate such as 1.0, .*, found none",
        ),
        (ModelSpec("m", "beta_vae", 2, 1, pair_rate=3.0), r"models\.m\.pair_rate: expected none"),
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


def _line(tiny: Protocol, **changes: object) -> Protocol:
    model = replace(tiny.models[0], **{"strength": "beta", "strengths": (0.5, 2.0), **changes})
    return replace(tiny, models=(model,), seeds=(0,), variants=tiny.variants[:1])


def test_line_search_multiplies_the_strength_and_says_so(tiny: Protocol) -> None:
    runs = _line(tiny).runs()
    assert [run.model.options["beta"] for run in runs] == [1.0, 4.0]
    assert [run.model.label for run in runs] == ["beta-VAE ×0.5", "beta-VAE ×2"]
    assert runs[0].model.name == "beta-VAE"


def test_strength_of_one_is_the_run_without_a_line(tiny: Protocol) -> None:
    assert _line(tiny, strengths=(1.0,)).runs()[0].key == tiny.runs()[0].key


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strengths": ()}, "strengths: expected given together with strength"),
        ({"strength": None}, "strengths: expected given together with strength"),
        ({"strength": "gamma"}, r"expected a number in options\.gamma, found None"),
        ({"strength": "likelihood"}, r"expected a number in options\.likelihood"),
        ({"strengths": (1.0, 1.0)}, "expected each only once"),
        ({"strengths": (0.0,)}, "expected numbers above 0, found 0"),
    ],
)
def test_line_that_cannot_be_is_refused(
    tiny: Protocol, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        _line(tiny, **changes)


def test_every_epsilon_has_its_own_original(tiny: Protocol) -> None:
    spec = replace(tiny.perturbation, epsilons=(0.1, 0.2))
    runs = replace(tiny, perturbation=spec, seeds=(0,)).runs()
    assert [run.variant.name for run in runs] == [
        "original, ε 0.1",
        "noise, ε 0.1",
        "original, ε 0.2",
        "noise, ε 0.2",
    ]
    assert [run.perturbation.epsilon for run in runs] == [0.1, 0.1, 0.2, 0.2]
    assert runs[2].key == tiny.runs()[0].key
    with pytest.raises(InputError, match=r"perturbation\.epsilon: expected in \(0, 1\]"):
        replace(tiny, perturbation=replace(spec, epsilons=(0.1, 2.0)))


def test_models_take_what_defaults_say_and_they_do_not(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = """
    name = "mine"
    description = ""
    seeds = [0]
    data = { name = "blobs" }
    perturbation = { epsilon = 0.1 }
    variants = [{ name = "original" }]
    models = [{ name = "a", objective = "vae" }, { name = "b", objective = "vae", steps = 2 }]
    defaults = { latents = 3, steps = 1 }
    """
    path.write_text(text)
    assert [(m.latents, m.steps) for m in load_protocol(path).models] == [(3, 1), (3, 2)]
    path.write_text(text.replace("{ latents = 3, steps = 1 }", "3"))
    with pytest.raises(InputError, match="defaults: expected a key among"):
        load_protocol(path)
    path.write_text(text.replace("latents", "latent"))
    with pytest.raises(InputError, match=r"models\[0\]\.latent: expected a key among"):
        load_protocol(path)


def test_study_of_some_models(tiny: Protocol) -> None:
    assert tiny.with_models(("beta-VAE",)) == tiny
    with pytest.raises(UnknownNameError, match="unknown model of the protocol 'PCL'"):
        tiny.with_models(("PCL",))


def test_pairs_of_unordered_factors_are_refused(
    tiny: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = data.load("blobs", levels=(4, 4, 2), width=8)
    monkeypatch.setattr(shapes, "ordinal", (False, False, False))
    monkeypatch.setattr(data, "load", lambda name, **options: shapes)
    paired = ModelSpec("m", "pcl", 2, 1, pair_rate=3.0)
    with pytest.raises(InputError, match=r"m\.objective: expected a model of single images"):
        check(replace(tiny, models=(paired,)))


def test_unknown_metric_is_found_before_training(tiny: Protocol) -> None:
    with pytest.raises(UnknownNameError, match="unknown metric 'mgi'"):
        check(replace(tiny, metrics=("mgi",)))


def test_part_of_a_data_set_is_another_study(tiny: Protocol) -> None:
    part = replace(tiny, data=replace(tiny.data, levels={"size": 1, "x": [0, 1, 3]}))
    check(part)
    grid = part.data.load()
    assert (grid.names, grid.sizes) == (("x", "y"), (3, tiny.data.load().sizes[1]))
    assert part.runs()[0].key != tiny.runs()[0].key
    assert part.version_key(*part.versions()[0]) != tiny.version_key(*tiny.versions()[0])


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ({"colour": 1}, "factor: expected one of x, y, size"),
        ({"x": [3, 1]}, "level of .x.: expected one level"),
    ],
)
def test_part_that_cannot_be_is_found_before_training(
    tiny: Protocol, levels: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check(replace(tiny, data=replace(tiny.data, levels=levels)))


def test_seed_groups_hold_runs_that_differ_only_in_their_seeds(tiny: Protocol) -> None:
    runs = tiny.with_seeds((0, 1, 2)).runs()
    assert seed_groups(runs, 1) == [(run,) for run in runs]
    found = seed_groups(runs, 2)
    assert [(b[0].variant.name, [run.seed for run in b]) for b in found] == [
        ("original", [0, 1]),
        ("noise", [0, 1]),
        ("original", [2]),
        ("noise", [2]),
    ]
    assert [run.label for group in seed_groups(runs, 10) for run in group] == sorted(
        (run.label for run in runs), key=lambda label: "noise" in label
    )


def test_a_rate_of_pairs_is_read_under_its_name_of_0_1_0_and_keeps_its_key() -> None:
    table = {"name": "m", "objective": "pcl", "latents": 2, "steps": 1}
    old = from_table(ModelSpec, {**table, "rate": 3.0}, "f.toml")
    assert old == from_table(ModelSpec, {**table, "pair_rate": 3.0}, "f.toml")
    assert old.config()["rate"] == 3.0
    with pytest.raises(InputError, match=r"expected a key among .*pair_rate.*found 'rate'"):
        from_table(ModelSpec, {**table, "rate": 3.0, "pair_rate": 3.0}, "f.toml")


def test_draws_of_a_perturbation_are_versions_of_their_own(tiny: Protocol) -> None:
    original, _ = tiny.variants
    drawn = VariantSpec("noise", "noise", draws=(0, 7))
    study = replace(tiny, variants=(original, drawn))
    check(study)
    versions = [variant for _, variant in study.versions()]
    assert [(one.name, one.row, dict(one.options)) for one in versions] == [
        ("original", "original", {}),
        ("noise, draw 0", "noise", {"seed": 0}),
        ("noise, draw 7", "noise", {"seed": 7}),
    ]
    assert len(study.runs()) == 2 * 3
    # a draw is the run of a study that names its seed
    assert study.runs()[1].key == tiny.runs()[1].key
    assert study.version_key(*study.versions()[1]) == tiny.version_key(*tiny.versions()[1])
    assert from_table(Protocol, study.to_json(), "study.json") == study


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        (VariantSpec("v", "none", draws=(0, 1)), r"v\.draws: expected none for the method"),
        (VariantSpec("v", "noise", {"seed": 0}, (0, 1)), r"expected draws or options.seed"),
        (VariantSpec("v", "noise", nested=True), r"v\.nested: expected given together with draws"),
        (VariantSpec("v", "noise", draws=(1, 1)), "each only once, found 1, given 2 times"),
    ],
)
def test_draws_that_cannot_be_are_refused(
    tiny: Protocol, variant: VariantSpec, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        replace(tiny, variants=(variant,))


@pytest.mark.parametrize(
    ("contrast", "message"),
    [
        (ContrastSpec("VAE", "original", "noise"), r"contrasts\[0\]\.model: expected one"),
        (ContrastSpec("beta-VAE", "first", "noise"), r"before: expected one of noise, original"),
        (ContrastSpec("beta-VAE", "noise", "noise"), "after: expected another version of the data"),
    ],
)
def test_primary_contrasts_name_what_the_study_has(
    tiny: Protocol, contrast: ContrastSpec, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        replace(tiny, contrasts=(contrast,))


def test_contrasts_change_no_key_and_leave_with_their_model(tiny: Protocol) -> None:
    other = replace(tiny.models[0], name="other")
    contrasts = (ContrastSpec("other", "original", "noise"),)
    study = replace(tiny, models=(*tiny.models, other), contrasts=contrasts)
    assert study.runs()[0].key == tiny.runs()[0].key
    assert study.with_models(("other",)).contrasts == contrasts
    assert study.with_models(("beta-VAE",)).contrasts == ()


def test_bytes_belong_to_a_run_and_not_to_its_perturbation(tiny: Protocol) -> None:
    spec = replace(tiny.perturbation, stored_as_bytes=True)
    stored = replace(tiny, perturbation=spec)
    assert stored.runs()[0].config()["perturbation"]["stored_as_bytes"] is True
    assert "stored_as_bytes" not in tiny.runs()[0].config()["perturbation"]
    assert [stored.version_key(*v) for v in stored.versions()] == [
        tiny.version_key(*v) for v in tiny.versions()
    ]


def test_a_variant_correlates_its_samples_and_keeps_its_perturbation(tiny: Protocol) -> None:
    alone = tiny.variants[1]
    with_sigma = replace(alone, name="correlated", correlate={"x+y": 0.2})
    protocol = replace(tiny, variants=(alone, with_sigma))
    check(protocol)
    (spec, one), (_, other) = protocol.versions()
    assert protocol.version_key(spec, one) == protocol.version_key(spec, other)
    runs = {run.variant.name: run for run in protocol.with_seeds((0,)).runs()}
    assert runs["noise"].key != runs["correlated"].key
    assert runs["noise"].key == tiny.runs()[1].key
    assert runs["noise"].load().probabilities is None
    assert runs["correlated"].load().probabilities is not None


def test_a_correlation_of_unknown_factors_is_refused_before_any_training(tiny: Protocol) -> None:
    variant = VariantSpec("correlated", correlate={"x+z": 0.2})
    with pytest.raises(InputError, match="factor: expected one of x, y, size, found 'z'"):
        check(replace(tiny, variants=(variant,)))


def test_seeds_of_nested_draws_are_divided_among_them(tiny: Protocol) -> None:
    drawn = VariantSpec("noise", "noise", draws=(4, 7), nested=True)
    protocol = replace(tiny, variants=(tiny.variants[0], drawn)).with_seeds((10, 11, 12))
    runs = [(run.variant.name, run.seed) for run in protocol.runs()]
    assert sorted(runs) == [
        ("noise, draw 4", 10),
        ("noise, draw 4", 12),
        ("noise, draw 7", 11),
        *(("original", seed) for seed in (10, 11, 12)),
    ]
    part = {run.key for run in protocol.with_seeds((11, 12)).runs()}
    assert part == {run.key for run in protocol.runs() if run.seed > 10}
    crossed = replace(tiny, variants=(replace(drawn, nested=False),)).with_seeds((10,))
    assert protocol.runs()[1].key == crossed.runs()[0].key


def test_studies_import_neither_torch_nor_numpy() -> None:
    code = "import sys, vaebias.experiments; print({'torch', 'numpy'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"

"""Settings that decide numbers can all be changed, those too that suites do not store."""

import json
from pathlib import Path

import pytest

from bisimgym.baselines.core.settings import declared_defaults
from bisimgym.baselines.learners import DQN_LEARNERS, SAC_LEARNERS
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.suites import SUITES, load_suite
from bisimgym.benchmarks.suites.base import make_spec

RESULTS = Path(__file__).parents[3] / "benchmarks/results"
NOISY, SMALL = load_suite("noisy-states"), load_suite("small-images")
CONTROL = pytest.mark.parametrize(
    ("suite", "task"), [(NOISY, "cartpole-swingup-noise"), (SMALL, "nav2d-8x8")], ids=["noisy-states", "small-images"]
)


def spec_of(suite, task, method, **variant):
    return make_spec(suite, task, method, "smoke", 1, {key.replace("__", "."): v for key, v in variant.items()})


@CONTROL
def test_every_method_takes_weights_and_the_encoders_optimizer(suite, task):
    for method in suite.methods:
        plain = spec_of(suite, task, method)
        other = "shared" if plain.settings.get("encoder_optimizer") == "separate" else "separate"
        weights = {"metric_weight": 0.03, "self_prediction": 0.07, "reward_prediction": 0.2}
        spec = spec_of(suite, task, method, encoder_optimizer=other, **weights)
        assert dict(spec.variant) == {"encoder_optimizer": other, **weights}
        assert dict(spec.settings) == {**plain.settings, "encoder_optimizer": other, **weights}


@CONTROL
def test_defaults_are_not_stored_and_make_no_variant(suite, task):
    learners = SAC_LEARNERS if suite is NOISY else DQN_LEARNERS
    for method, described in suite.methods.items():
        plain = spec_of(suite, task, method)
        defaults = declared_defaults(learners[described.settings["learner"]])
        weight = plain.settings.get("metric_weight", defaults.get("metric_weight", 0.5))
        assert spec_of(suite, task, method, metric_weight=weight) == plain


def test_settings_of_the_metric_are_those_of_its_class():
    spec = spec_of(NOISY, "cartpole-swingup-noise", "rap", metric_settings__beta=1e-6)
    assert spec.settings["metric_settings"] == {"beta": 1e-6}
    spec = spec_of(NOISY, "cartpole-swingup-noise", "dbc", metric_settings__clamp=50.0)
    assert spec.settings["metric_settings"] == {"form": "study", "clamp": 50.0}
    assert spec.method_folder == "dbc@metric_settings.clamp=50.0"
    spec = make_spec(load_suite("fidelity"), "nav2d-8x8", "mico", "smoke", 1, {"metric_settings.all_pairs": True})
    assert spec.settings["metric_settings"] == {"beta": 0.1, "all_pairs": True}


def test_what_is_changed_reaches_the_learner():
    from bisimgym.benchmarks.suites import noisy_states, small_images

    changed = {"metric_weight": 0.03, "gradient_steps": 3, "tau": 0.5, "metric_settings__beta": 0.2, "ent_coef": 0.3}
    model = noisy_states.make_learner(
        spec_of(NOISY, "cartpole-swingup-noise", "mico", **changed), "cpu", noisy_states.gym.make("Pendulum-v1")
    )
    assert model.representation_settings["metric_weight"] == 0.03
    assert (model.gradient_steps, model.tau, model.ent_coef) == (3, 0.5, 0.3)
    assert model.representation.metric.beta == 0.2
    spec = spec_of(SMALL, "jumping-wide", "dbc", encoder_optimizer="shared", target_update_interval=16)
    model = small_images.make_learner(spec, "cpu")
    assert (model.encoder_optimizer, model.target_update_interval) == ("shared", 16)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"metric_weight": "much"}, "setting metric_weight takes float, like 0.5, got 'much'"),
        ({"metric_weight": float("nan")}, "setting metric_weight takes float"),
        ({"metric_weight": True}, "setting metric_weight takes float"),
        ({"metric_weight": -1}, "cannot be trained .* weight of at least 0, got -1"),
        ({"gradient_steps": 1.5}, "setting gradient_steps takes int"),
        ({"encoder_tau": "slow"}, "setting encoder_tau takes float or null"),
        ({"encoder_optimizer": "both"}, r"encoder_optimizer must be one of \['shared', 'separate'\], got 'both'"),
        (
            {"metric_wait": 1.0},
            "unknown setting 'metric_wait': .*metric_weight",
        ),
        ({"metric_settings__gamma": 1.0}, "unknown setting 'metric_settings.gamma'"),
        ({"precision": "auto"}, "precision must be float32 or bfloat16 in a suite, got 'auto'"),
    ],
)
def test_values_that_cannot_be_are_refused(variant, message):
    with pytest.raises(UserError, match=message):
        spec_of(NOISY, "cartpole-swingup-noise", "mico", **variant)


def test_nothing_in_a_suite_depends_on_the_machine():
    for name in SUITES:
        suite = load_suite(name)
        for preset in suite.presets:
            for task in suite.open_tasks:
                for method in suite.methods:
                    settings = make_spec(suite, task, method, preset, 1).settings
                    assert settings.get("precision") in (None, "float32", "bfloat16"), (name, method, preset)


def test_committed_rows_are_of_the_settings_that_their_names_have_now():
    for path in RESULTS.rglob("run.json"):
        spec = json.loads(path.read_text())["spec"]
        now = make_spec(
            load_suite(spec["suite"]), spec["task"], spec["method"], spec["preset"], spec["seed"], spec["variant"]
        )
        assert (dict(now.settings), dict(now.variant)) == (spec["settings"], spec["variant"]), path
        assert path.parent == RESULTS / now.folder

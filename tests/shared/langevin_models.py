"""Small Langevin models, and what is compared of two."""

import torch as th

from bisimgym.baselines.langevin.model import NeuralLangevinDynamics

SMALL = {"energy_units": 8, "drift_units": 8, "hidden": 8, "context": 6, "control_units": 8}
SHORT = {"batch_size": 4, "window": 6, "long_window": 9, "long_updates": 3, "warm_up": 2, "kl_warm_up": 4}


def small(dynamics="overdamped", **settings):
    return NeuralLangevinDynamics(4, dynamics, **{**SMALL, "control_scale": 3.0, **settings})


def assert_same(first, second):
    for name, value in first.state_dict().items():
        assert th.equal(value, second.state_dict()[name]), name

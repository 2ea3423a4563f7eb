"""Linear policies of LQR in training: exact costs, losses by hand, and many seeds beside one alone."""

import numpy as np
import pytest
import torch as th

from bisimgym.baselines.lqr import Dynamics, InvariantPolicies, TwoLayerPolicies
from bisimgym.envs import lqr

LAYERS = {"width": 25}
METHODS = {
    "cost": (TwoLayerPolicies, LAYERS),
    "l1": (TwoLayerPolicies, {**LAYERS, "l1_coefficient": 0.1}),
    "psm": (TwoLayerPolicies, {**LAYERS, "psm_coefficient": 1e3}),
    "sgd": (TwoLayerPolicies, {**LAYERS, "optimizer": "sgd", "learning_rate": 1e-2, "init_scale": 0.05}),
    "ipo": (InvariantPolicies, {"optimizer": "adam", "learning_rate": 1e-2}),
}


def systems_of(seed, distractors=30, count=2):
    return [lqr.lqr_system(distractors, seed, 10 * seed + i) for i in range(count)]


def policies_of(method, *seeds, count=2):
    kind, settings = METHODS[method]
    return kind([systems_of(seed, count=count) for seed in seeds], seeds, **settings)


def test_costs_and_their_gradients_are_the_exact_ones():
    rng = np.random.default_rng(0)
    symmetric = rng.standard_normal((5, 5)), rng.standard_normal((3, 3))
    system = lqr.LQRSystem(
        A=0.6 * np.linalg.qr(rng.standard_normal((5, 5)))[0],
        B=rng.standard_normal((5, 3)),
        Q=symmetric[0] @ symmetric[0].T,
        R=symmetric[1] @ symmetric[1].T + np.eye(3),
        Wc=np.eye(5),
        Wd=np.zeros((1, 5)),
    )
    gains = 0.1 * rng.standard_normal((4, 3, 5))
    state_gains = th.tensor(gains, dtype=th.float32, requires_grad=True)
    costs = Dynamics([system] * 4, "cpu").costs(state_gains)
    weights = th.tensor([1.0, 2.0, -1.0, 0.5])
    (weights * costs).sum().backward()
    whole = [np.concatenate([gain, np.zeros((3, 1))], axis=1) for gain in gains]
    np.testing.assert_allclose(costs.detach(), [lqr.infinite_horizon_cost(system, k) for k in whole], rtol=1e-5)
    expected = [w * lqr.cost_gradient(system, k)[:, :5] for w, k in zip(weights.tolist(), whole, strict=True)]
    np.testing.assert_allclose(state_gains.grad, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_seeds_learn_together_what_they_learn_alone(method):
    together = policies_of(method, 1, 2, 3)
    together.fit(40)
    for i, seed in enumerate((1, 2, 3)):
        alone = policies_of(method, seed)
        start = alone.gains()[0]
        alone.fit(40)
        (gain,) = alone.gains()
        np.testing.assert_allclose(together.gains()[i], gain, rtol=1e-4, atol=1e-6)
        assert np.abs(gain - start).max() > 1e-3
        assert alone.iterations == together.iterations == 40


@pytest.mark.parametrize("method", METHODS)
def test_training_goes_on_from_states_as_if_it_had_not_stopped(method):
    whole, parted = policies_of(method, 1, 2), policies_of(method, 1, 2)
    whole.fit(20)
    parted.fit(12)
    again = policies_of(method, 1, 2)
    again.restore([parted.state(0), parted.state(1)])
    assert again.iterations == 12
    again.fit(8)
    np.testing.assert_array_equal(again.gains(), whole.gains())
    (last,) = (alone := policies_of(method, 2)).gains()
    alone.restore([parted.state(1)])
    np.testing.assert_allclose(alone.gains()[0], parted.gains()[1], rtol=1e-6)
    assert np.abs(alone.gains()[0] - last).max() > 1e-4


def test_layers_start_orthogonal_and_by_their_seed_alone():
    one, two = (TwoLayerPolicies([systems_of(1)] * 2, seeds, width=25) for seeds in ((5, 6), (6, 5)))
    np.testing.assert_array_equal(one.gains(), two.gains()[::-1])
    assert np.abs(one.gains()[0] - one.gains()[1]).max() > 1e-8
    first, second = (state["value"].double() for state in one.state(0)["parts"])
    np.testing.assert_allclose(first @ first.T, 1e-6 * np.eye(25), atol=1e-12)
    np.testing.assert_allclose(second @ second.T, 1e-6 * np.eye(20), atol=1e-12)


def test_the_loss_is_mean_cost_and_penalties():
    systems = systems_of(4, count=3)
    settings = {"width": 25, "init_scale": 0.3, "l1_coefficient": 0.2, "psm_coefficient": 5.0}
    policies = TwoLayerPolicies([systems], [4], **settings)
    first, second = (state["value"].double().numpy() for state in policies.state(0)["parts"])
    gain = second @ first
    cost = np.mean([lqr.infinite_horizon_cost(system, gain) for system in systems])
    rng = np.random.default_rng(0)
    states = rng.standard_normal((20, 20_000))
    seen = [first @ system.observation_matrix @ states for system in systems]
    apart = sum(((seen[x] - seen[y]) ** 2).sum(axis=0).mean() for x, y in ((0, 1), (0, 2), (1, 2)))
    expected = cost + 0.2 * np.abs(gain).sum() + 5 * apart
    assert apart > 1
    assert policies.losses().tolist() == pytest.approx([expected], rel=0.01)


def test_invariant_policies_take_turns():
    """Adam's first step has the size of its rate: which way every K_e goes first is known."""
    x, y = systems_of(3)
    policies = InvariantPolicies([[x, y]], [3], optimizer="adam", learning_rate=1e-3)
    assert not policies.gains().any()
    policies.fit(1)
    first = -1e-3 * np.sign(lqr.cost_gradient(x, np.zeros((20, 50))))
    second = -1e-3 * np.sign(lqr.cost_gradient(y, first / 2))  # of the mean, after the first has moved
    np.testing.assert_allclose(policies.gains()[0], (first + second) / 2, atol=1e-5)
    quick = policies_of("ipo", 3)
    quick.fit(200)
    costs = [lqr.infinite_horizon_cost(system, quick.gains()[0]) for system in systems_of(3)]
    assert costs == pytest.approx([27.399] * 2, abs=1)


def test_aggregation_leads_to_what_does_not_change():
    """With a large coefficient, the gain reads the features that all systems share, and controls an unseen one.

    So it does without aggregation, where steps on distractors are small.
    """
    unseen = lqr.lqr_system(100, 1, 99)
    errors = {}
    for name, settings in {"none": {}, "psm": {"psm_coefficient": 1e5}, "slow": {"distractor_rate": 1e-3}}.items():
        policies = TwoLayerPolicies([systems_of(1, distractors=100)], [1], **settings)
        policies.fit(400)
        (gain,) = policies.gains()
        costs = [lqr.infinite_horizon_cost(system, gain) for system in systems_of(1, distractors=100)]
        assert costs == pytest.approx([27.399] * 2, abs=1)
        errors[name] = lqr.infinite_horizon_cost(unseen, gain) - 27.399
    assert errors["psm"] < 0.2
    assert errors["slow"] < 0.2
    assert errors["none"] > 10


def test_steps_on_distractors_can_be_shorter():
    quick, slow = (TwoLayerPolicies([systems_of(1)], [1], width=25, distractor_rate=rate) for rate in (1.0, 0.25))
    steps = []
    for policies in (quick, slow):
        before = policies.state(0)["parts"][0]["value"]
        policies.fit(1)
        steps.append(policies.state(0)["parts"][0]["value"] - before)
    np.testing.assert_array_equal(steps[1][:, :20], steps[0][:, :20])
    np.testing.assert_allclose(steps[1][:, 20:], 0.25 * steps[0][:, 20:], rtol=1e-3, atol=1e-8)
    assert steps[0][:, 20:].abs().min() > 1e-4

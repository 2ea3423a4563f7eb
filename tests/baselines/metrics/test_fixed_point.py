"""How metrics are solved: what is returned, what is certified, and what is refused."""

import re

import numpy as np
import pytest
from gambles import GAMBLE, GAMBLE_REWARD, ONLY, G
from tqdm import tqdm

from bisimgym.baselines import metrics
from bisimgym.baselines.metrics import fixed_point, stochastic
from bisimgym.envs.toy_mdps import garnet


class TestSolver:
    @pytest.mark.parametrize("branching", [1, 3])
    def test_rows_and_columns(self, rng, branching):
        mdp, far = garnet(12, 2, branching, rng, num_terminal=2), garnet(6, 2, branching, rng)
        rows, cost = np.array([3, 1, 3]), rng.random((12, 12))
        for operator, columns in (
            (metrics.bisimulation_operator(mdp.transition, mdp.reward, G), [11, 0]),
            (metrics.bisimulation_operator(mdp.transition, mdp.reward, G, other=(far.transition, far.reward)), [5]),
            (metrics.recursive_similarity_operator(mdp.transition, cost, G), [11, 0]),
        ):
            part = metrics.solve(operator, rows=rows, columns=columns)
            np.testing.assert_allclose(part, metrics.solve(operator)[rows][:, columns], atol=2e-6)

    def test_states_that_are_alike_are_merged(self, rng):
        mdp = garnet(10, 2, 1, rng)
        union = type(mdp).union({"a": mdp, "b": mdp, "c": mdp})
        d = metrics.bisimulation(union.transition, union.reward, G)
        one = metrics.bisimulation(mdp.transition, mdp.reward, G)
        np.testing.assert_array_equal(d, np.tile(d[:10, :10], (3, 3)))
        np.testing.assert_allclose(d[:10, :10], one, atol=2e-6)

    def test_several_workers_find_the_same(self, rng, monkeypatch):
        import joblib

        asked = set()

        class Watched(joblib.Parallel):
            def __init__(self, n_jobs, **kwargs):
                asked.add(n_jobs)
                super().__init__(n_jobs, **kwargs)

        monkeypatch.setattr(joblib, "Parallel", Watched)
        mdp = garnet(100, 1, 2, rng)  # enough pairs for two jobs
        alone = metrics.bisimulation(mdp.transition, mdp.reward, G)
        assert asked == set()
        np.testing.assert_array_equal(metrics.bisimulation(mdp.transition, mdp.reward, G, workers=2), alone)
        assert asked == {2}

    def test_memory_is_stated_and_refused(self, rng):
        mdp = garnet(300, 2, 1, rng)
        with pytest.raises(
            MemoryError, match=r"between 300 and 300 states .* needs about .* MiB, and 1.0 MiB is the limit"
        ):
            metrics.bisimulation(mdp.transition, mdp.reward, G, memory_limit=2**20)
        few = metrics.bisimulation(mdp.transition, mdp.reward, G, memory_limit=2**30, rows=[0], columns=[1])
        assert few.shape == (1, 1)

    def test_long_work_shows_a_bar(self, rng, capsys, monkeypatch):
        mdp = garnet(40, 2, 2, rng)
        metrics.bisimulation(mdp.transition, mdp.reward, G)
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(fixed_point, "tqdm", lambda **settings: tqdm(**{**settings, "delay": 0, "mininterval": 0}))
        metrics.bisimulation(mdp.transition, mdp.reward, G)
        shown = capsys.readouterr().err
        assert "bisimulation 40 x 40" in shown
        assert "error at most" in shown
        metrics.bisimulation(mdp.transition, mdp.reward, G, progress=False)
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize("branching", [1, 3])
    def test_tolerance_is_kept(self, rng, branching):
        mdp = garnet(15, 2, branching, rng)
        exact = metrics.bisimulation(mdp.transition, mdp.reward, 0.9, tolerance=1e-10)
        operator = metrics.bisimulation_operator(mdp.transition, mdp.reward, 0.9)
        for tolerance in (1.0, 1e-2, 1e-5):
            d = metrics.solve(operator, tolerance=tolerance)
            assert np.abs(d - exact).max() <= operator.error_bound(d) + 1e-10
            assert np.abs(d - exact).max() <= tolerance

    def test_a_tolerance_out_of_reach_is_refused_and_the_one_that_is_named_is_accepted(self):
        transition, reward = np.array([[0], [1]]), np.array([[1.02], [0.0]])
        with pytest.raises(
            ValueError, match="tolerance=1e-12 is out of reach.*use a tolerance of at least that"
        ) as refused:
            metrics.bisimulation(transition, reward, 0.9999, tolerance=1e-12)
        named = float(re.search(r"no better than (\S+);", str(refused.value)).group(1))
        assert metrics.bisimulation(transition, reward, 0.9999, tolerance=named)[0, 1] == pytest.approx(10200)
        assert metrics.bisimulation(transition, reward, 0.999)[0, 1] == pytest.approx(1020, abs=1e-6)


GOOD = {"transition": GAMBLE, "reward": GAMBLE_REWARD, "policy": ONLY, "discount": G}


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"transition": np.where(GAMBLE == 0.7, -0.7, GAMBLE)},
                r"transition must be probabilities, got -0.7 at \[0, 0, 2\]",
            ),
            ({"transition": np.where(GAMBLE == 0.7, 0.6, GAMBLE)}, r"transition\[0, 0\] sums to 0.9"),
            ({"transition": np.where(GAMBLE == 0.7, np.nan, GAMBLE)}, "got nan"),
            ({"transition": np.array([[0], [1], [2], [4]])}, "from 0 to 3, got 4"),
            ({"transition": np.array([[0], [1], [2], [-1]])}, "from 0 to 3, got -1"),
            ({"transition": np.zeros((4, 4))}, "must be float"),
            ({"transition": np.zeros((4, 0), dtype=int)}, "states and actions"),
            ({"reward": np.array([[0.0], [np.nan], [1.0], [0.0]])}, r"finite, got nan at \[1, 0\]"),
            ({"reward": np.zeros(4)}, r"reward must be float\[4, 1\]"),
            ({"policy": np.ones((4, 2)) / 2}, r"policy must be float\[4, 1\]"),
            ({"policy": np.full((4, 1), 0.5)}, "sums to 0.5"),
            ({"discount": 1.0}, r"discount must be in \[0, 1\), got 1.0"),
            ({"discount": -0.1}, "got -0.1"),
            ({"discount": float("nan")}, "got nan"),
            ({"discount": "0.9"}, "got '0.9'"),
            ({"discount": [0.9]}, r"got \[0.9\]"),
        ],
    )
    def test_is_named(self, change, message):
        given = {**GOOD, **change}
        with pytest.raises(ValueError, match=message):
            metrics.mico(**given)
        with pytest.raises(ValueError, match=message):
            metrics.on_policy_bisimulation(**given)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"tolerance": 0}, "tolerance must be positive"),
            ({"tolerance": float("nan")}, "tolerance must be positive"),
            ({"tolerance": 1e-300}, "out of reach"),
            ({"workers": 0}, "workers must be a positive number"),
            ({"workers": 1.5}, "workers must be a positive number"),
            ({"rows": [4]}, "rows must be from 0 to 3, got 4"),
            ({"columns": [[0]]}, r"columns must be int\[K\]"),
            ({"rows": []}, r"rows must be int\[K\]"),
            ({"tolerence": 1}, "tolerence"),
        ],
    )
    def test_of_the_solver(self, options, message):
        with pytest.raises((ValueError, TypeError), match=message):
            metrics.bisimulation(GAMBLE, GAMBLE_REWARD, G, **options)

    @pytest.mark.parametrize(
        ("coordinates", "message"),
        [
            (None, r"RAP compares expected next states: give the coordinates .* float\[4, K\]"),
            (np.zeros((3, 1)), r"coordinates must be finite float\[4, K\], got shape \(3, 1\)"),
        ],
    )
    def test_rap_needs_coordinates(self, coordinates, message):
        with pytest.raises(ValueError, match=message):
            metrics.rap(**GOOD, coordinates=coordinates)

    @pytest.mark.parametrize(
        ("cost", "reduction", "message"),
        [
            (np.full((4, 4), -1.0), "mean", "base_cost must be finite and non-negative, got -1.0"),
            (np.zeros((4, 3)), "mean", r"base_cost must be float\[4, 4\]"),
            (np.zeros((2, 4, 4)), "mean", r"base_cost must be float\[1, 4, 4\]"),
            (np.zeros((4, 4)), "sum", "reduction must be"),
            (np.zeros((4, 4)), [0.5, 0.5], r"weights must be float\[1\]"),
            (np.zeros((4, 4)), [0.5], "sums to 0.5"),
        ],
    )
    def test_of_recursive_similarity(self, cost, reduction, message):
        with pytest.raises(ValueError, match=message):
            metrics.recursive_similarity(GAMBLE, cost, G, reduction)

    def test_of_an_operator(self):
        operator = metrics.bisimulation_operator(GAMBLE, GAMBLE_REWARD, G)
        with pytest.raises(ValueError, match=r"distance must be float\[4, 4\], got shape \(3, 3\)"):
            operator(np.zeros((3, 3)))

    def test_of_transfer(self):
        for distance, policy, tolerance, message in (
            (np.full((2, 2), np.nan), np.eye(2), 0, "distance must be finite"),
            (np.zeros((2, 2)), np.eye(2), -1, "tolerance must not be negative"),
            (np.zeros((2, 2)), np.eye(3), 0, "policy must be"),
        ):
            with pytest.raises(ValueError, match=message):
                metrics.transferred_policy(distance, policy, tolerance)


@pytest.mark.parametrize("states", [12, 60])  # solved by elimination, and by iteration
@pytest.mark.parametrize("metric", ["bisimulation", "mean"])
def test_discounts_near_one_take_no_more_sweeps(rng, monkeypatch, states, metric):
    """Plain sweeps would be in the hundred thousands: of a process that mostly stays where it is, almost for ever."""
    applied, solved = [], []
    for name, calls in (("terms", applied), ("_evaluated", solved)):
        own = getattr(stochastic.Pairs, name)
        monkeypatch.setattr(stochastic.Pairs, name, lambda *a, own=own, calls=calls: calls.append(1) or own(*a))
    mdp = garnet(states, 2, 3, rng)
    transition = 0.99 * np.eye(states)[:, None] + 0.01 * mdp.transition
    if metric == "bisimulation":
        recursion = metrics.bisimulation_operator(transition, mdp.reward, 0.99999)
    else:
        recursion = metrics.recursive_similarity_operator(
            transition, np.abs(mdp.reward[:, :1] - mdp.reward[:, 0]), 0.99999
        )
    distance = metrics.solve(recursion, tolerance=1e-2, progress=False)
    assert recursion.error_bound(distance) <= 1e-2
    assert distance.max() > 1
    assert solved
    assert len(applied) < 500


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_probabilities_of_other_float_types(dtype):
    rng = np.random.default_rng(0)
    transition, reward = np.full((3, 2, 3), 1 / 3), rng.random((3, 2))
    policy = np.full((3, 2), [1 / 3, 2 / 3])
    coarse = policy.astype(dtype)
    expected = metrics.mico(transition, reward, coarse.astype(float) / coarse.astype(float).sum(1, keepdims=True), 0.9)
    given = metrics.mico(transition.astype(dtype), reward, coarse, 0.9)
    np.testing.assert_allclose(given, expected, rtol=1e-9)
    third = np.full(3, 1 / 3)
    cost = rng.random((3, 3))
    exact = metrics.wasserstein(third, third, cost)
    assert metrics.wasserstein(third.astype(dtype), third, cost) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_rap_is_the_same_in_any_unit_of_coordinates(unit):
    transition = np.zeros((5, 1, 5))
    transition[0, 0, [1, 3]] = 0.5
    transition[[1, 2, 3, 4], 0, [1, 2, 3, 4]] = 1
    coordinates = np.array([[0.0], [1], [2], [3], [2e6]])  # the last is nowhere near the others
    reward = np.array([[0.0], [1], [5], [9], [0]])
    found = metrics.rap(transition, reward, np.ones((5, 1)), 0.9, unit * coordinates)
    np.testing.assert_allclose(found[0, :4], [0, 37, 5, 45], atol=1e-5)

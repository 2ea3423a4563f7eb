"""The processes of the fidelity suite: their states, transitions and metrics."""

import itertools

import numpy as np
import pytest

from bisimgym.baselines import metrics
from bisimgym.benchmarks.measures import processes
from bisimgym.benchmarks.measures.processes import (
    FIDELITY_METRICS,
    PROCESSES,
    fidelity_envs,
    fidelity_process,
    fidelity_transitions,
)
from bisimgym.envs.jumping.env import jumping_mdp
from bisimgym.envs.nav2d.env import successor_observations


def test_a_layout_has_all_its_states_and_the_metrics_of_its_dynamics():
    observations, exact, *_ = fidelity_process("nav2d-8x8", discount=0.9)
    assert set(exact) == set(FIDELITY_METRICS)
    assert len({picture.tobytes() for picture in observations}) == len(observations)
    for distance in exact.values():
        assert distance.shape == (len(observations),) * 2
        np.testing.assert_array_equal(distance, distance.T)

    # The recursion, on what the pictures themselves lead to.
    number = {picture.tobytes(): i for i, picture in enumerate(observations)}
    following = successor_observations(observations)
    at_goal = (following[..., 1] == following[..., 2]).all(axis=(2, 3))
    next_state = np.array([[number.get(p.tobytes(), -1) for p in row] for row in following])
    assert ((next_state == -1) == at_goal).all()  # nothing but the goal is missing
    reward = -(~at_goal).mean(axis=1)
    inside = np.flatnonzero(~at_goal.any(axis=1))
    mico = exact["mico-random"]
    expected = mico[next_state[inside][:, None, :, None], next_state[inside][None, :, None, :]].mean(axis=(2, 3))
    expected = np.abs(reward[inside, None] - reward[inside]) + 0.9 * expected
    np.testing.assert_allclose(mico[np.ix_(inside, inside)], expected, atol=5e-6)


def test_a_jumping_state_counts_once_for_each_of_its_pictures():
    observations, exact, *_ = fidelity_process("jumping-25-45", ["policy-similarity", "bisimulation-optimal"])
    assert len({picture.tobytes() for picture in observations}) == len(observations)
    states = [jumping_mdp(position, 10) for position in (25, 45)]
    assert len(observations) > sum(m.num_states - 1 for m in states)
    # Between the starts, which show no previous frame, the metric is that of the two tasks themselves.
    second = next(i for i in range(1, len(observations)) if (observations[i, ..., 0] == 0).all())
    x, y = states
    policies = [m.optimal_policy(0.99) for m in states]
    between = metrics.policy_similarity(
        x.transition, policies[0], 0.99, other=(y.transition, policies[1]), rows=[0], columns=[0], progress=False
    )
    assert exact["policy-similarity"][0, second] == pytest.approx(between[0, 0], abs=1e-5)
    assert exact["policy-similarity"][0, second] > 0


def test_the_data_of_a_layout_are_all_its_transitions():
    observations = fidelity_process("nav2d-8x8", []).observations
    data = fidelity_transitions("nav2d-8x8")
    count = len(observations)
    assert {len(column) for column in data} == {4 * (count + 1)}

    goal = observations[:1].copy()
    goal[..., 1] = goal[..., 2]
    every = np.concatenate([observations, goal])
    np.testing.assert_array_equal(data.observations, np.repeat(every, 4, axis=0))
    np.testing.assert_array_equal(data.actions, np.tile(np.arange(4), count + 1))
    following = np.concatenate([successor_observations(observations).reshape(-1, *goal.shape[1:]), *[goal] * 4])
    np.testing.assert_array_equal(data.next_observations, following)
    at_goal = (following[..., 1] == following[..., 2]).all(axis=(1, 2))
    np.testing.assert_array_equal(data.rewards, np.where(at_goal, 0.0, -1.0))
    np.testing.assert_array_equal(data.dones, at_goal)


@pytest.mark.parametrize("name", ["nav2d-8x8", "jumping-25-45", "dial-controllable", "dial-relevant"])
def test_what_happens_in_the_environments_is_in_the_data(name):
    observations = fidelity_process(name, []).observations
    data = fidelity_transitions(name)
    table = {
        (row[0].tobytes(), int(row[1])): (float(row[2]), row[3].tobytes(), bool(row[4]))
        for row in zip(*data, strict=True)
    }
    assert len(table) == len(data.actions)  # each once
    makers = fidelity_envs(name)
    ends = set()
    rng = np.random.default_rng(0)
    for make, episode in itertools.product(makers, range(20)):
        env = make()
        before, _ = env.reset(seed=episode)
        assert (before == observations).all(axis=(1, 2, 3)).any()
        terminated = truncated = False
        while not (terminated or truncated):
            action = int(rng.random() < 0.05) if name.startswith("jumping") else int(rng.integers(env.action_space.n))
            after, reward, terminated, truncated, _ = env.step(action)
            assert table[before.tobytes(), action] == (reward, after.tobytes(), terminated)
            before = after
        if terminated:
            ends.add(before.tobytes())
    assert len(ends) >= len(makers) or name.startswith("dial")  # which has no end
    for end, action in itertools.product(ends, range(data.actions.max() + 1)):
        assert table[end, action] == (0.0, end, True)


def test_a_dial_has_a_picture_per_state_and_the_metrics_of_the_bare_grid_where_the_distractor_is_irrelevant():
    for name in ("dial-irrelevant", "dial-controllable"):
        process = fidelity_process(name, ["bisimulation-random", "mico-random", "policy-similarity"])
        assert process.observations.shape[0] == len({picture.tobytes() for picture in process.observations}) == 200
        assert (process.next_rows >= 0).all()
        assert set(process.factors) == {"row", "column", "phase, cosine", "phase, sine", "lit"}
        mdp = fidelity_envs(name)[0]().unwrapped.mdp()
        np.testing.assert_array_equal(process.next_rows, mdp.transition)
        np.testing.assert_array_equal(process.rewards, mdp.reward)
        # The grid by itself: states of the first phase, wherever the distractor goes.
        grid = mdp.transition[::8] // 8
        uniform = np.full(grid.shape, 0.2)
        expected = metrics.mico(grid, mdp.reward[::8], uniform, 0.99, progress=False)
        for found, exact in (
            (process.distances["mico-random"], expected),
            (process.distances["policy-similarity"], None),
            (process.distances["bisimulation-random"], None),
        ):
            blocks = found.reshape(25, 8, 25, 8)
            np.testing.assert_array_equal(blocks, np.broadcast_to(blocks[:, :1, :, :1], blocks.shape))
            assert exact is None or np.abs(blocks[:, 0, :, 0] - exact).max() < 1e-5
    relevant = fidelity_process("dial-relevant", ["mico-random"]).distances["mico-random"].reshape(25, 8, 25, 8)
    assert (relevant[0, 0, 0, [1, 2, 3, 5, 6, 7]] > relevant[0, 0, 0, 0]).all()


def test_merging_states_that_rewards_never_tell_apart_changes_no_metric():
    """Images of the jumping task that differ in the frame before only are one state of its metrics."""
    process = processes._process("jumping-25")
    mdp, states = process.mdp, process.states
    assert len(metrics.equivalence_classes(mdp.transition, mdp.reward)[1]) < mdp.num_states
    uniform = np.full(mdp.reward.shape, 0.5)
    whole = metrics.mico(mdp.transition, mdp.reward, uniform, 0.9, tolerance=1e-8, progress=False)
    np.testing.assert_allclose(process._solved("mico-random", 0.9), whole[np.ix_(states, states)], atol=2e-6)
    policy = mdp.optimal_policy(0.9)
    whole = metrics.policy_similarity(mdp.transition, policy, 0.9, tolerance=1e-8, progress=False)
    np.testing.assert_allclose(process._solved("policy-similarity", 0.9), whole[np.ix_(states, states)], atol=2e-6)


def test_environments_start_alike_whatever_the_seed():
    starts = []
    for make in fidelity_envs("jumping-25-45") + fidelity_envs("jumping-25"):
        env = make()
        one, other = env.reset(seed=1)[0], env.reset(seed=2)[0]
        np.testing.assert_array_equal(one, other)
        starts.append(one)
    assert (starts[0] == starts[2]).all()
    assert (starts[0] != starts[1]).any()
    layout = fidelity_envs("nav2d-8x8")[0]()
    np.testing.assert_array_equal(layout.reset(seed=1)[0], layout.reset()[0])


def test_processes_are_solved_once_and_cannot_be_spoiled():
    one, other = (fidelity_process("jumping-25", ["policy-similarity"]) for _ in range(2))
    assert one.observations is other.observations
    assert one.distances["policy-similarity"] is other.distances["policy-similarity"]
    with pytest.raises(ValueError, match="read-only"):
        one.observations[0] = 0
    assert "recursive-similarity" not in fidelity_process("jumping-25", ["recursive-similarity"]).distances


def test_unknown_names_are_refused():
    known = {"nav2d-8x8", "nav2d-20x20", "jumping-25", "jumping-25-45"}
    dials = {"dial-irrelevant", "dial-controllable", "dial-relevant"}
    assert set(PROCESSES) == known | dials | {"markov-signal", "lqr"}
    for function in (fidelity_process, fidelity_transitions, fidelity_envs):
        with pytest.raises(ValueError, match="nav2d-8x8"):
            function("nav2d")
    with pytest.raises(ValueError, match="mico-random"):
        fidelity_process("nav2d-8x8", ["mico"])
    with pytest.raises(ValueError, match="discount"):
        fidelity_process("nav2d-8x8", discount=1.0)

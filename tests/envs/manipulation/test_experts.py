"""Scripted experts: what they do about poses, by hand and without robosuite, and that they solve their tasks on it."""

import gymnasium as gym
import numpy as np
import pytest

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.envs.manipulation import simulator
from bisimgym.envs.manipulation.experts import Frame, Hinge, door_motion, peg_motion

needs_robosuite = pytest.mark.skipif(not simulator.is_installed(), reason=f"needs robosuite: {simulator.INSTALL}")
AXES = np.eye(3)
X, Y, Z = AXES
DOWN = np.diag([1.0, -1.0, -1.0])  # the third axis points down


def turned(axis, angle):
    """Return the rotation by an angle about an axis of unit length, ``float64[3, 3]``."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def test_a_peg_in_line_goes_in():
    move, turn = peg_motion(Frame(0.3 * Z, DOWN), Frame(np.zeros(3), AXES))
    np.testing.assert_allclose(move, [0, 0, -0.3], atol=1e-12)
    np.testing.assert_allclose(turn, 0, atol=1e-12)


@pytest.mark.parametrize("axis", [X, Y, Z])
@pytest.mark.parametrize("angle", [0.05, -0.4, 1.2, 2.8])
def test_turning_a_peg_as_told_puts_it_in_line(axis, angle):
    peg = Frame(0.3 * Z, turned(axis, angle) @ DOWN)
    turn = peg_motion(peg, Frame(np.zeros(3), AXES))[1]
    size = np.linalg.norm(turn)
    along = turned(turn / max(size, 1e-12), size) @ peg.axes[:, 2]
    np.testing.assert_allclose(abs(along @ Z), 1, atol=1e-12)
    assert size <= np.pi / 2 + 0.21  # to the near side, but for where the two sides are about as near


def test_pegs_wait_beside_the_hole_until_they_are_in_line():
    """The tip, 0.13 m from the center, meets the plate only within 2 cm of the hole's center."""
    rng = np.random.default_rng(0)
    hole = Frame(np.zeros(3), AXES)
    for _ in range(20):
        axis = rng.normal(size=3)
        peg = Frame(
            np.array([*rng.uniform(-0.2, 0.2, 2), 0.35]),
            turned(axis / np.linalg.norm(axis), rng.uniform(0, 0.8)) @ DOWN,
        )
        for _ in range(200):
            move, turn = peg_motion(peg, hole)
            size = np.linalg.norm(turn)
            peg = Frame(peg.position + 0.2 * move, turned(turn / max(size, 1e-12), 0.2 * size) @ peg.axes)
            tip = peg.position + 0.13 * peg.axes[:, 2]
            assert tip[2] > 0 or np.linalg.norm(tip[:2]) < 0.02
        np.testing.assert_allclose(peg.position, 0, atol=1e-3)
        np.testing.assert_allclose(abs(peg.axes[:, 2] @ Z), 1, atol=1e-3)


#: A lever along x whose door is behind it (y leads into the door), and a gripper that holds it.
LEVER = Frame(np.zeros(3), AXES)
HELD = np.stack([-Z, -X, Y], axis=1)


def door(position=(0.0, 0.0, 0.0), axes=HELD, hinge=0.0, latch=0.0, gap=0.04):
    joints = Hinge(hinge, Z, np.array([0.3, 0.0, 0.0])), Hinge(latch, Y, np.array([-0.125, 0.0, 0.0]))
    return door_motion(Frame(np.array(position), axes), LEVER, *joints, gap)


def test_the_gripper_reaches_for_the_lever_from_the_front():
    move, turn, grip = door(position=(0.0, -0.2, 0.0), gap=0.08)
    assert move[1] > 0
    np.testing.assert_allclose([*move[[0, 2]], *turn], 0, atol=1e-12)
    assert grip == -1
    move, turn, grip = door(position=(0.1, -0.05, 0.0), gap=0.08)  # beside it, and too near: back, and across
    assert move[0] < 0
    assert move[1] < 0
    assert grip == -1
    askew = door(position=(0.0, -0.2, 0.0), axes=turned(Y, 0.3) @ HELD, gap=0.08)[1]
    np.testing.assert_allclose(askew / np.linalg.norm(askew), -Y, atol=1e-12)


def test_the_gripper_closes_turns_the_lever_up_and_pulls_the_door():
    move, turn, grip = door(gap=0.06)  # about the lever, and not closed
    np.testing.assert_allclose([*move, *turn, grip], [0] * 6 + [1], atol=1e-12)
    move, turn, grip = door()
    assert move[2] > 0  # up
    assert (turn[1], move[1], grip) == (-0.3, 0, 1)
    np.testing.assert_allclose(move[0], 0, atol=1e-12)
    assert door(latch=-1.2)[0][1] < 0  # and out of the door
    move, turn, grip = door(latch=-1.2, hinge=0.2)
    np.testing.assert_allclose([*move, *turn], [0, -0.05, 0, 0, 0, 0], atol=1e-12)
    move, turn, grip = door(hinge=0.36)
    np.testing.assert_array_equal([*move, *turn, grip], [0] * 6 + [1])


@needs_robosuite
@pytest.mark.parametrize(("task", "steps"), [("Door", 100), ("TwoArmPegInHole", 70)])
def test_experts_solve_their_tasks(task, steps):
    env = gym.make(f"bisimgym/Manipulation{task}-v0", observation="state").unwrapped
    with pytest.raises(gym.error.ResetNeeded, match="optimal_action"):
        env.optimal_action()
    env.reset(seed=0)
    first, rewards = env.optimal_action(), []
    for _ in range(steps):
        action = env.optimal_action()
        assert env.action_space.contains(action)
        _, reward, *_, info = env.step(action)
        rewards.append(reward)
    assert info["is_success"]
    assert rewards[-1] > 0.95
    env.reset(seed=0)
    np.testing.assert_array_equal(env.optimal_action(), first)


@needs_robosuite
def test_other_tasks_have_no_expert(monkeypatch):
    env = gym.make("bisimgym/ManipulationDoor-v0", observation="state").unwrapped
    env.reset(seed=0)
    monkeypatch.setattr(env, "task", "Lift")
    with pytest.raises(NotImplementedError, match=r"task='Lift' has no expert; these have one: \['Door', "):
        env.optimal_action()

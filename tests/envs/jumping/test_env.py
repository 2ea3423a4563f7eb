import dataclasses
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import bisimgym  # noqa: F401
from bisimgym.envs.array_task import select
from bisimgym.envs.jumping import dynamics
from bisimgym.envs.jumping import env as jumping
from bisimgym.envs.jumping.grids import ALL_TASKS, split_tasks, training_tasks

sys.path.insert(0, str(Path(__file__).parent))
from reference_jumping import ReferenceJumping

PLAIN, COLORS = "bisimgym/JumpingTask-v0", "bisimgym/JumpingTaskColors-v0"


def play(env, policy, **options):
    """Play one episode; return its total reward, its length and the last info."""
    env.reset(options=options or None)
    total = steps = 0
    while True:
        _, reward, terminated, truncated, info = env.step(policy(env))
        total, steps = total + reward, steps + 1
        assert not truncated
        if terminated:
            return total, steps, info


def vector_for(tasks, env_id=PLAIN, **extra):
    envs = gym.make_vec(env_id, num_envs=len(tasks), autoreset_mode="Disabled")
    positions, floors = np.array(tasks).T
    observation, _ = envs.reset(options={"obstacle_position": positions, "floor_height": floors, **extra})
    return envs, observation


class TestDynamics:
    def test_the_oracle_exits_every_task_in_56_steps_with_return_156(self):
        envs, _ = vector_for(ALL_TASKS)
        total = np.zeros(len(ALL_TASKS))
        for step in range(56):
            _, reward, terminated, _, infos = envs.step(envs.unwrapped.optimal_action())
            total += reward
            assert terminated.all() == terminated.any() == (step == 55)
        assert (total == 156).all()
        assert infos["is_success"].all()

    @pytest.mark.parametrize("position", range(14, 46))
    def test_jumping_anywhere_else_before_the_obstacle_fails(self, position):
        starts = np.array([x for x in range(position - 4) if x != position - 14])
        state = dynamics.initial_state(np.full(len(starts), position), 12)
        collided = np.zeros(len(starts), dtype=bool)
        exited = np.zeros(len(starts), dtype=bool)
        for _ in range(56):
            state, reward, terminated = dynamics.transition(state, (state.x == starts).astype(int))
            fresh = terminated & ~collided & ~exited
            collided |= fresh & (reward == -1)
            exited |= fresh & (reward == 101)
        assert collided.all()
        assert not exited.any()

    def test_a_jump_rises_to_16_and_lands_after_32_steps_whatever_is_pressed_in_the_air(self):
        rng = np.random.default_rng(0)
        for _ in range(20):
            state = dynamics.initial_state(47, 0)
            heights, phases = [], []
            for step in range(32):
                action = np.array([1 if step == 0 else rng.integers(2)])
                state, _, terminated = dynamics.transition(state, action)
                heights.append(state.height.item())
                phases.append(state.phase.item())
                assert not terminated
            assert heights == [*range(1, 17), *range(15, -1, -1)]
            assert phases == [dynamics.UP] * 16 + [dynamics.DOWN] * 15 + [dynamics.GROUND]

    @pytest.mark.parametrize("position", [20, 33, 45])
    def test_always_right_collides_after_p_minus_4_steps(self, position):
        env = gym.make(PLAIN, obstacle_position=position, floor_height=10)
        total, steps, info = play(env, lambda env: 0)
        assert (total, steps, info["is_success"]) == (position - 6, position - 4, False)

    @pytest.mark.parametrize("color", ["white", "red", "green"])
    def test_dynamics_and_observations_equal_the_scalar_reference(self, color):
        rng = np.random.default_rng(5)
        channels = 1 if color == "white" else 3
        for _ in range(60):
            position, floor = int(rng.integers(14, 48)), int(rng.integers(41))
            state = dynamics.initial_state(position, floor, dynamics.COLORS.index(color))
            reference, previous = ReferenceJumping(position, floor, color), None
            jump_at = position - 14 if rng.random() < 0.5 else rng.integers(60)
            while True:
                np.testing.assert_array_equal(
                    dynamics.observe(state, channels)[0], reference.as_observed(previous), f"{position} {floor} {state}"
                )
                action = int(state.x[0] == jump_at or rng.random() < 0.02)
                previous = reference.frame()
                state, reward, terminated = dynamics.transition(state, np.array([action]))
                assert (reward[0], terminated[0]) == reference.step(action)
                if terminated[0]:
                    np.testing.assert_array_equal(dynamics.observe(state, channels)[0], reference.as_observed(previous))
                    break


class TestColors:
    @pytest.mark.parametrize("position", [20, 31, 45])
    def test_returns_of_red_and_green(self, position):
        env = gym.make(COLORS)
        task = {"obstacle_position": position, "floor_height": 14}

        def jump_over(env):
            return int(env.unwrapped.state.x[0] == position - 14)

        assert play(env, lambda e: e.unwrapped.optimal_action(), color="green", **task)[0] == 254
        assert play(env, jump_over, color="green", **task)[::2] == (156, {"is_success": False})
        assert play(env, lambda e: e.unwrapped.optimal_action(), color="red", **task)[::2] == (
            156,
            {"is_success": True},
        )
        assert play(env, lambda e: 0, color="red", **task)[0] == position - 6

    def test_first_touch_of_green_in_the_air_returns_154(self):
        env = gym.make(COLORS, obstacle_position=30, floor_height=10, color="green")
        total, steps, info = play(env, lambda env: int(env.unwrapped.state.x[0] == 20))
        assert (total, steps, info["is_success"]) == (154, 56, False)

    def test_every_episode_draws_a_color(self):
        env = gym.make(COLORS)
        env.reset(seed=0)
        assert {env.reset()[1]["color"] for _ in range(40)} == {"red", "green"}
        only = gym.make(COLORS, color="green")
        assert {only.reset()[1]["color"] for _ in range(5)} == {"green"}


class TestObservation:
    @pytest.mark.parametrize(("position", "floor"), [(20, 10), (45, 20), (33, 17), (14, 0), (47, 40)])
    def test_start_frame(self, position, floor):
        env = gym.make(PLAIN, obstacle_position=position, floor_height=floor)
        observation, _ = env.reset()
        assert observation.dtype == np.uint8
        assert (observation[:, :, 0] == 0).all()
        upward = observation[::-1, :, 1]  # row 0 at the bottom
        assert (upward[floor] == 255).all()
        assert (upward[floor : floor + 10, :5] == 255).all()
        inner = upward[floor + 1 : floor + 10, position : position + 9]
        assert (inner == 128).all()
        assert (upward == 128).sum() == 81
        assert (upward[[0, -1]] == 255).all()
        assert (upward[:, [0, -1]] == 255).all()

    def test_the_stack_holds_the_previous_frame_first(self):
        env = gym.make(PLAIN, obstacle_position=30, floor_height=10)
        first, _ = env.reset()
        second = env.step(1)[0]
        np.testing.assert_array_equal(second[:, :, 0], first[:, :, 1])
        assert (second[:, :, 1] != first[:, :, 1]).any()

    def test_colors_paint_the_obstacle_in_one_channel(self):
        for channel, color in enumerate(["red", "green"]):
            observation, _ = gym.make(COLORS, obstacle_position=30, floor_height=10, color=color).reset()
            assert observation.shape == (60, 60, 6)
            assert [(observation[:, :, c] == 128).sum() for c in range(3, 6)] == [81 * (c == channel) for c in range(3)]


class TestGrids:
    def test_sizes(self):
        assert len(ALL_TASKS) == 286
        for grid in ("wide", "narrow"):
            assert len(split_tasks(grid, "train")) == 18
            assert len(split_tasks(grid, "test")) == 268
            assert not set(split_tasks(grid, "train")) & set(split_tasks(grid, "test"))
        assert len(split_tasks("wide", "validation")) == 54
        assert len(split_tasks("narrow", "all")) == 286

    def test_training_tasks_of_the_fixed_grids(self):
        assert set(training_tasks("wide")) == {(p, f) for p in range(20, 46, 5) for f in (10, 15, 20)}
        assert set(training_tasks("narrow")) == {(p, f) for p in range(28, 39, 2) for f in (13, 15, 17)}

    def test_random_grids_of_seeds_1_and_2(self):
        one = (
            "25,15 31,12 32,14 28,20 29,12 31,14 25,17 35,17 20,19 36,11 21,17 "
            "32,10 27,16 33,19 26,19 45,17 38,16 40,19"
        )
        two = (
            "28,17 35,13 33,16 28,14 42,20 31,13 38,17 31,16 28,20 27,11 22,20 "
            "37,13 31,15 41,18 35,14 40,16 40,13 25,19"
        )
        for seed, text in ((1, one), (2, two)):
            assert training_tasks("random", seed) == tuple(tuple(map(int, t.split(","))) for t in text.split())

    def test_random_grids_repeat_tasks_now_and_then(self):
        unique = [len(set(training_tasks("random", seed))) for seed in range(1, 101)]
        assert (np.mean(unique), sum(u < 18 for u in unique), min(unique)) == (17.55, 39, 16)

    def test_the_random_grid_leaves_the_global_generator_alone(self):
        np.random.seed(7)  # noqa: NPY002
        expected = np.random.random()  # noqa: NPY002
        np.random.seed(7)  # noqa: NPY002
        training_tasks("random", 3)
        assert np.random.random() == expected  # noqa: NPY002

    @pytest.mark.parametrize(("grid", "split"), [("wide", "train"), ("narrow", "test"), ("random", "validation")])
    def test_episodes_draw_every_task_of_the_split(self, grid, split):
        env = gym.make(PLAIN, grid=grid, split=split)
        env.reset(seed=0)
        drawn = set()
        for _ in range(4000):
            info = env.reset()[1]
            drawn.add((info["obstacle_position"], info["floor_height"]))
        assert drawn == set(split_tasks(grid, split))


class TestOracle:
    @pytest.mark.parametrize("color", ["white", "red", "green"])
    @pytest.mark.parametrize("position", [14, 20, 38, 45, 47])
    def test_the_rule_is_optimal_in_every_reachable_state(self, position, color):
        mdp = jumping.jumping_mdp(position, 10, color)
        values = mdp.optimal_values(discount=1.0)
        q = mdp.reward + mdp.next_values(values)
        checked = 0
        for index, name in enumerate(mdp.state_names[:-1]):
            fields = name.split()
            state = dataclasses.replace(
                dynamics.initial_state(position, 10, dynamics.COLORS.index(color)),
                x=np.array([int(fields[0][2:])]),
                height=np.array([int(fields[1][2:])]),
                phase=np.array([("ground", "up", "down").index(fields[2])]),
                touched=np.array([fields[-1] == "touched"]),
            )
            assert q[index, dynamics.optimal_action(state)[0]] == values[index], name
            checked += 1
        assert checked > 50

    def test_the_optimal_return_of_a_green_obstacle(self):
        green = gym.make_vec(COLORS, num_envs=3, obstacle_position=30, floor_height=10, color="green")
        green.reset(seed=0)
        assert green.unwrapped.optimal_return().tolist() == [254] * 3
        assert (green.unwrapped.random_return() < 254).all()


class TestFiniteMDP:
    @pytest.mark.parametrize("skip_air", [False, True])
    @pytest.mark.parametrize("color", ["white", "green"])
    def test_rollouts_follow_the_arrays(self, color, skip_air):
        env_id, extra = (PLAIN, {}) if color == "white" else (COLORS, {"color": color})
        env = gym.make(env_id, obstacle_position=33, floor_height=11, skip_air=skip_air, **extra)
        env.reset(seed=0)
        mdp = env.unwrapped.mdp()
        assert mdp.deterministic
        assert mdp.terminal.tolist() == [False] * (mdp.num_states - 1) + [True]
        rng = np.random.default_rng(1)
        for _ in range(30):
            env.reset()
            index, terminated = 0, False
            while not terminated:
                action = int(rng.random() < 0.1)
                _, reward, terminated, _, _ = env.step(action)
                assert reward == mdp.reward[index, action]
                index = mdp.transition[index, action]
                state = env.unwrapped.state
                expected = f"x={state.x[0]} h={state.height[0]}"
                assert mdp.state_names[index].startswith(expected) or terminated
            assert mdp.terminal[index]


class TestSkipAir:
    @pytest.mark.parametrize("color", ["white", "red", "green"])
    def test_a_step_is_all_steps_up_to_the_next_decision(self, color):
        rng = np.random.default_rng(3)
        state = dynamics.initial_state(
            rng.integers(14, 48, 64), rng.integers(0, 41, 64), np.full(64, dynamics.COLORS.index(color))
        )
        jumps = 0
        while len(state.x):
            action = (rng.random(len(state.x)) < 0.1).astype(int)
            next_state, reward, terminated = dynamics.transition_to_ground(state, action)
            for i in range(len(state.x)):
                one, earned, ended = dynamics.transition(select(state, [i]), action[i : i + 1])
                jumps += one.phase[0] != dynamics.GROUND
                while one.phase[0] != dynamics.GROUND and not ended[0]:
                    one, further, ended = dynamics.transition(one, rng.integers(2, size=1))
                    earned = earned + further
                assert (earned[0], ended[0]) == (reward[i], terminated[i])
                for field in dataclasses.fields(one):
                    assert getattr(one, field.name)[0] == getattr(next_state, field.name)[i], field.name
            state = select(next_state, ~terminated)
        assert jumps > 32

    def test_environments_show_the_ground_and_sum_rewards(self):
        envs = gym.make_vec(PLAIN, num_envs=2, obstacle_position=30, floor_height=10, skip_air=True)
        envs.reset()
        for _ in range(16):
            envs.step([0, 0])
        observation, reward, terminated, _, infos = envs.step([1, 0])
        assert reward.tolist() == [32, 1]
        state = dataclasses.replace(
            dynamics.initial_state(30, 10), x=np.array([48]), height=np.array([0]), previous_height=np.array([1])
        )
        np.testing.assert_array_equal(observation[0], dynamics.observe(state, 1)[0])
        for _ in range(8):
            _, reward, terminated, _, infos = envs.step([0, 1])
        assert (reward[0], terminated[0], infos["final_info"]["is_success"][0]) == (101, True, True)

    def test_the_process_has_only_states_on_the_ground(self):
        mdp = jumping.jumping_mdp(45, 10, skip_air=True)
        assert all(name.endswith("ground") for name in mdp.state_names[:-1])
        assert mdp.optimal_values(discount=1.0)[0] == 156
        assert mdp.num_states == 42  # x = 0 to 31 by walking, 32 to 40 also after a jump, and the end


class TestArguments:
    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"grid": "huge"}, "grid must be one of .*'huge'"),
            ({"grid": "wide", "split": "dev"}, "split must be one of .*'dev'"),
            ({"grid": "all", "split": "test"}, "holds no tasks"),
            ({"obstacle_position": 20}, "needs both"),
            (
                {"obstacle_position": 48, "floor_height": 10},
                "obstacle_position must be an integer from 14 to 47, got 48",
            ),
            ({"obstacle_position": 20, "floor_height": 41}, "floor_height must be an integer from 0 to 40, got 41"),
            ({"obstacle_position": 20.5, "floor_height": 10}, "obstacle_position must be an integer"),
            ({"obstacle_position": 20, "floor_height": 10, "grid": "wide"}, "not both"),
            ({"grid": "wide", "grid_seed": 3}, "grid_seed=3 has no meaning"),
            ({"grid": "random", "grid_seed": -1}, "grid_seed must be an integer from 0"),
            ({"render_mode": "ansi"}, "render_mode must be None or one of"),
        ],
    )
    def test_bad_arguments_are_named(self, kwargs, message):
        with pytest.raises(ValueError, match=message):
            jumping.JumpingTaskEnv(**kwargs)

    def test_bad_colors_actions_and_options_are_named(self):
        with pytest.raises(ValueError, match="color must be one of .*'blue'"):
            gym.make(COLORS, color="blue")
        env = gym.make(PLAIN).unwrapped
        with pytest.raises(ValueError, match="unknown reset options .*'speed'"):
            env.reset(options={"speed": 3})
        with pytest.raises(ValueError, match="from 14 to 47, got 99"):
            env.reset(options={"obstacle_position": 99, "floor_height": 10})
        with pytest.raises(gym.error.ResetNeeded):
            jumping.JumpingTaskEnv().step(0)
        env.reset()
        with pytest.raises(ValueError, match="action 2 is not in"):
            env.step(2)

    def test_reset_options_fix_one_episode(self):
        env = gym.make(PLAIN, grid="wide")
        _, info = env.reset(seed=1, options={"obstacle_position": 33, "floor_height": 13})
        assert info == {"obstacle_position": 33, "floor_height": 13}
        assert (env.reset()[1]["obstacle_position"], env.reset()[1]["floor_height"]) != (33, 13)

    def test_a_union_holds_each_task(self):
        tasks = [(20, 10), (45, 13), (30, 10, "green")]
        union = jumping.jumping_union(tasks)
        for offset, task in zip(union.offsets, tasks, strict=True):
            mdp = jumping.jumping_mdp(*task)
            part = slice(offset, offset + mdp.num_states)
            np.testing.assert_array_equal(union.transition[part] - offset, mdp.transition)
            np.testing.assert_array_equal(union.reward[part], mdp.reward)
        assert union.state_names[union.offsets[2]] == "(30, 10, green): x=0 h=0 ground"
        visited = union.reachable_states(policy=union.optimal_policy(discount=1.0))
        assert len(visited) == 3 * 57  # 56 decisions each, and the end

    @pytest.mark.parametrize("discount", [0.9, 0.99, 0.999])
    def test_discounted_policies_solve_the_task(self, discount):
        mdp = jumping.jumping_mdp(25, 10)
        policy = mdp.optimal_policy(discount)
        assert mdp.policy_values(policy, 1.0)[0] == 156

    @pytest.mark.parametrize("tasks", [[], [(20, 10), (20, 10)], [(20, 10), (20, 10, "white")]])
    def test_a_union_needs_different_tasks(self, tasks):
        with pytest.raises(ValueError, match="at least one, and each once"):
            jumping.jumping_union(tasks)


def test_a_time_limit_of_a_wrapper_ends_with_the_infos_of_an_end():
    env = gym.make("bisimgym/JumpingTask-v0", max_episode_steps=3)
    env.reset(seed=0)
    assert [env.step(0)[4] for _ in range(3)] == [{}, {}, {"is_success": False}]
    assert (env.unwrapped.optimal_return(), env.unwrapped.random_return()) == (3, 3)

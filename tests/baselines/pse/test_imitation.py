import dataclasses
import pickle

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor

from bisimgym.baselines.pse.augmentation import convolve_frames
from bisimgym.baselines.pse.imitation import Alignment, ImitationLearner, RandConvVoter

PSE = {"augmentation": "randconv", "alignment": Alignment()}
#: Where what is learned does not matter.
SMALL = {"batch_size": 32}


def make(data, **settings):
    return ImitationLearner(demonstrations=data, **{"seed": 0, "device": "cpu", "precision": "float32", **settings})


def parameters(model):
    return {name: p.detach().clone() for name, p in model.policy.named_parameters()}


def assert_equal(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert th.equal(one[name], two[name]), name


class TestGradientFlow:
    """Which loss trains which part."""

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({}, {}),
            ({"l2_coefficient": 1e-3, "dropout": 0.3}, {"l2": {"encoder", "actor"}}),
            (PSE, {"alignment": {"encoder", "projection"}}),
            ({"alignment": Alignment(loss="l2"), "augmentation": "randconv"}, {"alignment": {"encoder"}}),
            (
                {"alignment": Alignment(metric="pi-bisimulation"), "l2_coefficient": 1e-3},
                {"l2": {"encoder", "actor", "projection"}, "alignment": {"encoder", "projection"}},
            ),
        ],
    )
    def test_losses_reach_their_parts_and_no_others(self, wide, settings, expected):
        model = make(wide, **settings)
        losses, expected = model.losses(), {"imitation": {"encoder", "actor"}, **expected}
        assert losses.keys() == expected.keys()
        for name, loss in losses.items():
            model.policy.zero_grad(set_to_none=True)
            loss.backward(retain_graph=True)
            reached = {
                p.split(".")[0] for p, v in model.policy.named_parameters() if v.grad is not None and v.grad.any()
            }
            assert reached == expected[name], name


class TestLosses:
    def test_l2_is_the_mean_over_tensors_of_half_their_squared_norm(self, wide):
        model = make(wide, l2_coefficient=0.5, **PSE)
        tensors = list(model.policy.parameters())
        assert len(tensors) == 12
        assert len(list(make(wide).policy.parameters())) == 10
        expected = 0.5 * sum(0.5 * (t**2).sum() for t in tensors) / 12
        assert model.losses()["l2"].item() == pytest.approx(expected.item(), rel=1e-5)

    def test_each_action_is_half_of_the_batches(self, wide):
        model = make(wide)
        model._prepare()
        drawn = np.concatenate([model._sample_actions() for _ in range(200)])
        assert wide.actions[drawn].mean() == pytest.approx(0.5, abs=0.01)
        # Shuffled and repeated: every jump is drawn as often as any other, give or take one.
        counts = np.bincount(drawn, minlength=1008)[wide.actions == 1]
        assert np.ptp(counts) <= 1

    def test_batches_with_repeated_images_have_the_loss_of_the_plain_batch(self, wide):
        one, two = make(wide), make(wide)
        loss = one.losses()["imitation"]
        two._prepare()
        batch = two._sample_actions()
        observations = th.from_numpy(np.ascontiguousarray(wide.observations[batch]))
        plain = th.nn.functional.cross_entropy(
            two.policy.logits(two.policy.images(observations)), th.from_numpy(wide.actions[batch])
        )
        assert loss.item() == pytest.approx(plain.item(), rel=1e-5)

    def test_pairs_come_from_aligned_demonstrations_only(self, colors):
        model = make(colors, frame_channels=3, alignment=Alignment())
        model.losses()
        assert len(model._data.aligned) == 18
        assert len(model._data.targets) == 18 * 17

    def test_learning_rate_falls_once_an_epoch(self, wide):
        model = make(wide, learning_rate=0.01, lr_decay=0.5, batch_size=504)
        assert model.updates_per_epoch == 3
        rates = [model._update(model._prepare())["learning_rate"] for _ in range(7)]
        assert rates == [0.01] * 3 + [0.005] * 3 + [0.0025]
        assert make(wide).updates_per_epoch == 4


class TestAlgorithm:
    @pytest.mark.parametrize("settings", [PSE, {"dropout": 0.3, "l2_coefficient": 4e-4}])
    def test_a_saved_and_resumed_run_equals_the_unbroken_one(self, wide, settings, tmp_path):
        unbroken = make(wide, **settings, **SMALL).learn(4)
        broken = make(wide, **settings, **SMALL).learn(2)
        broken.save(tmp_path / "model")
        resumed = ImitationLearner.load(tmp_path / "model", demonstrations=wide, device="cpu")
        resumed.learn(2, reset_num_timesteps=False)
        assert resumed.num_timesteps == 4
        assert_equal(parameters(resumed), parameters(unbroken))

    def test_seeds_decide_everything_and_learning_leaves_global_generators_alone(self, wide):
        one, two, other = (make(wide, seed=seed, dropout=0.3, **PSE, **SMALL) for seed in (1, 1, 2))
        before = th.get_rng_state().tolist(), pickle.dumps(np.random.get_state())  # noqa: NPY002
        for model in (one, two, other):
            model.learn(3)
        assert (th.get_rng_state().tolist(), pickle.dumps(np.random.get_state())) == before  # noqa: NPY002
        assert_equal(parameters(one), parameters(two))
        assert not th.equal(one.policy.actor.weight, other.policy.actor.weight)

    def test_it_learns_its_demonstrations(self, wide):
        model = make(wide, learning_rate=1e-3, precision="auto", batch_size=128).learn(60)
        actions, _ = model.predict(wide.observations, deterministic=True)
        assert (actions[wide.actions == 1] == 1).mean() > 0.9
        assert (actions == wide.actions).mean() > 0.9

    def test_a_saved_model_predicts_without_demonstrations(self, wide, tmp_path):
        model = make(wide, **PSE, **SMALL).learn(2)
        model.save(tmp_path / "model")
        assert (tmp_path / "model.zip").stat().st_size < 2e7
        loaded = ImitationLearner.load(tmp_path / "model", device="cpu")
        np.testing.assert_array_equal(*(m.predict(wide.observations, deterministic=True)[0] for m in (loaded, model)))
        with pytest.raises(ValueError, match="learning needs demonstrations"):
            loaded.learn(1)

    def test_predict_takes_one_observation_or_a_batch_and_ties_go_right(self, wide):
        model = make(wide)
        one, _ = model.predict(wide.observations[0], deterministic=True)
        batch, _ = model.predict(wide.observations[:3], deterministic=True)
        assert one.shape == ()
        assert batch.shape == (3,)
        assert batch[0] == one
        sampled, _ = model.predict(wide.observations[:200], deterministic=False)
        assert set(sampled.tolist()) == {0, 1}
        for p in model.policy.actor.parameters():
            p.data.zero_()
        assert (model.predict(wide.observations[:5], deterministic=True)[0] == 0).all()

    def test_callbacks_logger_and_progress_bar(self, wide, tmp_path, capsys):
        class Stop(BaseCallback):
            def _on_step(self):
                return self.num_timesteps < 4

        model = make(wide, **PSE, **SMALL)
        model.set_logger(configure(str(tmp_path), ["csv"]))
        save = CheckpointCallback(save_freq=2, save_path=str(tmp_path / "saved"))
        model.learn(10, callback=[Stop(), save], log_interval=1, progress_bar=True)
        assert model.num_timesteps == 4
        head = (tmp_path / "progress.csv").read_text().splitlines()[0]
        assert {"train/imitation_loss", "train/alignment_loss", "train/learning_rate"} <= set(head.split(","))
        assert len(list((tmp_path / "saved").glob("*.zip"))) == 2
        assert "update" in capsys.readouterr().err

    def test_sb3s_eval_callback_works_with_an_environment(self, wide, tmp_path):
        import gymnasium as gym

        envs = [gym.make("bisimgym/JumpingTask-v0", obstacle_position=20, floor_height=10) for _ in range(2)]
        model = make(wide, env=envs[0])
        callback = EvalCallback(Monitor(envs[1]), eval_freq=2, n_eval_episodes=1, log_path=str(tmp_path), verbose=0)
        model.learn(4, callback=callback)
        assert callback.last_mean_reward <= 156
        assert len(np.load(tmp_path / "evaluations.npz")["results"]) == 2

    def test_set_random_seed_decides_what_is_drawn(self, wide):
        one, two = make(wide, seed=1), make(wide, seed=2)
        for model in (one, two):
            model.set_random_seed(7)
            model._prepare()
        np.testing.assert_array_equal(one._sample_actions(), two._sample_actions())

    def test_policies_of_another_epsilon_are_as_near_as_their_total_variation(self, wide):
        one, two, *_ = wide.slices()
        optimal = Alignment().distance(wide, one, two)
        assert optimal.max() > 1
        np.testing.assert_allclose(Alignment(epsilon=0.2).distance(wide, one, two), 0.6 * optimal)
        assert not Alignment(epsilon=0.5).distance(wide, one, two).any()
        three = dataclasses.replace(wide, actions=np.where(wide.actions == 1, 2, 0))  # of three actions
        np.testing.assert_allclose(Alignment(epsilon=0.2).distance(three, one, two), 0.7 * optimal)

    def test_bfloat16_is_close_to_float32(self, wide):
        full, half = (make(wide, precision=precision, **PSE) for precision in ("float32", "bfloat16"))
        observations = th.from_numpy(np.ascontiguousarray(wide.observations))
        with th.no_grad():
            one, two = (m.policy.logits(m.policy.images(observations)) for m in (full, half))
        assert (one - two).norm() / one.norm() < 0.02
        losses = [float(m.losses()["alignment"].detach()) for m in (full, half)]
        assert losses[1] == pytest.approx(losses[0], rel=0.02)

    @pytest.mark.skipif(not th.cuda.is_available(), reason="needs a CUDA device")
    def test_cuda_agrees_with_the_cpu(self, wide):
        cpu, cuda = (make(wide, device=device, **PSE).learn(3) for device in ("cpu", "cuda"))
        for a, b in zip(cpu.policy.parameters(), cuda.policy.parameters(), strict=True):
            th.testing.assert_close(a, b.cpu(), rtol=1e-2, atol=1e-3)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"augmentation": "blur"}, "augmentation must be None or 'randconv', got 'blur'"),
            ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
            ({"learning_rate": 0}, "learning_rate must be positive, got 0"),
            ({"frame_channels": 3}, "frame_channels=3 does not divide the 2 channels"),
            ({"alignment": {"metric": "mico"}}, "alignment metric must be one of .*'mico'"),
            ({"alignment": {"temperature": 0}}, "alignment temperature must be positive"),
            ({"alignment": {"epsilon": 0.6}}, r"alignment epsilon must be in \[0, 0.5\], got 0.6"),
            ({"alignment": {"epsilon": 0.1, "metric": "pi-bisimulation"}}, "alignment epsilon is for the metric 'psm'"),
            ({"precision": "half"}, "precision must be one of"),
            ({"data": None}, "learning needs demonstrations"),
            ({"batchsize": 4}, "batchsize"),
            ({"alignment": 5}, "alignment must be None, an Alignment or its settings, got 5"),
        ],
    )
    def test_bad_settings_are_named(self, wide, settings, message):
        with pytest.raises((ValueError, TypeError), match=message):
            make(**{"data": wide, **settings})


class TestRandConvVoter:
    def test_filters_stay_for_an_episode(self, wide):
        voter = RandConvVoter(make(wide, **PSE), np.random.default_rng(0))
        _, state = voter.predict(wide.observations[:4], episode_start=np.ones(4, dtype=bool))
        _, same = voter.predict(wide.observations[:4], state=state.copy(), episode_start=np.zeros(4, dtype=bool))
        np.testing.assert_array_equal(state, same)
        starts = np.array([True, False, False, False])
        kept = state.copy()
        _, new = voter.predict(wide.observations[:4], state=state, episode_start=starts)
        np.testing.assert_array_equal(state, kept)
        assert (new[0] != state[0]).any()
        np.testing.assert_array_equal(new[1:], state[1:])

    def test_probabilities_are_averaged_over_the_filters(self, wide):
        model = make(wide, **PSE)
        voter = RandConvVoter(model, np.random.default_rng(0), samples=3)
        actions, kernels = voter.predict(wide.observations[:50], episode_start=np.ones(50, dtype=bool))
        tensor = th.from_numpy(np.ascontiguousarray(wide.observations[:50]))
        with th.no_grad():
            images = model.policy.images(tensor)
            filtered = [convolve_frames(images, th.from_numpy(kernels[:, s])) for s in range(3)]
            votes = [model.policy.logits(f).softmax(1) for f in filtered]
        np.testing.assert_array_equal(actions, sum(votes).argmax(1).numpy())

    def test_always_clean_filters_are_the_plain_policy(self, wide):
        model = make(wide, clean_probability=1.0, **PSE, **SMALL).learn(3)
        actions, _ = RandConvVoter(model, np.random.default_rng(0)).predict(wide.observations)
        np.testing.assert_array_equal(actions, model.predict(wide.observations, deterministic=True)[0])


def test_dropout_keeps_the_mean(wide):
    dropped = make(wide, dropout=0.3)._drop(th.ones(400, 256))
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.7])

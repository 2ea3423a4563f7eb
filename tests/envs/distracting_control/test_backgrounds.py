"""Backgrounds of the study of metric learning under noise (images, noise), and images drawn large and averaged."""

import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco")
pytest.importorskip("dm_control")
from distracted import last_frame, make, rollout  # noqa: E402

from bisimgym.envs.distractions.presets import distraction  # noqa: E402
from bisimgym.envs.distractions.videos import NoiseSource, luma  # noqa: E402


class TestNoise:
    def test_values(self):
        frame = NoiseSource(200, 200).frames(0)[7]
        assert (frame.shape, frame.dtype) == ((200, 200, 3), np.uint8)
        # P(n <= 0) = 1/2 and P(n >= 1) = 0.1587; values below 1 become 0 too.
        assert np.mean(frame == 0) == pytest.approx(0.5 + 0.0016, abs=0.01)
        assert np.mean(frame == 255) == pytest.approx(0.1587, abs=0.01)
        assert abs(np.corrcoef(frame[..., 0].ravel(), frame[..., 1].ravel())[0, 1]) < 0.03

    def test_a_frame_follows_from_its_number(self):
        one, two = NoiseSource(6, 8), NoiseSource(6, 8)
        np.testing.assert_array_equal(one[3], two[3])
        assert (one[3] != one[4]).any()
        gray = NoiseSource(6, 8, grayscale=True)[3]
        np.testing.assert_array_equal(gray, luma(gray))

    def test_a_grain_is_a_square_of_one_value(self):
        frame = NoiseSource(6, 4, grain=2)[0]
        np.testing.assert_array_equal(frame, frame[::2, ::2].repeat(2, axis=0).repeat(2, axis=1))

    def test_it_is_fresh_at_every_step_and_behind_the_agent_alone(self):
        noisy, clean = make(preset="natural-noise", size=24), make(preset="clean", size=24)
        frames = [last_frame(observation) for observation in rollout(noisy, 3)[0]]
        plain = [last_frame(observation) for observation in rollout(clean, 3)[0]]
        for frame, other, bare in zip(frames[:-1], frames[1:], plain[:-1], strict=True):
            changed = (frame != bare).any(axis=-1)
            assert 0.8 < changed.mean() < 1  # the pole stays
            assert (frame != other)[changed].mean() > 0.5
        info = rollout(noisy, 1)[3][-1]
        assert info["background"] == "noise"

    def test_an_episode_follows_from_its_seed(self):
        one, two = (rollout(make(preset="natural-noise"), 2)[0] for _ in range(2))
        np.testing.assert_array_equal(one, two)
        env = make(preset="natural-noise")
        env.reset(seed=0)
        samples = env.redistract(env.clean_state(), 3, np.random.default_rng(0))
        assert len({sample.tobytes() for sample in samples}) == 3

    def test_it_can_be_on_the_sky(self):
        env = make(preset="pse-2video", content="noise", size=24)
        assert (rollout(env, 1)[0][0] != rollout(make(preset="pse-2video", size=24), 1)[0][0]).any()


class TestImages:
    @pytest.mark.parametrize("preset", ["natural-image", "natural-image-color"])
    def test_one_image_stays_through_training(self, preset):
        env = make(preset=preset)
        shown = [(info["background"], info["background_frame"]) for seed in (0, 1) for info in rollout(env, 2, seed)[3]]
        assert set(shown) == {(env._scene.videos.names[0], 0)}
        colored = np.ptp(last_frame(env.reset(seed=3)[0]).astype(int), axis=-1) > 0
        assert (colored.mean() > 0.5) == (preset == "natural-image-color")

    def test_held_out_images_come_in_order(self):
        env = make(preset="natural-image", split="test")
        env.reset(seed=0)
        shown = [env.reset()[1]["background"] for _ in range(3)]
        assert shown == list(env._scene.videos.names[1:4])
        assert len(env._scene.videos.names) == 30

    def test_they_differ_from_videos_in_color_and_motion_alone(self):
        video, image = distraction("natural-video"), distraction("natural-image")
        assert distraction("natural-video-color", grayscale=True) == video
        assert distraction("natural-image-color", grayscale=True) == image
        assert (video.dynamic, image.dynamic, image.num_videos, image.start) == (True, False, 1, "first")


class TestSupersampling:
    @pytest.mark.parametrize("preset", ["clean", "natural-video", "pse-2video"])
    def test_a_pixel_is_the_mean_of_a_square(self, preset):
        large, small = make(preset=preset, size=48), make(preset=preset, size=16, supersampling=3)
        for big, seen in zip(rollout(large, 2)[0], rollout(small, 2)[0], strict=True):
            expected = np.rint(big.reshape(16, 3, 16, 3, 9).mean(axis=(1, 3)))
            np.testing.assert_allclose(seen, expected, atol=1)

    def test_noise_keeps_its_strength(self):
        frame = last_frame(make(preset="natural-noise", size=24, supersampling=2).reset(seed=0)[0])
        assert np.mean(frame == 0) > 0.3
        assert np.mean(frame == 255) > 0.1

    def test_the_sampler_shows_the_same(self):
        env = make(preset="clean", size=16, supersampling=2)
        observation = env.reset(seed=0)[0]
        np.testing.assert_array_equal(env.redistract(env.clean_state(), 1, np.random.default_rng(0))[0], observation)

    def test_it_is_at_least_one(self):
        with pytest.raises(ValueError, match="supersampling must be .*at least 1, got 0"):
            make(supersampling=0)

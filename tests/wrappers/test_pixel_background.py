import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec, register
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import FrameStackObservation, GrayscaleObservation, TimeLimit

from bisimgym.benchmarks.measures.denoising import denoising_factor
from bisimgym.envs.distractions.protocol import Redistractable
from bisimgym.wrappers import pixel_background
from bisimgym.wrappers.pixel_background import MaskedImage, PixelBackground

SKY = (0, 0, 200)
HEIGHT, WIDTH, LENGTH = 6, 9, 25


class Block(gym.Env):
    """A block of random color that moves at random before a blue sky. It draws each image into the same memory."""

    metadata = {"render_modes": []}
    observation_space = gym.spaces.Box(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def __init__(self):
        self.image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        self.color = self.np_random.integers(10, 256, size=3)
        return self._draw()

    def step(self, action):
        self.time += 1
        observation, info = self._draw()
        return observation, float(self.row), False, self.time == LENGTH, info

    def _draw(self):
        self.row, self.column = (int(self.np_random.integers(limit)) for limit in (HEIGHT - 1, WIDTH - 1))
        self.image[:] = SKY
        self.image[self.row : self.row + 2, self.column : self.column + 2] = self.color
        sky = np.ones((HEIGHT, WIDTH), bool)
        sky[self.row : self.row + 2, self.column : self.column + 2] = False
        return self.image, {"sky": sky}


class FakeSource:
    """Video v of 10 + v frames: frame t has the color (40 v, t, 7) everywhere."""

    names = ["zero", "one", "two"]

    def __init__(self, *arguments, **settings):
        self.arguments, self.settings = arguments, settings

    def frames(self, index):
        frames = np.empty((10 + index, HEIGHT, WIDTH, 3), np.uint8)
        frames[..., 0], frames[..., 2] = 40 * index, 7
        frames[..., 1] = np.arange(10 + index)[:, None, None]
        return frames


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(pixel_background, "video_source", FakeSource)


def roll_out(env, steps=60, seed=3):
    """Return copies of observations, infos and rewards, over the ends of episodes."""
    observation, info = env.reset(seed=seed)
    observations, infos, rewards = [observation.copy()], [info], []
    for _ in range(steps):
        observation, reward, terminated, truncated, info = env.step(0)
        rewards.append(reward)
        if terminated or truncated:
            observation, info = env.reset()
        observations.append(observation.copy())
        infos.append(info)
    return np.stack(observations), infos, rewards


def by_color(observation, info):
    return (observation == SKY).all(axis=-1)


MASKS = pytest.mark.parametrize(
    "mask", ["sky", SKY, list(SKY), np.array(SKY), by_color], ids=lambda m: type(m).__name__
)


@MASKS
def test_the_background_shows_the_video_and_the_rest_the_task(fake, mask):
    clean, clean_infos, rewards = roll_out(Block())
    observations, infos, distracted_rewards = roll_out(PixelBackground(Block(), mask))
    assert distracted_rewards == rewards
    assert observations.dtype == np.uint8
    np.testing.assert_array_equal([info["clean_observation"] for info in infos], clean)
    sky = np.stack([info["sky"] for info in clean_infos])
    np.testing.assert_array_equal(observations[~sky], clean[~sky])
    for image, mask_of_image in zip(observations, sky, strict=True):
        colors = np.unique(image[mask_of_image], axis=0)
        assert len(colors) == 1
        assert colors[0, 0] in (0, 40, 80)
        assert colors[0, 2] == 7


def shown(observations, infos):
    """Return the video and the frame of each image."""
    color = [image[info["sky"]][0] for image, info in zip(observations, infos, strict=True)]
    return np.array(color)[:, 0] // 40, np.array(color, dtype=int)[:, 1]


def test_a_loop_moves_by_one_frame_a_step_and_a_new_episode_draws_a_video(fake):
    observations, infos, _ = roll_out(PixelBackground(Block(), "sky", playback="loop"), steps=40 * LENGTH - 1)
    video, frame = (x.reshape(40, LENGTH) for x in shown(observations, infos))
    assert (video == video[:, :1]).all()
    assert (frame == (frame[:, :1] + np.arange(LENGTH)) % (10 + video)).all()
    assert set(video[:, 0]) == {0, 1, 2}
    assert len(set(frame[:, 0])) >= 8


def test_bouncing_never_cuts(fake):
    observations, infos, _ = roll_out(PixelBackground(Block(), "sky"), steps=40 * LENGTH - 1)
    _, frame = (x.reshape(40, LENGTH) for x in shown(observations, infos))
    assert (abs(np.diff(frame, axis=1)) <= 1).all()
    assert frame.min() == 0
    assert frame.max() == 11
    assert {-1, 1} <= set(np.diff(frame, axis=1).ravel())


def test_a_still_background_is_one_frame_an_episode(fake):
    observations, infos, _ = roll_out(PixelBackground(Block(), "sky", dynamic=False), steps=40 * LENGTH - 1)
    video, frame = (x.reshape(40, LENGTH) for x in shown(observations, infos))
    assert (video == video[:, :1]).all()
    assert (frame == frame[:, :1]).all()
    assert len(set(frame[:, 0])) >= 8


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_strength_blends_the_background_alone(fake, strength):
    clean, clean_infos, _ = roll_out(Block())
    full, _, _ = roll_out(PixelBackground(Block(), "sky"))
    observations, _, _ = roll_out(PixelBackground(Block(), "sky", strength=strength))
    sky = np.stack([info["sky"] for info in clean_infos])
    np.testing.assert_array_equal(observations[~sky], clean[~sky])
    np.testing.assert_allclose(observations[sky], strength * full[sky] + (1 - strength) * clean[sky], atol=0.5 + 1e-9)


def test_seeds_fix_the_videos_and_differ(fake):
    env = PixelBackground(Block(), "sky")
    first, _, _ = roll_out(env)
    np.testing.assert_array_equal(roll_out(env)[0], first)
    starts = set()
    for seed in range(20):
        observation, info = env.reset(seed=seed)
        starts.add(tuple(observation[info["sky"]][0]))
    assert len(starts) > 10
    # Without a seed the stream goes on.
    again, again_info = env.reset()
    env.reset(seed=19)
    expected, expected_info = env.reset()
    np.testing.assert_array_equal(again[again_info["sky"]][0], expected[expected_info["sky"]][0])


def test_the_source_gets_the_settings(fake):
    env = PixelBackground(Block(), "sky", "somewhere", split="test", count=2, grayscale=True)
    assert env.source.arguments == ("somewhere",)
    assert env.source.settings == {"split": "test", "size": (HEIGHT, WIDTH), "grayscale": True, "count": 2}


class TestSampler:
    def test_it_draws_videos_and_frames_uniformly(self, fake):
        env = PixelBackground(Block(), "sky")
        assert isinstance(env, Redistractable)
        clean, info = env.reset(seed=0)[1]["clean_observation"], env.reset(seed=0)[1]
        images = env.redistract(env.clean_state(), 3000, np.random.default_rng(0))
        assert images.shape == (3000, HEIGHT, WIDTH, 3)
        assert images.dtype == np.uint8
        assert (images[:, ~info["sky"]] == clean[~info["sky"]]).all()
        background = images[:, info["sky"]]
        assert (background == background[:, :1]).all()
        video, frame = background[:, 0, 0] // 40, background[:, 0, 1]
        for v in range(3):
            counts = np.bincount(frame[video == v])
            assert len(counts) == 10 + v
            assert abs(counts.sum() - 1000) < 5 * 26
            assert (abs(counts - 1000 / (10 + v)) < 5 * 10).all()

    def test_it_leaves_the_environment_alone(self, fake):
        expected, _, _ = roll_out(PixelBackground(Block(), "sky"), steps=10)
        env = PixelBackground(Block(), "sky")
        observations = [env.reset(seed=3)[0]]
        for _ in range(10):
            env.redistract(env.clean_state(), 3, np.random.default_rng(0))
            observations.append(env.step(0)[0])
        np.testing.assert_array_equal(observations, expected)

    def test_clean_states_outlive_steps_and_pickling(self, fake):
        env = PixelBackground(Block(), "sky")
        clean = env.reset(seed=0)[1]["clean_observation"].copy()
        state = env.clean_state()
        env.step(0)
        np.testing.assert_array_equal(state.observation, clean)
        again = pickle.loads(pickle.dumps(state))
        images = [env.redistract(s, 4, np.random.default_rng(0)) for s in (state, again)]
        np.testing.assert_array_equal(*images)

    def test_other_states_are_refused(self, fake):
        env = PixelBackground(Block(), "sky")
        with pytest.raises(gym.error.ResetNeeded, match="clean_state"):
            env.clean_state()
        state = MaskedImage(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), bool))
        with pytest.raises(ValueError, match=r"image of shape \(6, 9, 3\), got \(2, 2, 3\)"):
            env.redistract(state, 1, np.random.default_rng(0))
        env.reset()
        with pytest.raises(ValueError, match="count must be"):
            env.redistract(env.clean_state(), 0, np.random.default_rng(0))

    def test_the_denoising_factor_of_images(self, fake):
        env = TimeLimit(PixelBackground(Block(), SKY), 20)
        pixels = denoising_factor(lambda images: images.reshape(len(images), -1).astype(np.float32), env)
        assert pixels.anchors == 200
        assert 0 < pixels.value < 1

        def color_of_block(images):
            block = images[..., 2:] != 7  # the blue of all videos here, and of no block
            return (images * block).sum(axis=(1, 2)) / block.sum(axis=(1, 2))

        assert denoising_factor(color_of_block, env).value == 1.0


@pytest.mark.filterwarnings("ignore:.*unwrapped version:UserWarning")
def test_gymnasium_s_checker_passes(fake):
    env = PixelBackground(Block(), "sky")
    assert env.observation_space == Block.observation_space
    check_env(env, skip_render_check=True)


@pytest.fixture
def registered():
    register(id="Block-v0", entry_point=f"{__name__}:Block", disable_env_checker=True)
    yield "Block-v0"
    del gym.registry["Block-v0"]


@pytest.mark.parametrize("mask", ["sky", SKY, np.array(SKY)], ids=lambda m: type(m).__name__)
def test_the_spec_survives_json_and_the_environment_pickling(registered, mask):
    settings = {"count": np.int64(2), "playback": "loop", "strength": np.float32(0.5), "grayscale": True}
    env = PixelBackground(gym.make(registered), mask, **settings)
    expected = roll_out(env)[0]
    np.testing.assert_array_equal(roll_out(pickle.loads(pickle.dumps(env)))[0], expected)
    np.testing.assert_array_equal(roll_out(gym.make(EnvSpec.from_json(env.spec.to_json())))[0], expected)
    # Halfway through an episode a pickled environment goes on as the original does, and takes no video along.
    env.reset(seed=1)
    pickled = pickle.dumps(env)
    assert len(pickled) < 10_000
    np.testing.assert_array_equal(pickle.loads(pickled).step(0)[0], env.step(0)[0])


@pytest.mark.parametrize("grayscale", [False, True])
def test_procedural_videos(grayscale):
    env = PixelBackground(Block(), "sky", grayscale=grayscale)
    clean, clean_infos, _ = roll_out(Block())
    observations, _, _ = roll_out(env)
    sky = np.stack([info["sky"] for info in clean_infos])
    np.testing.assert_array_equal(observations[~sky], clean[~sky])
    background = observations[sky]
    assert len(np.unique(background, axis=0)) > 100
    gray = (background == background[:, :1]).all()
    assert gray == grayscale
    held_out = PixelBackground(Block(), "sky", split="test", grayscale=grayscale)
    assert not set(env.source.names) & set(held_out.source.names)


@pytest.mark.parametrize(
    "wrap", [lambda env: FrameStackObservation(env, 3), GrayscaleObservation], ids=["stacked", "gray"]
)
def test_other_observations_are_refused(wrap):
    with pytest.raises(ValueError, match=r"needs observations uint8\[H, W, 3\].*got Box"):
        PixelBackground(wrap(Block()), "sky")
    with pytest.raises(ValueError, match=r"needs observations uint8\[H, W, 3\]"):
        PixelBackground(gym.make("CartPole-v1"), "sky")


def test_a_background_before_a_background_is_refused(fake):
    with pytest.raises(ValueError, match=r"needs a clean environment.*distracts its observations already"):
        PixelBackground(TimeLimit(PixelBackground(Block(), "sky"), 5), "sky")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask": (0, 0)}, r"mask must be a function .* integers in 0..255, got \(0, 0\)"),
        ({"mask": (0, 0, 256)}, "mask must be a function"),
        ({"mask": (0, 0, -1)}, "mask must be a function"),
        ({"mask": (0.5, 0, 0)}, "mask must be a function"),
        ({"mask": None}, "mask must be a function"),
        ({"strength": 1.1}, r"strength must be a number in \[0, 1\], got 1.1"),
        ({"strength": float("nan")}, "strength must be a number"),
        ({"strength": True}, "strength must be a number"),
        ({"playback": "reverse"}, "playback must be one of .* got 'reverse'"),
    ],
)
def test_arguments_out_of_range_are_named(fake, arguments, message):
    with pytest.raises(ValueError, match=message):
        PixelBackground(Block(), **{"mask": "sky", **arguments})


def test_masks_that_do_not_fit_are_named(fake):
    with pytest.raises(ValueError, match=r"mask names 'earth', but info has only the entries \['sky'\]"):
        PixelBackground(Block(), "earth").reset()
    with pytest.raises(ValueError, match=r"mask must give bool\[6, 9\], got uint8\[6, 9, 3\]"):
        PixelBackground(Block(), lambda image, info: image).reset()
    with pytest.raises(ValueError, match=r"mask must give bool\[6, 9\], got bool\[9, 6\]"):
        PixelBackground(Block(), lambda image, info: info["sky"].T).reset()


def test_steps_before_a_reset_are_refused(fake):
    with pytest.raises(gym.error.ResetNeeded):
        PixelBackground(Block(), "sky").step(0)

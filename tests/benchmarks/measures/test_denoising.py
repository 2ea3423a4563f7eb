import math

import gymnasium as gym
import numpy as np
import pytest
from noise_envs import SIZE, Fresh, identity
from scipy.integrate import quad

from bisimgym.benchmarks.measures.denoising import DenoisingFactor, denoising_factor
from bisimgym.wrappers import GaussianNoise, RandomProjection

#: Dimensions k and standard deviation of the noise, then mean distance of positives, of negatives, and the factor of
#: the identity for clean states from N(0, I_17).
ACCEPTANCE = [
    (2, 1.0, 1.7725, 6.0839, 0.54878),
    (16, 1.0, 5.5692, 8.0627, 0.18292),
    (32, 1.0, 7.9378, 9.8491, 0.10746),
    (64, 1.0, 11.2696, 12.6887, 0.05923),
    (128, 1.0, 15.9688, 17.0001, 0.03128),
    (32, 0.2, 1.5876, 5.9704, 0.57990),
    (32, 2.0, 15.8755, 16.9230, 0.03194),
    (32, 4.0, 31.7510, 32.2897, 0.00841),
    (32, 8.0, 63.5020, 63.7734, 0.00213),
]


class Drifting(Fresh):
    """One state for the whole episode, so that observations of an episode depend on each other as much as they can."""

    def reset(self, *, seed=None, options=None):
        self.state, info = super().reset(seed=seed)
        return self.state, info

    def step(self, action):
        _, *rest = super().step(action)
        return self.state, *rest


def clean_part(observations):
    return observations[:, :SIZE]


def noisy_part(observations):
    return observations[:, SIZE:]


def mean_norm(variances):
    """Return E|x| for independent Gaussian entries of mean 0 with the given variances."""
    variances = np.asarray(variances, dtype=float)

    def integrand(log_t):
        t = math.exp(log_t)
        return -np.expm1(-0.5 * np.log1p(2 * variances * t).sum()) / math.sqrt(t)

    return quad(integrand, -60, 60, limit=500, epsabs=1e-10)[0] / (2 * math.sqrt(math.pi))


def exact(dimensions, std):
    """Return the distances of the identity: ``sigma sqrt(2) E[chi_k]`` for positives, and for negatives."""
    mean_chi = math.sqrt(2) * math.exp(math.lgamma((dimensions + 1) / 2) - math.lgamma(dimensions / 2))
    return std * math.sqrt(2) * mean_chi, mean_norm([2.0] * SIZE + [2 * std**2] * dimensions)


def test_the_exact_values_agree_with_each_other():
    positive, negative = exact(5, 3.0)
    assert mean_norm([2 * 9.0] * 5) == pytest.approx(positive, rel=1e-7)
    draws = np.random.default_rng(0).normal(size=(200_000, 22)) * np.sqrt([2.0] * SIZE + [18.0] * 5)
    assert np.linalg.norm(draws, axis=1).mean() == pytest.approx(negative, rel=2e-3)


@pytest.mark.parametrize(("dimensions", "std", "positive", "negative", "value"), ACCEPTANCE)
def test_the_identity_has_the_known_values(dimensions, std, positive, negative, value):
    result = denoising_factor(identity, GaussianNoise(Fresh(), dimensions, std), episodes=20)
    assert result.anchors == 2000
    exact_positive, exact_negative = exact(dimensions, std)
    exact_value = (exact_negative - exact_positive) / (exact_negative + exact_positive)
    assert exact_positive == pytest.approx(positive, abs=6e-5)
    assert exact_negative == pytest.approx(negative, abs=6e-5)
    assert exact_value == pytest.approx(value, abs=6e-6)
    # A distance varies by at most std sqrt(2) (positives) and sqrt(2) max(std, 1) (negatives, whose mean over pairs of
    # 2000 anchors has about the error of 1000 independent pairs).
    assert result.positive == pytest.approx(exact_positive, abs=4 * std * math.sqrt(2 / 2000))
    assert result.negative == pytest.approx(exact_negative, abs=4 * max(std, 1) * math.sqrt(2 / 1000))
    own = exact_negative / 2000  # what the anchor among its own negatives takes away
    expected = (exact_negative - own - exact_positive) / (exact_negative - own + exact_positive)
    assert result.value == pytest.approx(expected, abs=4 * result.standard_error)
    assert 0 < result.standard_error < 0.005
    assert result.value == (result.negative - result.positive) / (result.negative + result.positive)


def test_the_clean_part_alone_gives_one_exactly():
    result = denoising_factor(clean_part, GaussianNoise(Fresh(), 32, 8.0), episodes=3)
    assert (result.value, result.positive, result.standard_error) == (1.0, 0.0, 0.0)
    assert result.negative > 5


def test_a_single_clean_number_gives_one_too():
    assert denoising_factor(lambda o: o[:, :1], GaussianNoise(Fresh()), episodes=2).value == 1.0


def test_the_noise_alone_gives_zero_but_for_the_anchor_among_its_negatives():
    result = denoising_factor(noisy_part, GaussianNoise(Fresh(), 4, mean=3.0), episodes=20)
    assert result.value == pytest.approx(-1 / (2 * 2000), abs=4 * result.standard_error)
    assert 0 < result.standard_error < 0.01


def test_a_constant_gives_zero():
    result = denoising_factor(lambda o: np.ones((len(o), 3)), GaussianNoise(Fresh()), episodes=2)
    assert result == DenoisingFactor(0.0, 0.0, 0.0, 200, 0.0)


def test_the_inverse_of_the_projection_without_the_noise_gives_one():
    env = RandomProjection(Fresh(), dimensions=32, rows=60, projection_seed=2)
    inverse = np.linalg.pinv(env.noise.projection)[:SIZE]
    assert denoising_factor(lambda o: o @ inverse.T, env, episodes=3).value == pytest.approx(1, abs=1e-5)
    # With another matrix that encoder mixes noise into what it keeps.
    other = RandomProjection(Fresh(), dimensions=32, rows=60, projection_seed=3)
    assert denoising_factor(lambda o: o @ inverse.T, other, episodes=3).value < 0.5


def test_scale_and_shift_of_the_embedding_do_not_matter():
    env = GaussianNoise(Fresh())
    first = denoising_factor(identity, env, episodes=2)
    second = denoising_factor(lambda o: -3.0 * o.astype(np.float64) + 100.0, env, episodes=2)
    assert second.value == pytest.approx(first.value, rel=1e-9)
    assert second.standard_error == pytest.approx(first.standard_error, rel=1e-6)
    assert second.positive == pytest.approx(3 * first.positive, rel=1e-9)


def test_without_noise_only_the_state_moves_the_embedding():
    assert denoising_factor(identity, GaussianNoise(Fresh(), dimensions=0), episodes=2).value == 1.0


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_torch_networks(dtype):
    import torch as th

    th.manual_seed(0)
    network = th.nn.Sequential(th.nn.Linear(SIZE + 8, 64), th.nn.ReLU(), th.nn.Linear(64, 5)).to(getattr(th, dtype))
    batches = []

    def encoder(observations):
        batches.append(observations)
        return network(th.as_tensor(observations).to(getattr(th, dtype)))

    result = denoising_factor(encoder, GaussianNoise(Fresh(), 8), episodes=2, positives=3)
    assert 0.02 < result.value < 0.6
    assert {batch.shape for batch in batches} == {(n, 25) for n in (125, 75, 375, 225)}
    assert all(batch.dtype == np.float32 for batch in batches)


def test_an_agent_with_embed():
    class Agent:
        def embed(self, observations):
            return clean_part(observations)

        def __call__(self, observations):
            raise AssertionError("embed is what encodes")

    assert denoising_factor(Agent(), GaussianNoise(Fresh()), episodes=2).value == 1.0


def test_the_seed_decides():
    env = GaussianNoise(Fresh(), 4)
    first = denoising_factor(identity, env, episodes=2, seed=5)
    assert denoising_factor(identity, env, episodes=2, seed=5) == first
    assert denoising_factor(identity, GaussianNoise(Fresh(), 4), episodes=2, seed=5) == first
    other = denoising_factor(identity, env, episodes=2, seed=6)
    assert (other.positive, other.negative) != (first.positive, first.negative)


def test_the_block_does_not_matter():
    results = [denoising_factor(identity, GaussianNoise(Fresh(), 4), episodes=2, block=n) for n in (1, 7, 125, 1000)]
    assert len(set(results)) == 1


def test_the_standard_error_is_that_of_repeated_measurements():
    # Whole episodes show one state: an error that took anchors for independent would be far too small.
    env = GaussianNoise(Drifting(length=10, size=2), 2)
    results = [denoising_factor(identity, env, episodes=20, positives=4, negatives=4, seed=s) for s in range(150)]
    spread = np.std([result.value for result in results], ddof=1)
    claimed = np.sqrt(np.mean([result.standard_error**2 for result in results]))
    assert 0.8 < claimed / spread < 1.25


def test_one_episode_has_no_standard_error():
    result = denoising_factor(identity, GaussianNoise(Fresh()), episodes=1)
    assert result.anchors == 100
    assert math.isnan(result.standard_error)


class Counting(gym.Env):
    """The observation is the number of steps since the first reset."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, length=10):
        self.length, self.count = length, -1

    def reset(self, *, seed=None, options=None):
        self.time = 0
        self.count += 1
        return np.array([self.count], np.float32), {}

    def step(self, action):
        self.time += 1
        self.count += 1
        return np.array([self.count], np.float32), 0.0, self.time == self.length, False, {}


def anchors_of(**arguments):
    seen = []

    def encoder(observations):
        seen.append(observations[:, 0])
        return observations

    result = denoising_factor(encoder, GaussianNoise(Counting(), 0), block=1000, **arguments)
    assert result.anchors == len(seen[0])
    return seen[0].astype(int).tolist()


def test_anchors_are_the_observations_that_are_acted_on():
    # 11 numbers an episode, the last of which is never acted on.
    assert anchors_of(episodes=2) == [*range(10), *range(11, 21)]


def test_a_limited_number_of_anchors_is_a_uniform_sample_without_replacement():
    counts = np.zeros(22)
    for seed in range(400):
        drawn = anchors_of(episodes=2, max_anchors=5, seed=seed, positives=1, negatives=1)
        assert len(set(drawn)) == 5
        counts[drawn] += 1
    counts = np.delete(counts, [10, 21])
    # Each is drawn by a quarter of the 400 seeds: 100, with a standard deviation of 8.7.
    assert counts.sum() == 2000
    assert (abs(counts - 100) < 4.5 * 8.7).all()
    assert anchors_of(episodes=2, max_anchors=100) == anchors_of(episodes=2)


def test_negatives_are_all_anchors_alike():
    # Two values, one in each episode: half of the pairs, those of different episodes, have distance 1.
    class Two(Counting):
        def reset(self, *, seed=None, options=None):
            self.episode = getattr(self, "episode", -1) + 1
            super().reset()
            return np.array([self.episode], np.float32), {}

        def step(self, action):
            _, *rest = super().step(action)
            return np.array([self.episode], np.float32), *rest

    result = denoising_factor(identity, GaussianNoise(Two(length=1000), 0), episodes=2)
    assert result.negative == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(32_000))


def test_progress_is_shown_if_asked(capsys):
    denoising_factor(identity, GaussianNoise(Fresh()), episodes=1)
    assert capsys.readouterr().err == ""
    denoising_factor(identity, GaussianNoise(Fresh()), episodes=1, progress=True)
    shown = capsys.readouterr().err
    assert "episodes" in shown
    assert "blocks of anchors" in shown

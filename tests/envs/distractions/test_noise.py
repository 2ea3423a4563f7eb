import math
import pickle
from dataclasses import replace

import numpy as np
import pytest

from bisimgym.envs.distractions.noise import MAX_SCALE, ObservationNoise, random_projection_matrix
from bisimgym.envs.distractions.protocol import check_count, distraction_generator


def rng(seed=0):
    return np.random.default_rng(seed)


class TestApply:
    def test_the_state_comes_first_and_noise_with_the_given_moments_after_it(self):
        clean = rng().normal(size=(200_000, 2))
        observations = ObservationNoise(3, std=2.0, mean=-1.5).apply(clean, rng(1))
        assert observations.dtype == np.float32
        np.testing.assert_array_equal(observations[:, :2], clean.astype(np.float32))
        noise = observations[:, 2:].astype(np.float64)
        # Five standard errors of means, variances and correlations.
        count = len(clean)
        np.testing.assert_allclose(noise.mean(axis=0), -1.5, atol=5 * 2 / math.sqrt(count))
        np.testing.assert_allclose(noise.var(axis=0), 4, atol=5 * 4 * math.sqrt(2 / count))
        correlation = np.corrcoef(np.concatenate([noise, clean], axis=1).T)
        np.testing.assert_allclose(correlation - np.eye(5), 0, atol=5 / math.sqrt(count))

    def test_every_row_of_any_batch_has_its_own_noise(self):
        observations = ObservationNoise(4).apply(np.zeros((3, 5, 2)), rng())
        assert observations.shape == (3, 5, 6)
        assert len(np.unique(observations[..., 2:])) == 3 * 5 * 4

    def test_a_batch_is_drawn_like_its_rows_one_by_one(self):
        noise, clean = ObservationNoise(4, std=3.0), rng().normal(size=(7, 2))
        one_by_one, stream = [], rng(5)
        for row in clean:
            one_by_one.append(noise.apply(row, stream))
        np.testing.assert_array_equal(noise.apply(clean, rng(5)), np.stack(one_by_one))

    def test_a_projection_multiplies_state_and_noise(self):
        matrix, clean = rng(3).normal(size=(9, 6)), rng().normal(size=(5, 2))
        plain, mixed = ObservationNoise(4), ObservationNoise(4, projection=matrix)
        assert plain.output_size(2) == 6
        assert mixed.output_size(2) == 9
        joint = np.concatenate([clean, rng(8).standard_normal((5, 4))], axis=1)
        np.testing.assert_allclose(mixed.apply(clean, rng(8)), joint @ matrix.T, rtol=1e-5, atol=1e-6)

    def test_without_dimensions_the_observation_is_the_state(self):
        clean = rng().normal(size=(5, 3)).astype(np.float32)
        stream = rng(4)
        np.testing.assert_array_equal(ObservationNoise(0).apply(clean, stream), clean)
        assert stream.bit_generator.state == rng(4).bit_generator.state

    def test_the_state_is_not_changed(self):
        clean = np.ones(3, dtype=np.float32)
        ObservationNoise(0).apply(clean, rng())[:] = 7
        assert (clean == 1).all()

    def test_integer_states(self):
        observations = ObservationNoise(1).apply(np.array([250, 3], dtype=np.uint8), rng())
        assert observations[:2].tolist() == [250, 3]

    def test_states_of_another_size_are_refused(self):
        noise = ObservationNoise(4, projection=np.eye(6))
        with pytest.raises(ValueError, match=r"for states of 2 entries and 4 of noise, but the state has 3"):
            noise.apply(np.zeros(3), rng())
        with pytest.raises(ValueError, match="scalar"):
            ObservationNoise(4).apply(np.float64(1), rng())


class TestLaw:
    def test_a_shifted_law_keeps_the_rest(self):
        law = ObservationNoise(4, std=2.0, projection=np.eye(6))
        shifted = replace(law, mean=1.0)
        assert (shifted.dimensions, shifted.std, shifted.mean) == (4, 2.0, 1.0)
        np.testing.assert_array_equal(shifted.projection, law.projection)

    def test_the_projection_is_a_copy_that_cannot_be_written_to(self):
        matrix = np.eye(6)
        law = ObservationNoise(4, projection=matrix)
        matrix[:] = 0
        np.testing.assert_array_equal(law.projection, np.eye(6))
        with pytest.raises(ValueError, match="read-only"):
            law.projection[0] = 1

    def test_pickled_laws_draw_alike(self):
        law = ObservationNoise(4, 2.0, 1.0, random_projection_matrix(8, 6, seed=1))
        again = pickle.loads(pickle.dumps(law))
        np.testing.assert_array_equal(again.apply(np.ones(2), rng()), law.apply(np.ones(2), rng()))

    def test_numbers_of_numpy_become_python_s(self):
        law = ObservationNoise(np.int64(4), np.float32(2), np.int32(1))
        assert [type(value) for value in (law.dimensions, law.std, law.mean)] == [int, float, float]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"dimensions": -1}, "dimensions must be an integer of at least 0, got -1"),
            ({"dimensions": 2.0}, "dimensions must be an integer of at least 0, got 2.0"),
            ({"dimensions": True}, "dimensions must be an integer"),
            ({"std": -0.1}, r"std must be a number in \[0, 1e\+30\], got -0.1"),
            ({"std": math.inf}, "std must be a number"),
            ({"std": math.nan}, "std must be a number"),
            ({"std": "1"}, "std must be a number"),
            ({"mean": math.nan}, r"mean must be a number in \[-1e\+30, 1e\+30\], got nan"),
            ({"mean": -math.inf}, "mean must be a number"),
            ({"projection": np.zeros(3)}, r"float\[m, d \+ 2\], got shape \(3,\)"),
            ({"projection": np.full((3, 3), np.nan)}, "projection must be a finite"),
            ({"projection": np.eye(2)}, "more than 2 columns"),
            ({"projection": np.ones((3, 4))}, "at least as many rows as columns"),
            ({"projection": np.ones((4, 4))}, "independent columns, got rank 1 with 4 columns"),
        ],
    )
    def test_values_out_of_range_are_named(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            ObservationNoise(**{"dimensions": 2, **arguments})

    def test_the_largest_scale_stays_finite(self):
        law = ObservationNoise(64, MAX_SCALE, MAX_SCALE, random_projection_matrix(66, 66, seed=0))
        assert np.isfinite(law.apply(np.zeros(2), rng())).all()


class TestRandomProjection:
    def test_it_is_a_function_of_its_arguments(self):
        matrix = random_projection_matrix(8, 6, seed=3)
        np.testing.assert_array_equal(matrix, random_projection_matrix(8, 6, seed=3))
        assert not np.isin(matrix, random_projection_matrix(8, 6, seed=4)).any()

    def test_entries_are_standard_normal(self):
        entries = random_projection_matrix(300, 300, seed=0).ravel()
        assert abs(entries.mean()) < 5 / 300
        assert abs(entries.var() - 1) < 5 * math.sqrt(2) / 300
        # The fourth moment tells a normal law from others with the same mean and variance; its own variance is 96.
        assert abs((entries**4).mean() - 3) < 5 * math.sqrt(96) / 300

    def test_it_shares_no_numbers_with_an_environment_of_the_same_seed(self):
        matrix = random_projection_matrix(8, 6, seed=3)
        assert not np.isin(matrix, np.random.default_rng(3).standard_normal(1000)).any()

    def test_a_singular_draw_is_drawn_again(self, monkeypatch):
        ranks = iter([5, 6])
        monkeypatch.setattr(np.linalg, "matrix_rank", lambda matrix: next(ranks))
        again = random_projection_matrix(6, 6, seed=3)
        monkeypatch.undo()
        assert not np.isin(again, random_projection_matrix(6, 6, seed=3)).any()
        assert np.linalg.matrix_rank(again) == 6

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((5, 6, 0), "rows must be an integer of at least 6.*fewer would lose part of the state, got 5"),
            ((6.0, 6, 0), "rows must be an integer"),
            ((6, 0, 0), "columns must be an integer of at least 1, got 0"),
            ((6, 6, -1), "seed of the projection must be an integer of at least 0, got -1"),
            ((6, 6, None), "seed of the projection must be an integer of at least 0, got None"),
        ],
    )
    def test_arguments_out_of_range_are_named(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            random_projection_matrix(*arguments)


def test_streams_of_distractions_are_apart_from_the_task_s_and_from_each_other():
    task = np.random.default_rng(5)
    numbers = [generator.random(1000) for generator in (task, *task.spawn(2))]
    numbers += [distraction_generator(5, stream).random(1000) for stream in (0x6E6F6973, 0x76696465)]
    assert len(np.unique(np.concatenate(numbers))) == 5000
    assert distraction_generator(5, 7).random() == distraction_generator(5, 7).random()
    assert distraction_generator(None, 7).random() != distraction_generator(None, 7).random()


@pytest.mark.parametrize("count", [0, -1, 1.0, True, None])
def test_counts_out_of_range_are_named(count):
    with pytest.raises(ValueError, match="count must be an integer of at least 1, got"):
        check_count(count)

import os

import numpy as np
import pytest

from bisimgym.benchmarks.measures import encoder_score, score_encoder
from bisimgym.benchmarks.measures.exact_cache import cache_folder, digest, solved_once
from bisimgym.benchmarks.measures.metric_fidelity import euclidean
from bisimgym.benchmarks.measures.processes import fidelity_process
from bisimgym.benchmarks.suites.fidelity.pictures import FILES, figures_of

TASK = "nav2d-8x8"
PROCESS = fidelity_process(TASK)


def rows_of(observations):
    """Embeds the number of the state, which the other functions here know everything of."""
    known = {image.tobytes(): row for row, image in enumerate(PROCESS.observations)}
    return np.array([[known[image.tobytes()]] for image in observations], dtype=float)


def exact_distance(x, y):
    return PROCESS.distances["bisimulation-random"][x[:, 0].round().astype(int), y[:, 0].round().astype(int)]


class TestReadouts:
    def test_a_linear_factor_is_read_off_and_noise_is_not(self):
        rng = np.random.default_rng(1)
        z = rng.normal(size=(200, 6))
        assert encoder_score.linear_readout(z, z @ [1, 2, 0, 0, -1, 3] + 5) > 0.999
        assert encoder_score.linear_readout(z, rng.normal(size=200)) < 0.05

    @pytest.mark.parametrize("width", [8, 40], ids=["narrow", "wide"])
    def test_ridge_regression_by_loops(self, width):
        rng = np.random.default_rng(1)
        z = rng.normal(size=(30, width))
        factor = 2 * z[:, 0] + rng.normal(size=30) / 5
        order, predicted = np.random.default_rng(0).permutation(30), np.empty(30)
        x = (z - z.mean(axis=0)) / z.std(axis=0)
        for fold in np.array_split(order, 5):
            rest = np.setdiff1d(order, fold)
            centered = x[rest] - x[rest].mean(axis=0)
            gram = centered.T @ centered + 1e-3 * len(rest) * np.eye(width)
            weights = np.linalg.solve(gram, centered.T @ (factor[rest] - factor[rest].mean()))
            predicted[fold] = factor[rest].mean() + (x[fold] - x[rest].mean(axis=0)) @ weights
        expected = 1 - np.square(factor - predicted).sum() / np.square(factor - factor.mean()).sum()
        assert encoder_score.linear_readout(z, factor) == pytest.approx(max(0, expected))

    def test_the_nearest_states_vote(self):
        rng = np.random.default_rng(1)
        z, factor = rng.normal(size=(40, 3)), rng.normal(size=40)
        factor += 5 * z[:, 0]
        apart = np.linalg.norm(z[:, None] - z[None], axis=2)
        votes = [np.mean([factor[j] for j in np.argsort(row) if j != i][:5]) for i, row in enumerate(apart)]
        expected = 1 - np.square(factor - votes).sum() / np.square(factor - factor.mean()).sum()
        assert encoder_score.nearest_readout(apart, factor) == pytest.approx(expected)


class TestControl:
    def test_by_value_iteration_in_loops(self):
        """States 0 to 3 in a row, of which the second action leads on; the last ends with a reward of 1."""
        next_rows, rewards = np.array([[0, 1], [1, 2], [2, 3], [-1, -1]]), np.zeros((4, 2))
        rewards[3] = 1.0
        process = PROCESS._replace(next_rows=next_rows, rewards=rewards)
        apart = np.array([[0, 1, 1, 0.0], [1, 0, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0]])  # one group: a quarter of four
        assert encoder_score.control(apart, process) == pytest.approx(0)  # nothing tells the actions apart
        far = np.abs(np.subtract.outer(np.arange(8), np.arange(8))) // 4 + 1.0 - np.eye(8)
        twice = PROCESS._replace(
            next_rows=np.concatenate([next_rows, np.where(next_rows < 0, -1, next_rows + 4)]),
            rewards=np.concatenate([rewards, rewards]),
        )  # two groups: each copy of the row is one state, in which all actions are alike
        assert encoder_score.control(far, twice) == pytest.approx(0)
        ends = np.array([0, 0, 0, 1, 0, 0, 0, 1])
        by_ends = np.abs(np.subtract.outer(ends, ends)).astype(float)
        # Only the third of a row sees where its actions lead to; the others take any.
        values = [0.0] * 4
        for _ in range(5000):
            values = [0.495 * (values[0] + values[1]), 0.495 * (values[1] + values[2]), 0.99 * values[3], 1.0]
        uniform = [0.0] * 4
        for _ in range(5000):
            uniform = [0.495 * (uniform[i] + uniform[i + 1]) for i in range(3)] + [1.0]
        best = [0.99**3, 0.99**2, 0.99, 1.0]
        expected = (np.mean(values) - np.mean(uniform)) / (np.mean(best) - np.mean(uniform))
        assert encoder_score.control(by_ends, twice) == pytest.approx(expected, abs=1e-8)

    def test_the_exact_metric_supports_control_and_one_point_does_not(self):
        exact = PROCESS.distances["bisimulation-random"]
        assert encoder_score.control(exact, PROCESS) > 0.8
        shuffled = np.random.default_rng(0).permutation(len(exact))
        assert encoder_score.control(exact[np.ix_(shuffled, shuffled)], PROCESS) < 0.5


class TestWorldModels:
    def test_the_true_transition_is_perfect(self):
        def predict(z, actions):
            return np.maximum(PROCESS.next_rows[z[:, 0].astype(int), actions], 0)[:, None].astype(float)

        found = score_encoder(rows_of, TASK, distance=exact_distance, predict=predict, steps=(1, 3)).imagination
        assert found == {1: 0.0, 3: 0.0}

    def test_standing_still_gets_worse_with_every_step(self):
        found = score_encoder(rows_of, TASK, predict=lambda z, actions: z, steps=(1, 2, 8)).imagination
        assert 0 < found[1] < found[2] < found[8] < 1.5

    def test_bad_predictions_are_refused(self):
        for predict in (lambda z, actions: z[:, :0], lambda z, actions: z * np.nan):
            with pytest.raises(ValueError, match="predict must return finite numbers of shape"):
                score_encoder(rows_of, TASK, predict=predict)
        with pytest.raises(ValueError, match="steps must be numbers of at least 1"):
            score_encoder(rows_of, TASK, predict=lambda z, actions: z, steps=(0,))


def test_distances_may_be_below_0_by_rounding_only():
    def rounded(x, y):
        return euclidean(x, y) - 1e-7

    assert score_encoder(rows_of, TASK, distance=rounded).score == pytest.approx(
        score_encoder(rows_of, TASK, distance=euclidean).score
    )
    with pytest.raises(ValueError, match="distances must be at least 0, got -.*: give a distance, not a similarity"):
        score_encoder(rows_of, TASK, distance=lambda x, y: -euclidean(x, y))


def test_the_exact_metric_is_the_ceiling():
    exact = encoder_score.exact_score(TASK)
    assert exact.score == pytest.approx(1)
    same = score_encoder(rows_of, TASK, distance=exact_distance)
    assert same.rows() | exact.rows() == pytest.approx(same.rows())
    floor = score_encoder(encoder_score.random_projections, TASK)
    assert floor.score < 0.3
    assert floor.control < exact.control


def test_pictures_show_learned_beside_exact():
    figures = figures_of(rows_of, TASK, exact_distance)
    assert tuple(figures) == FILES
    ax = figures["1_pairs"].axes[0]
    offsets = ax.collections[0].get_offsets()
    np.testing.assert_allclose(offsets[:, 0], offsets[:, 1], atol=1.5)  # cells on the diagonal
    labels = [text.get_text() for text in figures["2_neighbors"].axes[0].texts]
    assert labels[1:6] == labels[7:12]
    learned, exact = (ax.collections[0].get_array() for ax in figures["3_map"].axes[:2])
    np.testing.assert_allclose(learned, exact)


class TestCache:
    def test_metrics_are_solved_once(self, tmp_path, monkeypatch):
        monkeypatch.setenv("BISIMGYM_CACHE", str(tmp_path / "cache"))
        solved = []
        for _ in range(2):
            found = solved_once("key", 3, lambda: solved.append(1) or np.eye(3))
            np.testing.assert_array_equal(found, np.eye(3))
        assert len(solved) == 1

    @pytest.mark.parametrize("content", [b"", b"nothing", None])
    def test_damaged_files_are_replaced(self, tmp_path, monkeypatch, content):
        monkeypatch.setenv("BISIMGYM_CACHE", str(tmp_path))
        solved_once("key", 3, lambda: np.eye(3))
        file = cache_folder() / "key.npz"
        file.write_bytes(file.read_bytes()[:-30] if content is None else content)
        for value in (2.0, 3.0):
            np.testing.assert_array_equal(
                solved_once("key", 2, lambda value=value: np.full((2, 2), value)), np.full((2, 2), 2)
            )

    def test_a_folder_that_cannot_be_written_costs_only_time(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("BISIMGYM_CACHE", str(tmp_path / "file"))
        with pytest.warns(RuntimeWarning, match="set BISIMGYM_CACHE"):
            np.testing.assert_array_equal(solved_once("key", 2, lambda: np.eye(2)), np.eye(2))

    def test_digests_tell_arrays_apart(self):
        arrays = [np.zeros(4), np.zeros((2, 2)), np.zeros(4, np.float32), np.zeros(4, np.int64)]
        found = {digest("a", 0.9, array) for array in arrays} | {
            digest("b", 0.9, arrays[0]),
            digest("a", 0.8, arrays[0]),
        }
        assert len(found) == 6


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes(255 - byte for byte in content[middle : middle + 40]) + content[middle + 40 :]


@pytest.mark.parametrize(
    "damage", [flipped, lambda content: content[:50], lambda content: b"", (39, 39), (40,), "pipe"]
)
def test_a_damaged_file_of_the_cache_is_solved_again(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("BISIMGYM_CACHE", str(tmp_path))
    exact = np.random.default_rng(0).normal(size=(40, 40))
    file = tmp_path / "key.npz"
    solved_once("key", 40, lambda: exact)
    if isinstance(damage, tuple):
        np.savez_compressed(file, metric=np.zeros(damage))
    elif damage == "pipe":
        file.unlink()
        os.mkfifo(file)
    else:
        file.write_bytes(damage(file.read_bytes()))
    np.testing.assert_array_equal(solved_once("key", 40, lambda: exact), exact)
    np.testing.assert_array_equal(solved_once("key", 40, lambda: pytest.fail("it was not kept")), exact)

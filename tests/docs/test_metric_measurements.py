"""The measurements of the page of metrics, on small processes."""

import metric_measurements
import numpy as np

from bisimgym.baselines import metrics


def test_one_size_is_a_row_of_the_table(capsys):
    metric_measurements.large_garnet(12, by_sweeps=True, workers=1)
    row = capsys.readouterr().out.strip().strip("|").split("|")
    assert row[0].strip() == "12"
    assert all(float(cell) > 0 for cell in row)


def test_large_processes_are_garnet_processes():
    transition, reward = metric_measurements.sparse_garnet(9, 2, 4, np.random.default_rng(0))
    np.testing.assert_allclose(transition.sum(axis=1), 1)
    np.testing.assert_array_equal(np.diff(transition.indptr), 4)
    assert all(len(set(row)) == 4 for row in transition.indices.reshape(-1, 4))
    assert metrics.bisimulation(transition, reward, 0.5).shape == (9, 9)


def test_fewer_rows_cost_less(capsys):
    metric_measurements.some_rows(tasks=2, states=6)
    rows = [line.strip().strip("|").split("|") for line in capsys.readouterr().out.strip().splitlines()]
    assert len(rows) == 3
    assert all(float(wanted) < float(all_of_it) for *_, all_of_it, wanted in rows[:1])


def test_estimates_get_nearer(capsys):
    metric_measurements.samples(10)
    cells = capsys.readouterr().out.strip().strip("|").split("|")
    assert cells[0].strip() == "10"
    assert len(cells) == 5

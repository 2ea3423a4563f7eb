"""The table of tuning runs: what is in it, and that no reported row has their seed."""

import tuning

from bisimgym.benchmarks.running.run_folder import committed_runs, find_runs


def test_every_method_was_tried_with_the_same_weights_and_runs_that_are_not_reported():
    runs = find_runs([tuning.FOLDER])
    scores = tuning.scores_by_weight(runs)
    assert set(scores) == {"self-prediction", "mico", "dbc", "rap", "rss"}
    assert all(set(found) == {1, 0.1, 0.01, 0.001} for found in scores.values())
    assert sum(map(len, scores.values())) == len(runs)
    assert {run.spec.seed for run in runs} == {101}
    assert 101 not in {run.spec.seed for run in committed_runs() if run.spec.suite == "small-images"}


def test_the_best_weight_of_each_method_stands_out():
    lines = tuning.weights_table("small-images").splitlines()
    assert lines[0] == "| method | 1 | 0.1 | 0.01 | 0.001 |"
    assert "| dbc | 11.5 | 75.5 | **82.0** | 80.5 |" in lines
    assert all(line.count("**") == 2 for line in lines[2:])

"""What `bisimgym speed driving` measures."""

from rich.console import Console

from bisimgym.benchmarks.speed import driving, harness


def test_figures_and_table(monkeypatch):
    monkeypatch.setattr(driving, "peer", lambda: None)
    rows = (("one", 0, {"size": 8, "cameras": 1}), ("three", 3, {"size": 8, "cameras": 1}))
    figures = harness.measure(list(driving.parts(0, rows)), Console(quiet=True))
    assert [(row["what"], row["num_envs"], row["image"]) for row in figures["driving"]] == [
        ("one", 1, "8 x 8"),
        ("three", 3, "8 x 8"),
    ]
    assert all(row["steps_per_second"] > 10 for row in figures["driving"])
    (table,) = driving.tables(figures)
    assert len(table.lines) == 2

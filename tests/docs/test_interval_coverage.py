"""The page on intervals says what its simulation gives."""

import re

import interval_coverage as simulation
import numpy as np
import pytest


def committed(first: str, method: str) -> dict[int, str]:
    """Percent by number of seeds, of one line of the page."""
    page = simulation.PAGE.read_text(encoding="utf-8")
    (line,) = re.findall(rf"^\| {re.escape(first)} \| {re.escape(method)} \| (.*) \|$", page, re.MULTILINE)
    return dict(zip(simulation.SEEDS, line.split(" | "), strict=True))


@pytest.mark.parametrize("name", ["normal", "one seed in five fails", "the 20 seeds of bisimulation-transfer, random"])
@pytest.mark.parametrize("seeds", [3, 10])
def test_the_page_has_the_coverage_of_students_t(name, seeds):
    draw, mean = {**simulation.DISTRIBUTIONS, **simulation.committed_distributions()}[name]
    found = simulation.coverage(name, draw, mean, seeds, "Student's t")
    assert f"{100 * found:.1f}" == committed(name, "Student's t")[seeds]


@pytest.mark.parametrize("method", ["percentile bootstrap", "BCa"])
def test_the_page_has_the_coverage_of_bootstraps(method):
    draw, mean = simulation.DISTRIBUTIONS["normal"]
    found = simulation.coverage("normal", draw, mean, 3, method)
    assert f"{100 * found:.1f}" == committed("normal", method)[3]


def test_the_page_has_how_often_equal_methods_are_told_apart():
    found = simulation.set_apart(10, 5, "Student's t")
    assert f"{100 * found:.1f}" == committed("10 equal methods", "Student's t")[5]


@pytest.mark.parametrize("name", simulation.DISTRIBUTIONS)
def test_true_means_are_those_of_the_draws(name):
    draw, mean = simulation.DISTRIBUTIONS[name]
    assert draw(np.random.default_rng(0), (200_000,)).mean() == pytest.approx(mean, abs=0.01)


def test_what_the_page_claims_of_students_t():
    unimodal = [name for name in simulation.DISTRIBUTIONS if name != "one seed in five fails"]
    for name in [*unimodal, *simulation.committed_distributions()]:
        by_seeds = committed(name, "Student's t")
        assert all(float(by_seeds[seeds]) > 95 - 6 for seeds in (3, 5, 10)), name
    assert float(committed("one seed in five fails", "Student's t")[3]) < 55

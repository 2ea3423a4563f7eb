import pytest

from bisimgym.benchmarks.suites.jumping import demonstrations


@pytest.fixture(scope="session")
def wide():
    return demonstrations("wide", 1)


@pytest.fixture(scope="session")
def colors():
    return demonstrations("colors", 1)

import numpy as np
import pytest


@pytest.fixture(scope="session")
def signals():
    """Five sequences of twelve frames, ``float32[5, 12, 4]``, which no test changes."""
    return np.random.default_rng(0).standard_normal((5, 12, 4)).astype(np.float32)

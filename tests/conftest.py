import pytest


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Tests run side by side: threads that wait for each other on busy cores crawl."""
    import torch as th

    th.set_num_threads(1)

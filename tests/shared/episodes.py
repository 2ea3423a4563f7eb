"""The comparison of data sets."""

import numpy as np

from bisimgym.wrappers.offline import Episodes


def assert_same(one: Episodes, other: Episodes):
    """Fail unless both have the same columns, bit for bit."""
    a, b = dict(one.columns()), dict(other.columns())
    assert a.keys() == b.keys()
    for name, column in a.items():
        assert column.dtype == b[name].dtype, name
        np.testing.assert_array_equal(column, b[name], err_msg=name)

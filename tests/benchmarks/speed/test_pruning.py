"""Networks whose speed is measured compute what masked ones do, and the table of the figures."""

import pytest
import torch as th
from rich.console import Console

from bisimgym.benchmarks.speed import harness, pruning
from bisimgym.benchmarks.suites.pruning.rules import AfterRemoval
from bisimgym.envs.channel_pruning.backbones import BACKBONES
from bisimgym.envs.channel_pruning.datasets import digits
from bisimgym.envs.channel_pruning.stored import stored_network


@pytest.mark.parametrize(("trust", "agent"), [(kind[1], kind[2]) for kind in pruning.KINDS])
def test_channels_that_are_left_out_equal_masked_ones(trust, agent):
    images = th.from_numpy(digits("test").images[:6])
    real = pruning.real_network("digits-4", 0.5, trust, agent)
    if real.runtime is None:
        real_all = [keep.expand(6, -1) for keep in real.permanent]
        with th.no_grad():
            masked, counts = stored_network("digits-4")(images, lambda layer, *_: real_all[layer])
    else:
        rule = AfterRemoval(real.runtime, real.permanent, trust)
        with th.no_grad():
            masked, counts = stored_network("digits-4")(images, rule)
    assert (counts < th.from_numpy(BACKBONES["digits-4"].channels)).any()
    th.testing.assert_close(real(images), masked, rtol=1e-4, atol=1e-4)
    one_by_one = th.cat([real(image[None]) for image in images])
    th.testing.assert_close(one_by_one, masked, rtol=1e-4, atol=1e-4)


def test_figures_and_table():
    figures = harness.measure(list(pruning.parts(0, [0.5], {"digits-4": (1, 4)})), Console(quiet=True))
    assert [row["network"] for row in figures["networks"]] == [kind[0] for kind in pruning.KINDS]
    for row in figures["networks"]:
        assert row["times_many"] == row["whole_ms_many"] / row["ms_many"]
        assert row["by_macs"] == pytest.approx(1 / BACKBONES["digits-4"].cap("macs", 0.5))
    (table,) = pruning.tables(figures)
    assert len(table.lines) == 4
    assert all(table.lines[0])

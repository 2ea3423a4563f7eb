"""The picture of what planning in smaller processes loses."""

import aggregation_picture
import numpy as np
from PIL import Image

from bisimgym.baselines import metrics
from bisimgym.envs.toy_mdps import garnet


def test_nothing_is_lost_without_merging_and_much_in_a_single_state():
    mdp = garnet(12, 3, 2, np.random.default_rng(0))
    distance = metrics.bisimulation(mdp.transition, mdp.reward, 0.9)
    sizes, lost = aggregation_picture.losses(mdp, distance, 0.9, 20)
    assert (sizes[0], sizes[-1]) == (12, 1)
    assert abs(lost[0]) < 1e-9
    assert lost[-1] > 0.1


def test_the_script_draws_a_panel_for_each_process(tmp_path, capsys):
    arguments = ["--radii", "3", "--states", "8", "--discount", "0.5", "--out", str(tmp_path / "aggregation.png")]
    aggregation_picture.main(arguments)
    with Image.open(tmp_path / "aggregation.png") as image:
        assert image.width > 2 * image.height
    assert len(capsys.readouterr().out.splitlines()) == 15

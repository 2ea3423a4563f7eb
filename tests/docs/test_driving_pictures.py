"""The page and the pictures of driving."""

import re
from pathlib import Path

import driving_pictures
import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "driving.md"


def test_the_code_of_the_page_runs():
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    names = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
    assert names["info"]["ending"] == "time-limit"


def test_pictures_are_drawn_and_committed():
    image = driving_pictures.in_weathers(["ClearNoon", "HardRainNoon"], actions=1)
    assert image.shape == (2 * (84 + 4 + 84), 840, 3)
    above, below = image[:168].astype(int), image[-168:].astype(int)
    assert np.abs(above - below).mean() > 10
    episode = driving_pictures.episode(at=(0, 1))
    assert episode.shape == (2 * (168 + 112) + 4, 840, 3)
    for name, height in zip(driving_pictures.NAMES, (2 * (6 * 84 + 5 * 4), 4 * 280 + 3 * 4), strict=True):
        with Image.open(driving_pictures.FOLDER / name) as committed:
            assert committed.size == (840, height)
        assert (driving_pictures.FOLDER / name).stat().st_size < 400_000
    assert {path.name for path in driving_pictures.FOLDER.iterdir()} == set(driving_pictures.NAMES)

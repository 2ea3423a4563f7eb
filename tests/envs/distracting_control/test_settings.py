import dataclasses
import typing

import pytest

pytest.importorskip("dm_control")

from bisimgym.envs.distracting_control.settings import Keywords, Settings, settings
from bisimgym.envs.distractions.presets import PRESETS, Distraction


def test_type_checkers_know_every_keyword():
    known = {"preset", *(field.name for kind in (Settings, Distraction) for field in dataclasses.fields(kind))}
    of_the_constructors = {"distraction", "action_repeat", "camera_id"}
    assert set(typing.get_type_hints(Keywords)) == known - of_the_constructors


def test_settings_of_the_preset_and_of_the_environment_are_told_apart():
    chosen = settings("pse-2video", camera=0.5, size=32)
    assert chosen == Settings(dataclasses.replace(PRESETS["pse-2video"], camera=0.5), size=32)


def test_misspelt_keywords_are_refused():
    with pytest.raises(
        TypeError, match=r"unexpected keyword arguments \['bakground'\].*'preset'.*'size'.*'background'"
    ):
        settings(bakground=0.5)

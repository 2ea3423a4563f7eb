import dataclasses
import json

import numpy as np
import pytest

from bisimgym.envs.distractions.presets import DISTRACTION_SCALES, PRESETS, Distraction, distraction, preset_table

SETTINGS = [field.name for field in dataclasses.fields(Distraction)]
every_preset = pytest.mark.parametrize("preset", PRESETS)


class TestPresets:
    def test_names(self):
        assert list(PRESETS) == [
            "clean",
            "dcs-easy-static",
            "dcs-easy-dynamic",
            "dcs-medium-static",
            "dcs-medium-dynamic",
            "dcs-hard-static",
            "dcs-hard-dynamic",
            "pse-2video",
            "natural-video",
            "natural-video-color",
            "natural-image",
            "natural-image-color",
            "natural-noise",
            "color-easy",
            "color-hard",
            "video-easy",
            "video-hard",
        ]

    def test_clean_is_the_default_and_disturbs_nothing(self):
        clean = distraction("clean")
        assert clean == Distraction()
        assert (clean.background, clean.camera, clean.color, clean.palette) == (0, 0, 0, "none")
        assert not clean.neutral_floor
        assert {clean.floor_alpha_in(domain) for domain in ("reacher", "finger", "dog")} == {1.0}

    @pytest.mark.parametrize(
        ("difficulty", "scale", "videos"), [("easy", 0.1, 4), ("medium", 0.2, 8), ("hard", 0.3, "all")]
    )
    def test_the_suite(self, difficulty, scale, videos):
        static, dynamic = distraction(f"dcs-{difficulty}-static"), distraction(f"dcs-{difficulty}-dynamic")
        assert dataclasses.replace(static, dynamic=True) == dynamic
        assert not static.dynamic
        assert static.camera == static.color == scale == DISTRACTION_SCALES[difficulty]
        assert (static.num_videos, static.num_test_videos) == (videos, videos)
        assert (static.background, static.compositing, static.playback) == (1.0, "texture", "bounce")
        assert (static.advance, static.start, static.order) == ("control", "random", "random")
        assert not static.grayscale

    def test_pse(self):
        pse = distraction("pse-2video")
        assert (pse.background, pse.camera, pse.color, pse.floor_alpha) == (1.0, 0.0, 0.0, 0.3)
        assert (pse.num_videos, pse.num_test_videos, pse.dynamic) == (2, "all", True)
        assert (pse.compositing, pse.playback, pse.advance) == ("texture", "bounce", "control")

    def test_natural_video(self):
        natural = distraction("natural-video")
        assert (natural.compositing, natural.background_geoms) == ("mask", "natural")
        assert (natural.playback, natural.advance, natural.start) == ("loop", "agent", "random")
        assert natural.grayscale
        assert natural.dynamic
        assert natural.neutral_floor

    def test_generalization_benchmark(self):
        easy, hard = distraction("video-easy"), distraction("video-hard")
        assert (easy.background_geoms, hard.background_geoms) == ("sky", "sky+floor")
        assert (easy.num_videos, easy.num_test_videos) == (10, 10)
        assert (hard.num_videos, hard.num_test_videos) == ("all", "all")
        for video in (easy, hard):
            assert (video.compositing, video.playback, video.advance) == ("mask", "loop", "agent")
            assert (video.start, video.order, video.dynamic) == ("first", "cycle", True)
            assert not video.grayscale
        for name in ("color-easy", "color-hard"):
            assert distraction(name) == Distraction(palette=name)

    @every_preset
    def test_presets_are_json(self, preset):
        settings = dataclasses.asdict(distraction(preset))
        assert Distraction(**json.loads(json.dumps(settings))) == PRESETS[preset]

    def test_table(self):
        rows = preset_table()
        assert [row["preset"] for row in rows] == list(PRESETS)
        assert {tuple(row) for row in rows} == {("preset", "source", *SETTINGS)}
        assert {row["source"] for row in rows} == {"dm_control", "DCS", "PSE", "DBC", "study", "DMControl-GB"}
        assert rows[1]["source"] == "DCS"
        assert rows[1]["camera"] == 0.1

    def test_presets_are_read_only(self):
        with pytest.raises(TypeError):
            PRESETS["clean"] = Distraction()
        with pytest.raises(dataclasses.FrozenInstanceError):
            PRESETS["clean"].camera = 1.0


class TestDomains:
    @pytest.mark.parametrize(
        ("domain", "alpha"),
        [("reacher", 0.0), ("walker", 1.0), ("cheetah", 1.0), ("cartpole", 0.3), ("finger", 0.3)]
        + [("ball_in_cup", 0.3), ("quadruped", 1.0)],
    )
    def test_opacity_of_the_floor(self, domain, alpha):
        assert distraction("dcs-easy-static").floor_alpha_in(domain) == alpha
        assert distraction("dcs-easy-static", background=0).floor_alpha_in(domain) == 1.0
        assert distraction("pse-2video").floor_alpha_in(domain) == 0.3

    @pytest.mark.parametrize("domain", ["cheetah", "walker", "hopper", "stacker", "finger", "cartpole", "reacher"])
    def test_floors_of_the_masks(self, domain):
        gray = domain in ("cheetah", "walker", "hopper", "stacker")
        assert distraction("natural-video").replaces_floor_in(domain) is not gray
        assert distraction("natural-video").neutral_floor_in(domain) is gray
        assert not distraction("video-easy").replaces_floor_in(domain)
        assert not distraction("video-easy").neutral_floor_in(domain)
        assert distraction("video-hard").replaces_floor_in(domain)


class TestOverrides:
    @every_preset
    def test_none_is_the_presets(self, preset):
        assert distraction(preset, **dict.fromkeys(SETTINGS)) == PRESETS[preset]

    def test_values_replace(self):
        changed = distraction("dcs-easy-dynamic", camera=0.0, dynamic=False, num_videos=6, floor_alpha=0.5)
        assert changed == dataclasses.replace(
            PRESETS["dcs-easy-static"], camera=0.0, num_videos=6, floor_alpha=0.5, dynamic=False
        )

    def test_all_videos_and_no_palette_by_name(self):
        easy, every = distraction("dcs-easy-static"), distraction("dcs-easy-static", num_videos="all")
        assert [easy.video_count(split) for split in ("train", "test")] == [4, 4]
        assert [every.video_count(split) for split in ("train", "test")] == [None, 4]
        assert distraction("color-easy", palette="none", color=0.1) == Distraction(color=0.1)

    def test_numbers_of_numpy_become_plain(self):
        changed = distraction(
            "clean", camera=np.float32(0.5), num_videos=np.int64(3), dynamic=np.True_, floor_alpha=np.float64(0.25)
        )
        assert changed == Distraction(camera=0.5, num_videos=3, dynamic=True, floor_alpha=0.25)
        assert json.dumps(dataclasses.asdict(changed))

    def test_unknown_presets_and_settings(self):
        with pytest.raises(ValueError, match=r"preset must be one of \['clean', .*'video-hard'\], got 'dcs'"):
            distraction("dcs")
        with pytest.raises(ValueError, match=r"unknown settings \['colour'\]: the known ones are \['background', .*"):
            distraction("clean", colour=0.1)

    @pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "half", True, [0.5]])
    @pytest.mark.parametrize("name", ["background", "camera", "color", "floor_alpha"])
    def test_fractions(self, name, value):
        with pytest.raises(ValueError, match=rf"{name} must be a number in \[0, 1\]"):
            distraction("clean", **{name: value})

    @pytest.mark.parametrize("value", [0, -1, 1.5, True, "none"])
    @pytest.mark.parametrize("name", ["num_videos", "num_test_videos"])
    def test_counts(self, name, value):
        with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1"):
            distraction("clean", **{name: value})

    @pytest.mark.parametrize("name", ["dynamic", "grayscale", "neutral_floor"])
    def test_switches(self, name):
        with pytest.raises(ValueError, match=f"{name} must be True or False, got 1"):
            distraction("clean", **{name: 1})

    @pytest.mark.parametrize(
        "name", ["compositing", "background_geoms", "playback", "advance", "start", "order", "palette"]
    )
    def test_choices(self, name):
        with pytest.raises(ValueError, match=rf"{name} must be one of \[.*\], got 'other'"):
            distraction("clean", **{name: "other"})

    def test_settings_that_exclude_each_other(self):
        with pytest.raises(ValueError, match=r'puts videos on the sky only.*use compositing="mask"'):
            distraction("natural-video", compositing="texture")
        with pytest.raises(ValueError, match="both set the colors"):
            distraction("color-hard", color=0.1)

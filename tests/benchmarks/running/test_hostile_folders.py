"""Run folders of strangers: whatever they hold, ``report`` refuses them in one line or shows them, and touches nothing
outside its site."""

import json
import os
import shutil
from pathlib import Path

import pytest
from forged import FIDELITY, FILES, IMAGES, JUMPING, MARKOV, NOISY, copy, reseal, within

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.running import reading, schema
from bisimgym.benchmarks.running.run_folder import committed_runs, find_runs
from bisimgym.benchmarks.running.schema import digest
from bisimgym.envs.digests import DIGESTS


def refusal(folder):
    with within(20), pytest.raises(UserError) as caught:
        find_runs([folder])
    return str(caught.value)


class TestFiles:
    @pytest.mark.parametrize("name", FILES)
    def test_only_regular_files_are_opened(self, tmp_path, name):
        path = copy(JUMPING, tmp_path / "runs/x")
        secret = tmp_path / "secret"
        (path / name).rename(secret)
        for make in (lambda file: file.symlink_to(secret), os.mkfifo, Path.mkdir):
            make(path / name)
            assert f"{path / name} is a" in refusal(tmp_path / "runs")
            if (path / name).is_dir() and not (path / name).is_symlink():
                (path / name).rmdir()
            else:
                (path / name).unlink()

    def test_links_to_folders_are_not_followed(self, tmp_path):
        copy(JUMPING, tmp_path / "elsewhere/x")
        (tmp_path / "runs").mkdir()
        (tmp_path / "runs/linked").symlink_to(tmp_path / "elsewhere")
        assert "is a link" in refusal(tmp_path / "runs")
        (tmp_path / "given").symlink_to(tmp_path / "elsewhere")  # whoever gives a link means it
        assert len(find_runs([tmp_path / "given"])) == 1

    def test_pictures_are_those_that_were_sealed(self, tmp_path):
        path = copy(JUMPING, tmp_path / "x")
        (path / "pictures").mkdir()
        (path / "pictures/a.png").write_bytes(b"one")
        assert "a.png was changed" in refusal(tmp_path)
        reseal(path)
        assert find_runs([tmp_path])[0].pictures == [path / "pictures/a.png"]
        (path / "pictures/a.png").unlink()  # packages leave most of them out
        assert find_runs([tmp_path])[0].pictures == []
        (path / "pictures/a.png").symlink_to("/etc/hostname")
        assert "is a link" in refusal(tmp_path)

    def test_sizes_and_depths_are_bounded(self, tmp_path):
        path = copy(JUMPING, tmp_path / "x")
        with (path / "curve.jsonl").open("r+b") as file:
            file.truncate(100 * 2**20)
        assert "more than 4194304 bytes" in refusal(tmp_path)
        nested = tmp_path.joinpath("x", *"abcdefghijklmnop")
        shutil.rmtree(path)
        nested.mkdir(parents=True)
        assert "more than 12 folders below" in refusal(tmp_path)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("[" * 100_000, "nested more than 8 levels"),
            ('{"a":' * 9 + "1" + "}" * 9, "nested more than 8 levels"),
            ('{"a": ' + "9" * 5000 + "}", "beyond 64 bits"),
            ('{"a": 9223372036854775808}', "beyond 64 bits"),
            ('{"a": 1e999}', "is not finite"),
            ('{"a":[1,-9.5E+0999]}', "is not finite"),
            ('{"a":[1,\n1e0400]}', "is not finite"),
            ('{"a": ' + "1" * 400 + ".0}", "is not finite"),
            ('{"a": [1, -9223372036854775808]}', "beyond 64 bits"),
            ('{"a": ' + "[" * 8 + "1" + "]" * 8 + "}", "nested more than 8 levels"),
            ('{"a": ' + "[" * 8 + '"b", "b"' + "]" * 8 + "}", "nested more than 8 levels"),
            ('{"a": ["b", "b", "\\ud800"]}', "half of a surrogate pair"),
            ('{"a": ["b", 1, "\\ud800"]}', "half of a surrogate pair"),
            ('{"a": -Infinity}', "is not a number"),
            ('{"a": 1, "a": 2}', "given twice"),
            ('{"a": "\\ud800"}', "half of a surrogate pair"),
            ('"text"', "a JSON object is expected"),
        ],
    )
    def test_json_is_bounded(self, text, expected):
        with pytest.raises(ValueError, match=expected):
            reading.parse_json(text)

    def test_numbers_within_bounds_are_read(self):
        text = '{"a": [9223372036854775807, -9223372036854775807, 1e308, 1e-999, -0.0, true, null], "b": "1e999"}'
        assert reading.parse_json(text) == json.loads(text)
        assert reading.parse_json('{"a": ' + "[" * 6 + "1, 2" + "]" * 6 + "}")["a"][0][0][0][0][0] == [1, 2]

    @pytest.mark.parametrize(
        ("kind", "right", "wrong"),
        [
            ((0.0, 1.0), [0, 1, 0.5, 1 + 1e-12], [True, -0.1, 1.1, float("nan"), float("inf"), 2**62, "1", None, [1]]),
            (range(2, 6), [2, 5], [1, 6, 2.0, True, "3", None]),
            (bool, [True, False], [0, 1, "true", None]),
            (str, ["red", "a-1"], ["", "../x", 1, None]),
        ],
    )
    def test_a_column_is_right_if_every_entry_is(self, kind, right, wrong):
        schema._check_column("it", 50 * right, kind)
        for entry in wrong:
            with pytest.raises(ValueError, match="it: an entry must be"):
                schema._check_column("it", [*right, entry, *right], kind)

    def test_text_is_utf8(self, tmp_path):
        (tmp_path / "file").write_bytes(b"{\xff}")
        with pytest.raises(UserError, match="not UTF-8"):
            reading.read_json(tmp_path / "file")


class TestSpecs:
    @pytest.mark.parametrize(
        ("spec", "expected"),
        [
            *(({"seed": seed}, "seed must be an integer") for seed in (-3, 2**32, "4", 5.5, True, None, "/../../x")),
            ({"version": True}, "version must be an integer"),
            *(({name: ["a"]}, name) for name in ("suite", "task", "method", "preset", "variant", "settings")),
            ({"suite": "leaping"}, "of suite 'leaping', which this version of bisimgym does not know"),
            ({"task": "square"}, "of task 'square', which suite 'jumping' does not have"),
            ({"preset": "mine"}, "of preset 'mine', which suite 'jumping' does not have"),
            ({"method": "mine"}, "of method 'mine', which suite 'jumping' does not have"),
            ({"variant": {"dropout": 0.5}}, "the variant's dropout is 0.5, which is not what the settings hold"),
            ({"variant": {"../x": 0.5}}, "a setting of the variant must be"),
            *(
                ({"preset": "external", "method": name}, "method must be 1 to 64 letters")
                for name in ("a\n# b", "<b>", "../x", "=1+1", "|x|", "é", "x" * 65, "", ".")
            ),
        ],
    )
    def test_names_seeds_and_variants(self, tmp_path, spec, expected):
        path = copy(JUMPING, tmp_path / "x")
        text = (path / "run.json").read_text()
        run = json.loads(text)
        run["spec"].update(spec)
        (path / "run.json").write_text(json.dumps({**run, "spec_digest": digest(run["spec"])}))
        line = refusal(tmp_path)
        assert expected in line
        assert "run.json is damaged" in line
        assert "\n" not in line

    def test_results_of_other_environments_are_not_mixed_with_those_of_these(self, tmp_path):
        path = copy(JUMPING, tmp_path / "x")
        run = json.loads((path / "run.json").read_text())
        env_id = "bisimgym/JumpingTask-v0"
        for stored, expected in (
            ({env_id: "0" * 64}, f"made in another {env_id}, of digest '{'0' * 20}"),
            ({}, f"environments must be an object of the digests of {env_id}"),
            ({"bisimgym/Nav2D-v0": DIGESTS["bisimgym/Nav2D-v0"]}, "environments must be an object of the digests"),
            (3, "environments must be an object of the digests"),
        ):
            (path / "run.json").write_text(json.dumps({**run, "environments": stored}))
            reseal(path)
            assert expected in refusal(tmp_path)
        (path / "run.json").write_text(json.dumps({**run, "environments": {env_id: DIGESTS[env_id]}}))
        reseal(path)
        assert len(find_runs([tmp_path])) == 1

    def test_a_folder_in_the_place_of_another_run(self, tmp_path):
        copy(JUMPING, tmp_path / "jumping/wide/randconv-pse/short/seed-1")
        assert f"is in the place of another run: it is {JUMPING}" in refusal(tmp_path)
        shutil.rmtree(tmp_path / "jumping")
        copy(JUMPING, tmp_path / JUMPING)
        copy(JUMPING, tmp_path / "as downloaded")
        assert len(find_runs([tmp_path])) == 1

    def test_one_training_under_two_seeds(self, tmp_path):
        for seed in (1, 2):
            reseal(copy(JUMPING, tmp_path / str(seed)), {"seed": seed})
        assert "are one training under two seeds" in refusal(tmp_path)
        # An agent that was trained elsewhere may solve the same tasks whatever the seed.
        for seed in (1, 2):
            reseal(tmp_path / str(seed), {"preset": "external", "method": "theirs", "settings": {"budget": 0}})
        assert len(find_runs([tmp_path])) == 2


class TestNumbers:
    @pytest.mark.parametrize(
        ("place", "change", "expected"),
        [
            (NOISY, {"outcomes": {"return": [1e6] * 10}}, "from 0 to 1000, got 1000000.0"),
            (NOISY, {"outcomes": {"return": [-1.0] * 10}}, "from 0 to 1000, got -1.0"),
            (NOISY, {"scores": {"denoising": 50.0}}, "denoising must be a number from -1 to 1"),
            (NOISY, {"scores": {"speed": 1.0}}, "'speed' is none of the measures"),
            (NOISY, {"train_seconds": -1.0}, "train_seconds must be a number from 0"),
            (NOISY, {"train_seconds": "long"}, "train_seconds must be a number from 0"),
            (NOISY, {"lower_is_better": True}, "lower_is_better is True"),
            (MARKOV, {"outcomes": {"accuracy": [1.7] * 500}}, "from 0 to 1, got 1.7"),
            (
                MARKOV,
                {"outcomes": {"accuracy": [1.0] * 500}, "score": 1.0},
                "above 0.996832, which no agent can exceed",
            ),
            (MARKOV, {"scores": {"l1_encoded": 2.5}}, "l1_encoded must be a number from 0 to 2"),
            (IMAGES, {"outcomes": {"solved": [5] * 200}}, "must be of type bool, got 5"),
            (IMAGES, {"outcomes": {"solved": [True] * 199}}, "200 entries"),
            (
                IMAGES,
                {"outcomes": {"solved": [True] * 200}, "score": 1.0},
                "do not follow from the outcomes and the curve",
            ),
            (IMAGES, {"scores": {"area": 7.0}}, "area must be a number from 0 to 1"),
            (IMAGES, {"scores": {"area": 0.9}}, "do not follow from the outcomes and the curve"),
            (IMAGES, {"score": True}, "score must be a number"),
            (JUMPING, {"outcomes": {"paper_rule_solved": [50] * 286}}, "an integer from 0 to 5, got 50"),
            (JUMPING, {"outcomes": {"extra": [1] * 286}}, "'extra' is no column"),
            (FIDELITY, {"outcomes": {"rank_correlation": [9.0] * 5}}, "from -1 to 1, got 9.0"),
            (FIDELITY, {"outcomes": {"metric": [3] * 5}}, "must be of type str, got 3"),
        ],
    )
    def test_impossible_ones_are_refused_though_they_are_sealed(self, tmp_path, place, change, expected):
        path = copy(place, tmp_path / "x")
        old = json.loads((path / "result.json").read_text())
        change = {k: {**old[k], **v} if isinstance(v, dict) else v for k, v in change.items()}
        reseal(path, **change)
        assert expected in refusal(tmp_path)

    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            ([{"score": 0.5, "seconds": 1.0}], "a row without 'transitions'"),
            ([{"transitions": 1, "score": 0.5}], "a row without 'seconds'"),
            ([{"transitions": 1, "score": 0.5, "seconds": "x"}], "seconds of row 1 must be a number"),
            ([{"transitions": 1, "score": 1.5, "seconds": 1.0}], "score of row 1 must be a number from 0 to 1"),
            ([{"transitions": 1, "score": 0.5, "seconds": 1.0}] * 2, "transitions of row 2 must be an integer from 2"),
            ([{"transitions": 1.0, "score": 0.5, "seconds": 1.0}], "transitions of row 1 must be an integer"),
            ([{"transitions": 1, "score": 0.5, "seconds": 1.0, "<b>": 1}], "a column of the curve must be"),
            ([{"transitions": 1, "score": 0.5, "seconds": 1.0}], "do not follow from the outcomes and the curve"),
        ],
    )
    def test_curves_too(self, tmp_path, rows, expected):
        reseal(copy(IMAGES, tmp_path / "x"), curve=rows)
        assert expected in refusal(tmp_path)


def test_committed_results_are_fine():
    assert len(committed_runs()) > 300

"""Malformed and hostile submissions: each is refused for the right reason, and nothing of it is loaded or run."""

import contextlib
import json
import os
import pickle
import random
import zipfile

import pytest
from forged import within
from submissions import SEEDS, fine, write

from bisimgym.benchmarks.cli import main
from bisimgym.benchmarks.submissions import checking, model
from bisimgym.benchmarks.submissions.checking import Refused, is_submission, read_submission
from bisimgym.benchmarks.suites import SUITES, load_suite

DEEP = json.loads('{"a":' * 9 + "1" + "}" * 9)


def problems_of(folder):
    with within(20), pytest.raises(Refused) as caught:
        read_submission(folder)
    assert all("\n" not in problem for problem in caught.value.problems)
    return caught.value.problems


def stated(**changes):
    """Change keys of the description."""
    return lambda described, rows: described.update(changes)


def first_run(**changes):
    return lambda described, rows: described["runs"][0].update(changes)


def first_row(**changes):
    return lambda described, rows: rows[0].update(changes)


def lacks(key):
    return lambda described, rows: described.pop(key)


SPOILED = [
    # The description: names, texts, types.
    (stated(format=2), "format of submission.json must be 1"),
    (stated(format=True), "format of submission.json must be 1"),
    (stated(suite="leaping"), "suite of submission.json must be one of jumping, markov"),
    (stated(suite=["lqr"]), "suite of submission.json must be one of jumping, markov"),
    (stated(suite_version=99), "suite_version of submission.json must be 1 in this version of bisimgym, got 99"),
    (stated(agent="../../up"), "agent of submission.json must be 1 to 64 letters"),
    (stated(agent="<img src=x onerror=alert(1)>"), "agent of submission.json must be 1 to 64 letters"),
    (stated(agent="=1+1"), "agent of submission.json must be 1 to 64 letters"),
    (stated(agent="psm-oracle" * 7), "agent of submission.json must be 1 to 64 letters"),
    (stated(agent=next(iter(load_suite("lqr").methods))), "is a method of the suite"),
    (stated(description="x" * 5000), "description of submission.json must be a text of at most 4000 characters"),
    (stated(authors="\x1b[2J"), "authors of submission.json must hold printable characters only"),
    (stated(authors=None), "authors of submission.json must be a text"),
    (stated(machine=[]), "machine of submission.json must be an object"),
    (stated(machine={str(i): i for i in range(300)}), "has more than 200 entries"),
    (stated(badge="re-run"), "submission.json has the unknown key 'badge'"),
    (stated(__class__="os.system"), "submission.json has the unknown key '__class__'"),
    (lacks("authors"), "submission.json lacks 'authors'"),
    (lacks("budget"), "submission.json lacks 'budget'"),
    (stated(budget=-1), "budget of submission.json must be an integer from 0"),
    (stated(budget=1e6), "budget of submission.json must be an integer from 0"),
    (stated(machine=DEEP), "nested more than 8 levels deep"),
    # Environments.
    (stated(environments={}), "environments of submission.json lacks 'bisimgym/LQRDistractors-v0'"),
    (stated(environments={"bisimgym/LQRDistractors-v0": "0" * 64}), "must be 'e26383"),
    (stated(environments={"bisimgym/Nav2D-v0": "0" * 64}), "has the unknown key 'bisimgym/Nav2D-v0'"),
    # Tasks and seeds.
    (stated(seeds=[1, 2, 3, 4]), "seeds of submission.json must have 5 to 100 entries, got 4"),
    (stated(seeds=[1, 2, 3, 4, 4]), "entry 5 of seeds of submission.json is there twice"),
    (stated(seeds=[1, 2, 3, 4, -5]), "entry 5 of seeds of submission.json must be an integer from 0"),
    (stated(seeds=[*SEEDS, 6]), "episodes.jsonl lacks 10000 seed 6"),
    (stated(seeds=[1, 2, 3, 4, 6]), "500 seed 5 is not among the seeds of submission.json: submit all that you ran"),
    (lambda d, rows: rows.__delitem__(slice(0, 3)), "episodes.jsonl lacks 500 seed 1: every task of lqr needs every"),
    (lambda d, rows: d["runs"].pop(), "runs of submission.json lack 10000 seed 5"),
    (lambda d, rows: d["runs"].append({**d["runs"][0], "score": 0.5}), "runs of submission.json have 500 seed 1 twice"),
    (lambda d, rows: d["runs"].append(d["runs"][0]), "entry 16 of runs of submission.json is there twice"),
    (lambda d, rows: d["means"].pop("500"), "means of submission.json lacks '500'"),
    # Numbers.
    (first_run(score=1e9), "must be a number from 0 to 1000"),
    (first_run(score=-0.5), "must be a number from 0 to 1000"),
    (first_run(score=True), "must be a number from 0 to 1000"),
    (first_run(score="27"), "must be a number from 0 to 1000"),
    (first_run(score=0.001), "500 seed 1: the scores do not follow from the outcomes"),
    (first_run(scores={}), "500 seed 1: the scores do not follow from the outcomes and the curve: train_error is None"),
    (lambda d, rows: d["runs"][0]["scores"].update(speed=3), "has the unknown key 'speed'"),
    (lambda d, rows: d["runs"][0]["scores"].update(distractor_norm=3), "distractor_norm does not follow from the epi"),
    (lambda d, rows: d["means"].update({"500": 0.1}), "mean of 500 is 0.1, and its episodes come to 23.899"),
    (lambda d, rows: d["runs"][0].update(task="501"), "task of entry 1 of runs of submission.json must be one of 500"),
    # Episodes.
    (first_row(cost=float(2000)), "cost of line 1 of episodes.jsonl must be a number from 0 to 1000"),
    (first_row(cost=None), "cost of line 1 of episodes.jsonl must be a number from 0 to 1000"),
    (first_row(trained=1), "trained of line 1 of episodes.jsonl must be of type bool, got 1"),
    (first_row(trained=False), "500 seed 1: column 'trained' of 500 is [True, True, False]"),
    (first_row(task="walk"), "task of line 1 of episodes.jsonl must be one of 500, 1000, 10000, got 'walk'"),
    (first_row(seed=1.0), "seed of line 1 of episodes.jsonl must be an integer"),
    (first_row(episode=-1), "episode of line 1 of episodes.jsonl must be an integer from 0"),
    (first_row(episode=10**9), "episode of line 1 of episodes.jsonl must be an integer from 0 to 99999"),
    (first_row(episode=50), "500 seed 1: episode 0 is missing (48 of 51 are)"),
    (first_row(episode=1), "line 2 of episodes.jsonl: episode 1 of 500 seed 1 is there twice"),
    (first_row(note="best run"), "line 1 of episodes.jsonl has the unknown key 'note'"),
    (lambda d, rows: rows[0].pop("cost"), "500 seed 1: episode 1 has other columns than episode 0"),
    (lambda d, rows: [row.pop("cost") for row in rows], "500 seed 1: outcomes of 500 are 3 entries of each of"),
    (lambda d, rows: [row.pop("trained") for row in rows], "500 seed 1: outcomes of 500 are 3 entries of each of"),
    (lambda d, rows: rows.append({**rows[2], "episode": 3}), "500 seed 1: outcomes of 500 are 3 entries of each"),
    (lambda d, rows: rows.clear(), "episodes.jsonl lacks 500 seed 1"),
    (
        lambda d, rows: [row.update(cost=rows[i % 3]["cost"]) for i, row in enumerate(rows[:6])],
        "500 seeds 1 and 2 have the same episodes: they are one training",
    ),
]


@pytest.mark.parametrize(("spoil", "expected"), SPOILED)
def test_what_is_malformed_is_refused_for_the_right_reason(tmp_path, spoil, expected):
    described, rows = fine()
    spoil(described, rows)
    assert any(expected in problem for problem in problems_of(write(tmp_path, described, rows)))


def payload(path):
    """A file that leaves a trace when it is loaded."""

    class Leaves:
        def __reduce__(self):
            return os.mkdir, (str(path.parent / "executed"),)

    path.write_bytes(pickle.dumps(Leaves()))


def bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(10**6))


def giant(path):
    with path.open("wb") as file:
        file.truncate(10**9)


def text(content):
    return lambda path: path.write_bytes(content)


DESCRIPTION, EPISODES = model.DESCRIPTION, model.EPISODES


@pytest.mark.parametrize(
    ("name", "make", "expected"),
    [
        ("model.pkl", payload, "'model.pkl' belongs to no submission"),
        ("agent.py", text(b"raise SystemExit"), "'agent.py' belongs to no submission"),
        ("weights.zip", bomb, "'weights.zip' belongs to no submission"),
        ("checkpoint", os.mkdir, "'checkpoint' belongs to no submission"),
        (".git", os.mkdir, "'.git' belongs to no submission"),
        ("\x1b[2J", text(b""), "belongs to no submission"),
        ("repro.json", text(b"{}"), "'repro.json' belongs to no submission"),
        ("link", lambda path: path.symlink_to("/etc"), "'link' belongs to no submission"),
        (DESCRIPTION, payload, "not UTF-8"),
        (DESCRIPTION, bomb, "submission.json is damaged"),
        (DESCRIPTION, giant, "more than 4194304 bytes"),
        (DESCRIPTION, os.mkfifo, "submission.json is a special file"),
        (DESCRIPTION, os.mkdir, "submission.json is a folder"),
        (DESCRIPTION, lambda path: path.symlink_to("/etc/passwd"), "submission.json is a link"),
        (DESCRIPTION, lambda path: None, "submission.json is missing"),
        (DESCRIPTION, text(b"[]"), "a JSON object is expected"),
        (DESCRIPTION, text(b'{"format": 1, "format": 1}'), "a key is given twice"),
        (DESCRIPTION, text(b'{"format": ' + b"9" * 5000 + b"}"), "beyond 64 bits"),
        (DESCRIPTION, text(b"[" * 100_000), "nested more than 8 levels deep"),
        (EPISODES, giant, "more than 33554432 bytes"),
        (EPISODES, os.mkfifo, "episodes.jsonl is a special file"),
        (EPISODES, lambda path: path.symlink_to("/etc/passwd"), "episodes.jsonl is a link"),
        (EPISODES, lambda path: None, "episodes.jsonl is missing"),
        (EPISODES, text(b"\xff\xfe"), "not UTF-8"),
        (EPISODES, text(b'{"task": "500", "cost": NaN}'), "line 1 of episodes.jsonl: NaN is not a number"),
        (EPISODES, text(b'{"cost": 1e999}'), "line 1 of episodes.jsonl: inf is not finite"),
        (EPISODES, text(b"!!python/object:os.system\n" * 99), "79 more lines of episodes.jsonl are wrong"),
        (EPISODES, text(b'{"task": "\\ud800"}'), "line 1 of episodes.jsonl: '\\ud800' holds half of a surrogate pair"),
    ],
)
def test_hostile_files_are_refused_unopened(tmp_path, name, make, expected):
    folder = write(tmp_path / "submission", *fine())
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    assert any(expected in problem for problem in problems_of(folder))
    assert not (folder / "executed").exists()


def test_scores_above_the_exact_optimum_are_refused(tmp_path):
    described, rows = fine("markov")
    for row in rows:
        row["accuracy"] = 1.0
    for run in described["runs"]:
        run["score"] = 1.0
    described["means"] = dict.fromkeys(described["means"], 1.0)
    found = problems_of(write(tmp_path, described, rows))
    assert "uniform seed 1: score is 1, above 0.996832, which no agent can exceed on uniform" in found
    assert len([problem for problem in found if "no agent can exceed" in problem]) == 10


def test_all_that_is_wrong_is_said_at_once(tmp_path, capsys):
    described, rows = fine()
    described.update(agent="a b", budget=None)
    rows[0]["cost"] = "cheap"
    rows[7]["task"] = "walk"
    write(tmp_path, described, rows)
    (tmp_path / "notes.txt").write_text("")
    assert main(["submit", "check", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ")[1] for line in lines] == ["'notes.txt'", "agent", "budget", "cost", "task", "500", "500"]
    assert all(line.startswith("error: ") for line in lines)
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "site")]) == 2
    assert "(and 6 more: `bisimgym submit check" in capsys.readouterr().err


def test_a_flood_is_refused_in_a_few_lines_and_little_time(tmp_path):
    described, rows = fine()
    flood = [{**rows[0], "seed": seed, "episode": 99_999} for seed in range(10, 3_010)]
    found = problems_of(write(tmp_path, described, [*rows, *flood]))
    assert len(found) == checking.NAMED_PROBLEMS + 1
    assert found[0] == "500 seed 10: episode 0 is missing (99999 of 100000 are)"
    assert found[-1].endswith(" more problems")
    described["seeds"] = list(range(10**4))
    assert any("must have 5 to 100 entries" in problem for problem in problems_of(write(tmp_path, described, rows)))


def test_no_mutation_escapes_the_model(tmp_path):
    """Whatever the published schema refuses is refused here too, and nothing raises anything else."""
    jsonschema = pytest.importorskip("jsonschema")
    suite, rng = load_suite("lqr"), random.Random(0)
    published = jsonschema.Draft202012Validator(model.description(suite).json_schema())
    values = [None, True, -1, 0.5, 2**62, 1e308, "", "x" * 5000, [], {}, [[1]], "../..", "\x00", "<b>", 1, "500"]
    counts = [0, 0]
    for _ in range(150):
        described, rows = fine()
        where, keys = described, []
        while isinstance(where, dict | list) and where and (not keys or rng.random() < 0.7):
            keys.append(rng.choice(list(where) if isinstance(where, dict) else range(len(where))))
            parent, where = where, where[keys[-1]]
        parent[keys[-1]] = rng.choice(values)
        ours = list(model.description(suite).problems("it", described))
        counts[published.is_valid(described)] += 1
        assert ours or published.is_valid(described), keys
        if rng.random() < 0.1:
            with contextlib.suppress(Refused):
                read_submission(write(tmp_path, described, rows))
                assert not ours
    assert min(counts) > 10


class TestFine:
    def test_is_read_and_recomputed(self, tmp_path):
        described, rows = fine()
        submission = read_submission(write(tmp_path, described, rows))
        assert is_submission(tmp_path)
        assert set(submission.outcomes) == {(task, seed) for task in ("500", "1000", "10000") for seed in SEEDS}
        assert submission.scores["500", 1]["score"] == described["runs"][0]["score"]
        assert submission.spec("500", 2).folder.as_posix() == "lqr/500/theirs/external/seed-2"
        assert next(checking.summary_lines(submission)) == ("lqr 500 theirs: cost above the optimum 23.899, 5 seeds")

    @pytest.mark.parametrize("name", SUITES)
    def test_its_schema_is_a_schema_for_every_suite(self, name):
        jsonschema = pytest.importorskip("jsonschema")
        for of in (model.description, model.episode):
            jsonschema.Draft202012Validator.check_schema(of(load_suite(name)).json_schema())
        if name == "lqr":
            described, rows = fine()
            validator = jsonschema.Draft202012Validator(model.json_schema())
            validator.validate(described)
            jsonschema.validate(rows[0], model.episode(load_suite(name)).json_schema())
            assert not validator.is_valid({**described, "seeds": [1]})

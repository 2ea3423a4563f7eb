"""An sdist, and the wheel that is built from it, installed into a fresh environment and used outside the checkout."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def call(*command, cwd, env=None):
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def folder_of(name):
    """Return the folder of all seeds of a committed run, or nothing where a file is none of a run's."""
    return name.partition("/seed-")[0] if name.startswith("benchmarks/results/") and "/seed-" in name else ""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the sdist and the wheel, which one build makes: the wheel from the unpacked sdist."""
    folder = tmp_path_factory.mktemp("built")
    # A copy of what git would ship, so that building leaves no traces in the checkout; of the thousands of committed
    # runs, which lie in folders alike, every fifth.
    source = folder / "source"
    source.mkdir()
    listed = call("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).splitlines()
    settings = sorted({folder_of(name) for name in listed} - {""})
    kept = {"", *settings[::5]}
    for name in listed:
        if (ROOT / name).is_file() and folder_of(name) in kept:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


def test_the_sdist_holds_the_package_and_what_building_and_reading_about_it_takes(built, wheel):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO"} <= names
    packaged = {
        name.removeprefix("bisimgym/") for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name
    }
    assert packaged <= names


def test_the_wheel_holds_code_templates_and_results_and_no_tests(built, wheel):
    names = zipfile.ZipFile(wheel).namelist()
    folders = {name.split("/")[0] for name in names}
    assert {f for f in folders if not f.endswith(".dist-info")} == {"bisimgym"}
    assert "bisimgym/py.typed" in names
    assert any(name.startswith("bisimgym/benchmarks/report/leaderboard/templates/") for name in names)
    committed = list((built / "source/benchmarks/results").rglob("result.json"))
    assert sum(name.endswith("/result.json") for name in names) == len(committed) > 100
    assert not any("test" in name or "/checkpoint/" in name for name in names)


def test_the_wheel_runs_and_reports_outside_the_checkout(wheel, tmp_path):
    call(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv/bin/python"
    site = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    zipfile.ZipFile(wheel).extractall(site)
    # Dependencies come from this environment: a path line adds them without its editable install of bisimgym.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    where = call(python, "-c", "import bisimgym; print(bisimgym.__file__)", cwd=tmp_path, env=env)
    assert Path(where.strip()).is_relative_to(site)
    command = (python, "-m", "bisimgym.benchmarks")
    run = ("run", "jumping", "--task", "wide", "--method", "dropout-l2", "--preset", "smoke", "--seeds", "1")
    run = (*run, "--set", "epochs=1", "--set", "evaluations=1")
    assert "dropout-l2" in call(*command, *run, "--jobs", "1", "--threads", "1", cwd=tmp_path, env=env)
    call(*command, "report", "runs", "--committed", "--out", "site", cwd=tmp_path, env=env)
    page = (tmp_path / "site/index.html").read_text()
    assert "dropout-l2" in page
    assert "randconv-pse" in page


def test_the_command_says_what_to_install_where_parts_are_missing(tmp_path):
    code = "import sys; sys.modules['typer'] = None; from bisimgym.benchmarks.__main__ import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == 'error: the command needs typer: pip install "bisimgym[bench]"\n'

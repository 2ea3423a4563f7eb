"""The site: its pages run, are in its contents and lead somewhere, and a small one builds without a warning."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import check_site
import pytest

import bisimgym

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/results/README.md")
    for path in ROOT.glob(pattern)
    if not path.name.startswith(".")
)


def relative(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/start.md"])
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    names = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{page}, block {number}", "exec"), names)
    assert names["distance"].shape == (len(names["mdp"].reward),) * 2


def test_the_readme_is_one_screen():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 60


def test_every_page_is_in_the_table_of_contents():
    entries = re.findall(r"(?:file|glob|root): (\S+)", (ROOT / "docs" / "_toc.yml").read_text("utf-8"))
    listed = {relative(path) for entry in entries for path in ROOT.glob(f"{entry}.md")}
    pages = {relative(path) for path in PAGES} - {"README.md"}
    assert pages == listed


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)", text)
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_versions_agree():
    assert f"\nversion: {bisimgym.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"version = {{{bisimgym.__version__}}}," in (ROOT / "docs" / "citing.md").read_text("utf-8")
    assert re.search(r"^## (Unreleased|\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)


def test_the_workflow_runs_the_pythons_of_the_metadata():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = {c.rpartition(" ")[2] for c in project["classifiers"] if re.search(r":: 3\.\d+$", c)}
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text("utf-8")
    tested = set(re.findall(r'"(3\.\d+)"', workflow))
    assert named <= tested
    assert "make test" in workflow


def test_a_small_site_builds_without_a_warning_and_loads_nothing_from_outside(tmp_path):
    pytest.importorskip("sphinx", reason="the documentation needs pip install '.[docs]'")
    source, site = tmp_path / "source", tmp_path / "site"
    (source / "docs").mkdir(parents=True)
    for name in ("conf.py", "tools", "site"):
        (source / "docs" / name).symlink_to(ROOT / "docs" / name)
    # As the metadata will be once there is a public address.
    address = "https://github.com/some/where"
    metadata = (ROOT / "pyproject.toml").read_text("utf-8")
    (source / "pyproject.toml").write_text(f'{metadata}\n[project.urls]\nRepository = "{address}"\n', "utf-8")
    (source / "docs" / "index.md").write_text(
        "# Home\n\n[there](other.md#a-part) and [a file](some.py)\n\n"
        "<!-- docstrings of bisimgym.envs.distractor_dial -->\n"
    )
    (source / "docs" / "other.md").write_text("# Other\n\n## A part\n\n```python\nx = 1\n```\n")
    (source / "docs" / "some.py").write_text("x = 1\n")
    (source / "docs" / "tutorials").mkdir()
    (source / "docs" / "tutorials" / "1-first-environment.md").write_text(
        "# 1. First\n\nA page.\n\n```python\nx = 1\n```\n"
    )
    toc = tmp_path / "toc.yml"
    toc.write_text("root: docs/index\nentries:\n  - file: docs/other\n  - file: docs/tutorials/1-first-environment\n")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", "-c", source / "docs"]
    command += ["-D", f"external_toc_path={toc}", "-d", tmp_path / "doctrees", source, site]
    done = subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, env=os.environ | {"MUJOCO_GL": "off"}
    )
    assert done.returncode == 0, done.stderr
    assert list(check_site.faults(site)) == []
    page = (site / "docs" / "index.html").read_text("utf-8")
    assert 'id="bisimgym.envs.distractor_dial.dial_mdp"' in page
    # Sections in Markdown stay on the environment's page.
    assert "on the environment’s page" in page
    assert "## Reward" not in page
    # Search needs no server: nothing is fetched for it.
    assert (site / "searchindex.js").is_file()
    assert "SHOW_SEARCH_SUMMARY: false" in (site / "_static" / "documentation_options.js").read_text("utf-8")
    # A tutorial leads to its notebook, here and on Colab, and the notebook installs the package.
    tutorial = (site / "docs" / "tutorials" / "1-first-environment.html").read_text("utf-8")
    on_colab = "colab.research.google.com/github/some/where/blob/gh-pages/docs/tutorials/1-first-environment.ipynb"
    assert 'href="1-first-environment.ipynb"' in tutorial
    assert f'href="https://{on_colab}"' in tutorial
    assert f"{address}/blob/main/docs/tutorials/1-first-environment.md" in tutorial
    cells = json.loads((site / "docs" / "tutorials" / "1-first-environment.ipynb").read_text("utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert code == [f'%pip install -q "bisimgym[all] @ git+{address}"', "x = 1"]


def test_links_to_colab_once_the_metadata_name_a_repository(monkeypatch):
    spec = importlib.util.spec_from_file_location("conf_of_the_site", ROOT / "docs" / "conf.py")
    conf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conf)
    for repository, expected in (("", False), ("https://github.com/some/where", True)):
        monkeypatch.setattr(conf, "REPOSITORY", repository)
        source = ["# Title\n\nText.\n"]
        conf.offer_notebook(None, "docs/tutorials/1-x", source)
        assert source[0].startswith("# Title\n\n<p")
        at = "https://colab.research.google.com/github/some/where/blob/gh-pages/docs/tutorials/1-x.ipynb"
        assert (f'href="{at}"' in source[0]) == expected
    source = ["# Title\n\nText.\n"]
    conf.offer_notebook(None, "docs/other", source)
    assert source == ["# Title\n\nText.\n"]


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ('<a href="b.html">b</a>', "b.html is not there"),
        ('<a href="#x">x</a>', "no #x in this page"),
        ('<a href="a.html#x">x</a>', "no #x in a.html"),
        ('<script src="https://cdn.example/x.js"></script>', "loads https://cdn.example/x.js from outside"),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', "loads //fonts.example/x.css from outside"),
        ('<p id="x"><a href="#x">x</a> <a href="https://example.org">e</a> <a href="mailto:x@example.org">m</a>', None),
    ],
)
def test_faults_of_a_site(page, fault, tmp_path):
    (tmp_path / "a.html").write_text(page)
    found = list(check_site.faults(tmp_path))
    assert found == ([f"a.html: {fault}"] if fault else [])
    assert check_site.main([str(tmp_path)]) == bool(fault)


def test_a_folder_without_pages_is_no_site(tmp_path):
    with pytest.raises(ValueError, match="no pages"):
        list(check_site.faults(tmp_path))

"""The API reference: its pages are what the docstrings say, and no public name is without one."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import api_pages
import pytest

import bisimgym

ROOT = Path(__file__).parents[2]
MODULES = [module for _, modules in api_pages.PAGES.values() for module in modules]
NAMES = {(module, name) for module in MODULES for name in api_pages.public_names(module)}


def test_pages_are_what_the_docstrings_say(tmp_path):
    api_pages.main(["--out", str(tmp_path)])
    committed = ROOT / "docs" / "api"
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in committed.iterdir()}
    for path in tmp_path.iterdir():
        text = path.read_text(encoding="utf-8")
        assert (committed / path.name).read_text(encoding="utf-8") == text, "run docs/tools/api_pages.py"


def test_every_public_name_has_a_docstring_of_its_own():
    assert len(NAMES) > 250
    without = []
    for module, name in sorted(NAMES):
        value = api_pages.value_of(module, name)
        # An inherited docstring says nothing of this one.
        text = vars(value).get("__doc__") if inspect.isclass(value) else inspect.getdoc(value)
        # Vector environments, which are made by one line each, have that of their environment.
        if api_pages.kind(value) != "data" and not (text or "").strip():
            without.append(f"{module}.{name}")
    assert without == []


def test_every_name_that_a_package_exports_is_in_the_reference():
    exported = set()
    for layer in ("envs", "wrappers", "baselines", "benchmarks"):
        package = importlib.import_module(f"bisimgym.{layer}")
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.ispkg:
                module = importlib.import_module(found.name)
                exported |= {(found.name, name) for name in getattr(module, "__all__", ())}
    exported |= {("bisimgym", name) for name in bisimgym.__all__}
    assert exported - NAMES == set()


def test_every_name_that_the_documentation_imports_is_in_the_reference():
    public = {name for _, name in NAMES} | {module.rpartition(".")[2] for module in MODULES}
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs" / "examples").glob("*.py")]
    used = {}
    for page in pages:
        for names in re.findall(r"^\s*from bisimgym[\w.]* import (.+)$", page.read_text("utf-8"), re.MULTILINE):
            for name in names.partition("#")[0].split(","):
                used.setdefault(name.strip(), page.name)
    assert len(used) > 40
    assert {name: page for name, page in used.items() if name not in public} == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Return ``float64[S]``: see :func:`~a.b`.\n\nMore.", "Return `float64[S]`: see `a.b`."),
        ("Two lines\nof one | paragraph", r"Two lines of one \| paragraph"),
    ],
)
def test_first_sentence(text, sentence):
    def function():
        pass

    function.__doc__ = text
    assert api_pages.first_sentence(function) == sentence

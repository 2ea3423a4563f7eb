"""The pages of the methods: their code runs, their tables are those of the code, and no method is without one."""

import ast
import importlib
import importlib.util
import inspect
import re
from pathlib import Path

import gymnasium as gym
import pytest
import torch as th
from methods import ON_PICTURES, env_of

from bisimgym.baselines import learners
from bisimgym.baselines.core.metric_learning import MetricSAC
from bisimgym.baselines.learners import METRIC_LOSSES

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "methods"
INDEX = FOLDER / "README.md"
OWN = FOLDER / "write-your-own.md"
PAGES = sorted(FOLDER.glob("*.md"))
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def method_classes():
    """Return the method classes by the names of their modules."""
    found = {}
    for row in learners.METHODS.values():
        module = importlib.import_module(f"bisimgym.baselines.{row.module}")
        if (row.sac or row.dqn) and not row.module.startswith("core."):
            found[row.module] = [getattr(module, name) for name in (row.sac, row.dqn) if name]
    return found


METHODS = method_classes()
every_method = pytest.mark.parametrize("module", METHODS)


def text_of(page):
    return page.read_text(encoding="utf-8")


def page_of(module):
    return FOLDER / f"{module.replace('_', '-')}.md"


def rows_of(text):
    """Return the cells of a page's table rows, in pieces."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows]


@every_page
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", text_of(page), re.DOTALL | re.MULTILINE)
    assert blocks, "a page without code"
    names = {}
    for number, block in enumerate(blocks):  # one after the other, as a reader would
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)
    # Something was trained: the code is not only shown.
    assert names["model"].num_timesteps >= 110
    assert names["model"]._n_updates > 0


def test_ones_own_metric_is_short_and_trains_the_encoder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", text_of(OWN), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks[:3] for line in block.splitlines() if line.strip()]
    assert len(lines) < 60
    names = {}
    exec(blocks[0], names)

    class OwnSAC(MetricSAC):
        defaults = {"metric": names["SquaredEuclidean"]}

    model = OwnSAC("MlpPolicy", gym.make("Pendulum-v1"), learning_starts=20, batch_size=8, device="cpu", seed=0)
    model.learn(22)
    losses = model.auxiliary_losses(model.encoded(model.replay_buffer.sample(8)))
    assert losses.keys() == {"metric_loss"}
    gradients = th.autograd.grad(losses["metric_loss"], list(model.encoders()[0].parameters()))
    assert all((gradient != 0).any() for gradient in gradients[:2])


@every_method
def test_a_method_has_a_page_that_the_index_links(module):
    page = page_of(module)
    assert page.is_file(), f"{module} has no page"
    index = text_of(INDEX)
    assert f"]({page.name})" in index
    for method in METHODS[module]:
        assert f"`{method.__name__}`" in text_of(page).split("## ")[0], method
        assert f"`{method.__name__}`" in index, method


def test_every_page_is_of_a_method_or_linked():
    linked = {OWN, INDEX.with_name("speed.md"), INDEX.with_name("auxiliary-tasks.md")}
    assert set(PAGES) == {page_of(module) for module in METHODS} | {INDEX} | linked
    assert len(METHODS) >= 9
    assert all(f"]({page.name})" in text_of(INDEX) for page in linked)


@every_page
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text_of(page))
    assert [target for target in targets if not (page.parent / target).is_file()] == []


@every_page
def test_names_in_pages_exist(page):
    named = set(re.findall(r"`(bisimgym(?:\.\w+)+)`", text_of(page)))
    for name in named:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            module, _, attribute = name.rpartition(".")
            assert hasattr(importlib.import_module(module), attribute), name


def default_of(method, argument):
    return inspect.signature(method).parameters[argument].default


def setting_of(method, setting):
    """Return the default of one of the metric's settings."""
    policy = "PixelPolicy" if method in ON_PICTURES else "MlpPolicy"
    model = method(policy, env_of(method), buffer_size=10, device="cpu")
    declared = inspect.signature(model.metric).parameters[setting].default
    return model.metric_settings.get(setting, declared)


def defaults_table(text):
    """Yield (class, argument, value) of a page's table of defaults."""
    rows = rows_of(text)
    start = next(i for i, row in enumerate(rows) if row[0] == "argument")
    classes = [cell.strip("`") for cell in rows[start][1:]]
    for name, *values in rows[start + 2 :]:
        if not name.startswith("`") or len(values) != len(classes):
            return
        for cls, value in zip(classes, values, strict=True):
            yield cls, name.strip("`"), ast.literal_eval(value.strip("`"))


@every_method
def test_the_table_of_defaults_is_that_of_the_code(module):
    section = re.search(r"^## Defaults\n(.*?)^## ", text_of(page_of(module)), re.DOTALL | re.MULTILINE)
    table = list(defaults_table(section.group(1)))
    methods = {method.__name__: method for method in METHODS[module]}
    assert {cls for cls, _, _ in table} == set(methods)
    for cls, argument, value in table:
        setting = re.fullmatch(r'metric_settings\["(\w+)"\]', argument)
        of_code = setting_of(methods[cls], setting[1]) if setting else default_of(methods[cls], argument)
        assert value == getattr(of_code, "__name__", of_code), (cls, argument)
    # Every argument that the method gives a default of its own is in the table.
    for cls, method in methods.items():
        own = {name for name in method.defaults if name not in ("metric", "metric_settings")}
        assert own <= {argument for name, argument, _ in table if name == cls}, cls


def test_the_index_has_the_defaults_of_sac():
    table = list(defaults_table(text_of(INDEX)))
    assert len(table) == 8
    for _, argument, value in table:
        assert value == default_of(MetricSAC, argument), argument


def test_the_index_says_what_each_loss_trains():
    path = Path(__file__).with_name("test_methods.py")
    spec = importlib.util.spec_from_file_location("tests_of_methods", path)
    tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)
    tested = {method.__name__: losses for method, losses in tests.GRADIENTS.items() if losses}
    shown, classes = {}, []
    section = text_of(INDEX).split("<!-- gradients -->")[1].split("<!-- end gradients -->")[0]
    for line in section.splitlines():
        cells = [re.findall(r"`([^`]+)`", cell) for cell in line.split("|")[1:-1]]
        if len(cells) != 3 or not cells[1]:
            continue
        classes = cells[0] or classes
        for name in classes:
            shown.setdefault(name, {})[cells[1][0]] = set(cells[2])
    assert shown == tested


def test_the_index_names_every_metric():
    index = text_of(INDEX)
    assert [name for name in [*METRIC_LOSSES, "recursive-similarity"] if f'`"{name}"`' not in index] == []

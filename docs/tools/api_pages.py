"""Writes the pages of the API reference: every public name with the first line of its docstring.

pip install ".[all]"
python docs/tools/api_pages.py [--out docs/api]

Sphinx adds the whole docstrings where a page has the marker of a module (:func:`add_docstrings`). Public is what a
module below lists in ``__all__`` or, without that, defines under a name without an underscore.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bisimgym.envs.files import followed, replaceable_file

#: Title and modules of each page, by the name of its file.
PAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "environments": (
        "Environments",
        (
            "bisimgym",
            "bisimgym.envs",
            "bisimgym.envs.jumping",
            "bisimgym.envs.nav2d",
            "bisimgym.envs.lqr",
            "bisimgym.envs.markov_signal",
            "bisimgym.envs.markov_signal.filters",
            "bisimgym.envs.distractor_dial",
            "bisimgym.envs.channel_pruning",
            "bisimgym.envs.channel_pruning.backbones",
            "bisimgym.envs.channel_pruning.budgets",
            "bisimgym.envs.channel_pruning.fitting",
            "bisimgym.envs.channel_pruning.datasets",
            "bisimgym.envs.highway_driving",
            "bisimgym.envs.highway_driving.rewards",
            "bisimgym.envs.highway_driving.endings",
            "bisimgym.envs.highway_driving.weather",
            "bisimgym.envs.distracting_control",
            "bisimgym.envs.distractions.presets",
            "bisimgym.envs.manipulation",
            "bisimgym.envs.manipulation.randomization",
            "bisimgym.envs.process_vector",
            "bisimgym.envs.torch_vector",
            "bisimgym.envs.arrays",
            "bisimgym.envs.finite_mdp",
            "bisimgym.envs.toy_mdps",
        ),
    ),
    "wrappers": (
        "Wrappers and offline data",
        (
            "bisimgym.wrappers",
            "bisimgym.wrappers.sb3_vec_env",
            "bisimgym.wrappers.torch_vec_env",
            "bisimgym.wrappers.offline",
            "bisimgym.wrappers.offline.replay",
            "bisimgym.wrappers.offline.torch_batches",
        ),
    ),
    "metrics": ("Exact metrics", ("bisimgym.baselines.metrics",)),
    "methods": (
        "Methods",
        (
            "bisimgym.baselines.mico",
            "bisimgym.baselines.dbc",
            "bisimgym.baselines.robust_dbc",
            "bisimgym.baselines.rap",
            "bisimgym.baselines.ambs",
            "bisimgym.baselines.simsr",
            "bisimgym.baselines.deepmdp",
            "bisimgym.baselines.self_prediction",
            "bisimgym.baselines.recursive_similarity",
            "bisimgym.baselines.drq",
            "bisimgym.baselines.drq_pse",
            "bisimgym.baselines.curl",
            "bisimgym.baselines.slac",
            "bisimgym.baselines.pixels",
            "bisimgym.baselines.auxiliary_tasks",
            "bisimgym.baselines.offline",
            "bisimgym.baselines.pretrained",
        ),
    ),
    "building-blocks": (
        "Building blocks of methods",
        (
            "bisimgym.baselines.losses",
            "bisimgym.baselines.core.metric_loss",
            "bisimgym.baselines.core.metric_learning",
            "bisimgym.baselines.core.sac",
            "bisimgym.baselines.core.dqn",
            "bisimgym.baselines.core.latents",
            "bisimgym.baselines.core.representation",
            "bisimgym.baselines.core.extractors",
            "bisimgym.baselines.core.frame_replay",
            "bisimgym.baselines.core.placement",
            "bisimgym.baselines.core.checkpoint",
        ),
    ),
    "policy-similarity": (
        "Policy similarity embeddings",
        (
            "bisimgym.baselines.pse.imitation",
            "bisimgym.baselines.pse.settings",
            "bisimgym.baselines.pse.losses",
            "bisimgym.baselines.pse.state_embeddings",
            "bisimgym.baselines.pse.augmentation",
        ),
    ),
    "langevin": (
        "Neural Langevin dynamics",
        (
            "bisimgym.baselines.langevin.model",
            "bisimgym.baselines.langevin.settings",
            "bisimgym.baselines.langevin.energy",
            "bisimgym.baselines.langevin.dynamics",
            "bisimgym.baselines.langevin.landscape",
            "bisimgym.baselines.langevin.occupancy",
            "bisimgym.baselines.langevin.rates",
            "bisimgym.baselines.langevin.refit",
            "bisimgym.baselines.langevin.segmentation",
        ),
    ),
    "benchmarks": (
        "Benchmarks",
        (
            "bisimgym.benchmarks.suites",
            "bisimgym.benchmarks.suites.base",
            "bisimgym.benchmarks.running.runner",
            "bisimgym.benchmarks.running.run_folder",
            "bisimgym.benchmarks.measures",
            "bisimgym.benchmarks.measures.processes",
            "bisimgym.benchmarks.measures.metric_fidelity",
            "bisimgym.benchmarks.measures.denoising",
            "bisimgym.benchmarks.measures.aggregates",
            "bisimgym.benchmarks.report.leaderboard",
        ),
    ),
}
_MADE = "Made from the docstrings by `docs/tools/api_pages.py`."
_MARKER = re.compile(r"^<!-- docstrings of (\S+) -->$", re.MULTILINE)


def public_names(module_name: str) -> list[str]:
    """Return a module's public names, in the order of the source where it has no ``__all__``."""
    module = importlib.import_module(module_name)
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isroutine(value))
        and value.__module__ == module_name
    ]


def value_of(module_name: str, name: str) -> Any:
    """Return what a public name stands for."""
    return getattr(importlib.import_module(module_name), name)


def kind(value: Any) -> str:
    """Return the noun of Sphinx's directive for a value."""
    if inspect.ismodule(value):
        return "module"
    if inspect.isclass(value):
        return "exception" if issubclass(value, BaseException) else "class"
    return "function" if inspect.isroutine(value) else "data"


def first_sentence(value: Any) -> str:
    """Return the first paragraph of a docstring's own text as Markdown; of a constant, its value or type."""
    if kind(value) == "data":
        return f"`{value!r}`" if len(repr(value)) < 60 else f"A constant, `{type(value).__name__}`."
    text = inspect.getdoc(value)
    paragraph = " ".join((text or "").partition("\n\n")[0].split())
    return re.sub(r"(?::[\w:]+)?:`~?([^`]+)`", r"`\1`", paragraph).replace("``", "`").replace("|", "\\|")


def page(title: str, modules: Sequence[str]) -> str:
    """Return a page of the reference as Markdown."""
    parts = [f"# {title}"]
    for module in modules:
        rows = [f"| `{name}` | {first_sentence(value_of(module, name))} |" for name in public_names(module)]
        parts += [
            f"## `{module}`",
            first_sentence(importlib.import_module(module)),
            "\n".join(["| name | what it is |", "| --- | --- |", *rows]),
            f"<!-- docstrings of {module} -->",
        ]
    return "\n\n".join([*parts, "---", _MADE]) + "\n"


def index() -> str:
    """Return the list of the pages as Markdown."""
    count = sum(len(public_names(module)) for _, modules in PAGES.values() for module in modules)
    lines = [
        "# API reference\n",
        f"The {count} public names, each with shapes, types, errors and source. `bisimgym list methods` and",
        "`python -c 'help(...)'` say the same in a terminal. What is not here may change without notice.\n",
        "| page | modules |",
        "| --- | --- |",
    ]
    for name, (title, modules) in PAGES.items():
        lines.append(f"| [{title}]({name}.md) | {', '.join(f'`{module}`' for module in modules)} |")
    return "\n".join(lines) + f"\n\n{_MADE}\n"


def directives(module: str) -> str:
    """Return Sphinx's directives for the docstrings of a module's names."""
    lines = [f".. py:module:: {module}", "   :no-index:", "", f".. py:currentmodule:: {module}", ""]
    for name in public_names(module):
        noun = kind(value_of(module, name))
        if noun == "module":
            continue  # it has a section of its own
        lines += [f".. auto{noun}:: {name}"]
        if noun in ("class", "exception"):
            lines += ["   :members:", "   :show-inheritance:"]
        lines += [""]
    return "\n".join(lines)


def add_docstrings(app: Any, docname: str, source: list[str]) -> None:
    """Put the docstrings of modules where a page has their markers (Sphinx's event ``source-read``)."""
    source[0] = _MARKER.sub(lambda match: f"```{{eval-rst}}\n{directives(match[1])}\n```", source[0])


def without_sections(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Leave out docstrings of the types of constants, and sections of environments, which are Markdown on their pages.

    Sphinx's event ``autodoc-process-docstring``.
    """
    if what == "data" and "\n".join(lines).strip() == (inspect.getdoc(type(value)) or "").strip():
        lines.clear()
    sections = [number for number, line in enumerate(lines) if line.startswith("## ")]
    if sections:
        lines[sections[0] :] = ["Spaces, rewards and arguments are on the environment's page.", ""]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write every page and the index, and print their paths."""
    parser = argparse.ArgumentParser(description="Write the pages of the API reference.")
    parser.add_argument("--out", type=Path, default=Path("docs/api"), help="folder of the pages")
    folder = followed(parser.parse_args(arguments).out)
    texts = {"README": index()} | {name: page(*of) for name, of in PAGES.items()}
    for name in texts:
        replaceable_file(folder / f"{name}.md", "a page", lambda file: _MADE in file.read_text("utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
        print(folder / f"{name}.md")


if __name__ == "__main__":
    main()

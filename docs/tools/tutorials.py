"""Runs the tutorials and makes notebooks of them. A tutorial is a Markdown page whose ``python`` blocks are its cells.

pip install ".[all,docs]"
python docs/tools/tutorials.py [PAGE ...]   # run at full size, and write the pictures that pages show beside them

A line such as ``STEPS = 20_000  # in tests: 400`` has the second value where time is short.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bisimgym.envs.files import atomic_write

FOLDER = Path(__file__).parents[1] / "tutorials"
PAGES = sorted(FOLDER.glob("[0-9]*.md"))
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SIZE = re.compile(r"^(\w+ = )(.+?)  # in tests: (.+)$", re.MULTILINE)
_PICTURE = re.compile(r"!\[[^]]*\]\((\w[\w-]*\.png)\)")


def cells(page: str, small: bool = False) -> list[str]:
    """Return the code of a tutorial's cells; ``small`` has the sizes for tests."""
    code = _BLOCK.findall(page)
    return [_SIZE.sub(r"\1\3", cell) for cell in code] if small else code


def pictures(page: str) -> list[str]:
    """Return the names of the pictures that a tutorial draws and shows."""
    return _PICTURE.findall(page)


def run(path: Path, folder: Path, small: bool = False) -> dict[str, Any]:
    """Run a tutorial in a folder, cell after cell, and return the names that it defines."""
    names: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.chdir(folder):
        for number, cell in enumerate(cells(path.read_text(encoding="utf-8"), small), start=1):
            exec(compile(cell, f"{path.name}, cell {number}", "exec"), names)
    return names


def notebook(page: str, repository: str = "") -> str:
    """Return a tutorial as a Jupyter notebook, JSON.

    Args:
        page: its Markdown.
        repository: address of the repository, from which the first cell installs the package where it is not there.
    """
    import jupytext

    # Links to other pages, and pictures that running draws anew, lead nowhere from a notebook.
    page = re.sub(r"^!\[[^]]*\]\([^)]*\)\n", "", page, flags=re.MULTILINE)
    page = re.sub(r"\[([^]]*)\]\((?!https?:)[^)]*\)", r"\1", page)
    page = page.replace("\n```bash\n", "\n```text\n")  # shown, not run
    if repository:
        title, text = page.split("\n", 1)
        page = f'{title}\n\n```python\n%pip install -q "bisimgym[all] @ git+{repository}"\n```\n{text}'
    book = jupytext.reads(page, fmt="md")
    book.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return jupytext.writes(book, fmt="ipynb")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run tutorials at full size and write their pictures."""
    parser = argparse.ArgumentParser(description="Run the tutorials and write the pictures that they show.")
    parser.add_argument("pages", nargs="*", metavar="PAGE", type=Path, default=PAGES, help="default: all")
    for path in parser.parse_args(arguments).pages:
        print(f"== {path.name}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            run(path.resolve(), Path(folder))
            for name in pictures(path.read_text(encoding="utf-8")):
                with atomic_write(path.with_name(name)) as temporary:
                    temporary.write_bytes((Path(folder) / name).read_bytes())


if __name__ == "__main__":
    main()

"""The page on other libraries: every block runs by itself, where its packages are."""

import importlib.util
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "adapters.md").read_text("utf-8")
#: Package that a block needs beside those of the tests ("": none), and the block.
BLOCKS = re.findall(r"(?:<!-- needs (\w+) -->\n\n)?^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("package", "block"), BLOCKS, ids=[package or "torch" for package, _ in BLOCKS])
def test_a_block_runs(package, block, tmp_path, monkeypatch, capsys):
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    exec(compile(block, f"adapters.md, {package}", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert "print(" not in block or printed.strip()
    assert "nan" not in printed


def test_blocks_are_found():
    assert [package for package, _ in BLOCKS] == ["", "sb3_contrib", "torchrl", "minari"]

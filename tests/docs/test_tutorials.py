"""The tutorials: their cells run, and notebooks of them hold the same code."""

import json

import pytest
import tutorials

every_tutorial = pytest.mark.parametrize("path", tutorials.PAGES, ids=lambda path: path.stem)


@every_tutorial
def test_a_tutorial_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    page = path.read_text("utf-8")
    tutorials.run(path, tmp_path, small=True)
    assert all((tmp_path / name).is_file() and path.with_name(name).is_file() for name in tutorials.pictures(page))


def test_there_are_seven_that_the_index_lists_and_each_leads_to_the_next():
    assert len(tutorials.PAGES) == 7
    index = (tutorials.FOLDER / "README.md").read_text("utf-8")
    for path, following in zip(tutorials.PAGES, [*tutorials.PAGES[1:], None], strict=True):
        assert f"]({path.name})" in index
        assert following is None or f"]({following.name})" in path.read_text("utf-8")


def test_sizes_for_tests():
    page = "```python\nSTEPS = 20_000  # in tests: 4\nx = 1\n```\n\n```bash\nls\n```\n"
    assert tutorials.cells(page) == ["STEPS = 20_000  # in tests: 4\nx = 1\n"]
    assert tutorials.cells(page, small=True) == ["STEPS = 4\nx = 1\n"]
    # A formatter that breaks such a line would leave the size as it is.
    left = [
        path.name for path in tutorials.PAGES if "in tests:" in "".join(tutorials.cells(path.read_text("utf-8"), True))
    ]
    assert left == []


@every_tutorial
def test_a_notebook_has_the_cells_of_the_page(path):
    pytest.importorskip("jupytext", reason="notebooks need pip install '.[docs]'")
    page = path.read_text("utf-8")
    code = ["".join(c["source"]) for c in json.loads(tutorials.notebook(page))["cells"] if c["cell_type"] == "code"]
    assert code == [cell.rstrip("\n") for cell in tutorials.cells(page)]
    book = json.loads(tutorials.notebook(page, "https://example.org/x"))
    first = next(cell for cell in book["cells"] if cell["cell_type"] == "code")
    assert "".join(first["source"]) == '%pip install -q "bisimgym[all] @ git+https://example.org/x"'
    assert "](../" not in json.dumps(book)

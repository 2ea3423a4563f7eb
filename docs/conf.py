"""The documentation as a site: ``make docs``. Its pages are the Markdown files that the code host shows.

The sources are the whole repository, so that links between pages are the same here and there; ``_toc.yml`` has the
order.
"""

import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS / "tools"))

import api_pages  # noqa: E402
import tutorials  # noqa: E402

import bisimgym  # noqa: E402

#: The repository's address, where the metadata name one: links to Colab and to the source of a page then appear.
REPOSITORY = (
    tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"].get("urls", {}).get("Repository", "")
)

project = "bisimgym"
author = copyright = "the bisimgym developers"
version = release = bisimgym.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_external_toc",
]
external_toc_path = str(DOCS / "_toc.yml")
include_patterns = [
    "docs/**.md",
    "benchmarks/results/README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "CODE_OF_CONDUCT.md",
    "SECURITY.md",
]
exclude_patterns = [".venv*", "site", "runs", "build", "dist", ".git"]

myst_heading_anchors = 4
suppress_warnings = ["myst.header"]

napoleon_numpy_docstring = False
napoleon_use_ivar = True
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
add_module_names = False

html_theme = "furo"
html_title = f"bisimgym {release}"
html_static_path = ["site"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
# Summaries are fetched, which browsers refuse for files: with them a search without a server stops at the first page.
html_show_search_summary = False
html_theme_options = {"navigation_with_keys": True}
if REPOSITORY:
    html_theme_options |= {"source_repository": REPOSITORY, "source_branch": "main", "source_directory": ""}
copybutton_exclude = ".linenos, .gp, .go"


def offer_notebook(app, docname, source):
    """Put links to a tutorial's notebook under its title."""
    name = Path(docname).name
    if docname.startswith("docs/tutorials/") and name != "README":
        title, text = source[0].split("\n", 1)
        links = f'<p class="notebook"><a href="{name}.ipynb" download>Download as a notebook</a>'
        if "github.com/" in REPOSITORY:
            at = f"{REPOSITORY.partition('github.com/')[2]}/blob/gh-pages/docs/tutorials/{name}.ipynb"
            links += (
                f' <a href="https://colab.research.google.com/github/{at}"><img src="../../_static/colab.svg" '
                'alt="Open in Colab" height="20"></a>'
            )
        source[0] = f"{title}\n\n{links}</p>\n{text}"


def write_notebooks(app, error):
    """Write the notebooks of the tutorials beside their pages."""
    for path in [] if error else tutorials.PAGES:
        page = Path(app.outdir) / "docs" / "tutorials" / f"{path.stem}.ipynb"
        if page.parent.is_dir():
            page.write_text(tutorials.notebook(path.read_text("utf-8"), REPOSITORY), encoding="utf-8")


def setup(app):
    """Let the pages of the reference show what the docstrings say, and offer tutorials as notebooks."""
    app.connect("source-read", offer_notebook)
    app.connect("build-finished", write_notebooks)
    app.connect("source-read", api_pages.add_docstrings)
    app.connect("autodoc-process-docstring", api_pages.without_sections)

"""Checks a built site without a network: every link inside it leads somewhere, and no page loads anything from outside.

python docs/tools/check_site.py FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: Attributes by which a browser loads something at once; ``href`` of other elements waits for a click.
_LOADS = {("link", "href"), ("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("video", "src")}


class Page(HTMLParser):
    """What a page links to, loads, and offers as anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[tuple[str, bool]] = []  # where to, and whether it is loaded at once
        self.anchors = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        """Note the links and anchors of an element."""
        for name, value in attributes:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.append((value, (tag, name) in _LOADS))


def faults(folder: Path) -> Iterator[str]:
    """Yield a line for each link that leads nowhere and each thing that is loaded from outside.

    Raises:
        ValueError: if there are no pages.
    """
    pages = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html")}
    if not pages:
        raise ValueError(f"{folder}: no pages; build them with make docs")
    for path, page in pages.items():
        for link, loaded in page.links:
            url = urlsplit(link)
            if url.scheme in ("http", "https") or url.netloc:
                if loaded:
                    yield f"{path.relative_to(folder.resolve())}: loads {link} from outside"
                continue
            if url.scheme:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            if not target.is_file():
                yield f"{path.relative_to(folder.resolve())}: {link} is not there"
            elif target in pages and unquote(url.fragment) not in pages[target].anchors:
                yield f"{path.relative_to(folder.resolve())}: no #{url.fragment} in {url.path or 'this page'}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the faults of a site, and return 1 if there are any."""
    (folder,) = arguments or sys.argv[1:]
    found = list(faults(Path(folder)))
    print("\n".join(found) or f"{folder}: all links lead somewhere, nothing is loaded from outside")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())

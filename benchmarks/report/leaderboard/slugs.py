"""File names from names that nobody vetted."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable


def slugs(names: Iterable[str]) -> dict[str, str]:
    """Return a file name for each name: lower-case letters, digits and ``._-`` only, no two alike on any file system.

    A name that is fine as it is stays; any other is cut to the safe characters and ends in a digest of itself, so that
    its file name does not depend on which other names there are.
    """
    taken: dict[str, str] = {}
    ordered = sorted(set(names), key=lambda name: (_safe(name) != name, name))
    for name in ordered:
        slug = _safe(name)
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        if slug != name:
            slug = f"{slug}-{digest[:8]}"
        if slug in taken:  # somebody chose a name that ends in the digest of another
            slug = f"{slug}-{digest}"
        taken[slug] = name
    return {name: slug for slug, name in taken.items()}


def _safe(name: str) -> str:
    slug = re.sub(r"[^a-z0-9._-]+", "-", name.lower())[:60].strip("-.")
    return f"x-{slug}".rstrip("-") if slug in {"", "index"} else slug

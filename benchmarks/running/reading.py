"""Reads the files of run folders, which strangers may have written: nothing else opens them.

A file is opened only if it is a regular file, no link, and below a size; a JSON value is taken only if it is UTF-8, not
nested deeply, and all of its numbers are finite. Whatever else there is raises ``UserError``, one line that names the
file.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.names import shortened
from bisimgym.envs import files

#: Most bytes of a file of JSON, and of a picture. Committed results are below 20 kB.
JSON_BYTES, PICTURE_BYTES = 4 * 2**20, 16 * 2**20
#: Most levels of JSON, and of folders below the one that is given.
JSON_DEPTH, FOLDER_DEPTH = 8, 12
#: In the folder of a site; it lists the site's files.
SITE_MARKER = ".bisimgym-site"
_FIX = "restore it, or move the folder away"


def damaged(path: Path, why: object, fix: str = _FIX) -> UserError:
    """Return the error of a file that cannot be what it should."""
    return UserError(f"{path} is damaged ({why}): {fix}")


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """Return :func:`~bisimgym.envs.files.open_regular`; what is no regular file is a ``UserError`` here."""
    try:
        return files.open_regular(path, flags)
    except files.IrregularFileError as error:
        raise UserError(str(error)) from None


def read_bytes(path: Path, limit: int = JSON_BYTES) -> bytes:
    """Return what a regular file holds.

    Raises:
        UserError: if it is missing, cannot be read, is no regular file, or has more than ``limit`` bytes.
    """
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise UserError(f"{path.parent} is damaged: {path.name} is missing; move that folder away") from None
    except OSError as error:
        raise damaged(path, error.strerror or error) from None
    if len(content) > limit:
        raise damaged(path, f"more than {limit} bytes")
    return content


def read_text(path: Path, limit: int = JSON_BYTES) -> str:
    """Return the text of a regular file of UTF-8.

    Raises:
        UserError: as ``read_bytes``, and for other encodings.
    """
    try:
        return read_bytes(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise damaged(path, f"not UTF-8: {error.reason} at byte {error.start}") from None


def read_json(path: Path, limit: int = JSON_BYTES) -> dict[str, Any]:
    """Return the JSON object that a regular file of at most ``limit`` bytes holds.

    Raises:
        UserError: as ``read_text``, and for what ``parse_json`` refuses.
    """
    text = read_text(path, limit)
    try:
        return parse_json(text)
    except ValueError as error:
        raise damaged(path, error) from None


def parse_json(text: str) -> dict[str, Any]:
    """Return the object that a text of JSON is.

    Raises:
        ValueError: for anything else, and for numbers that are not finite, integers beyond 64 bits, keys that are given
            twice, halves of surrogate pairs, and more than 8 levels.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_without_repeats)
    except RecursionError:
        raise ValueError(f"nested more than {JSON_DEPTH} levels deep") from None
    except ValueError as error:
        if "digits" in str(error):  # so many that Python refuses to make an integer of them
            raise ValueError("an integer of thousands of digits is beyond 64 bits") from None
        raise
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object is expected, got {type(value).__name__}")
    _check_tree(value)
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key is given twice")
    return value


def _check_tree(value: Any) -> None:
    """Raise ``ValueError`` for too many levels, numbers beyond their bounds, and texts that no encoding has."""
    level = [value]
    for _ in range(JSON_DEPTH):
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is dict:
                below += [*item, *item.values()]
            elif kind is list:
                below += _deciding(item)
            elif kind is str and not item.isascii() and any("\ud800" <= c <= "\udfff" for c in item):
                raise ValueError(f"{shortened(item)} holds half of a surrogate pair")
            elif kind is int and abs(item) >= 2**63:
                raise ValueError(f"{shortened(item)} is beyond 64 bits")
            elif kind is float and not math.isfinite(item):
                raise ValueError(f"{item} is not finite")
        if not below:
            return
        level = below
    raise ValueError(f"nested more than {JSON_DEPTH} levels deep")


def _deciding(items: list[Any]) -> Iterable[Any]:
    """Return those entries of a list that are to be looked at: of many numbers the least and the largest."""
    kinds = set(map(type, items))
    if len(kinds) > 1 or not kinds <= {int, float, bool, str}:
        return items
    return set(items) if kinds == {str} else (min(items), max(items)) if items else ()


def check_no_links(root: Path, path: Path) -> None:
    """Raise ``UserError`` if a part of ``path`` below ``root``, which it lies in, is a link."""
    for parent in [path, *path.parents]:
        if parent == root:
            return
        if parent.is_symlink():
            raise UserError(
                f"{parent} is a link, and links in folders of runs are not followed: give what it points to"
            )


def run_folders(folder: Path) -> Iterator[Path]:
    """Yield the folders below one, itself included, that hold a ``run.json`` or ``result.json``, in order of paths.

    Sites, which hold copies of runs, are left out.

    Raises:
        UserError: for links to folders, for folders nested too deeply, and for those that cannot be read.
    """
    waiting = [(folder, 0)]
    while waiting:
        path, depth = waiting.pop()
        try:
            with os.scandir(path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror or error}): leave it out") from None
        if SITE_MARKER in {entry.name for entry in found}:  # a site, which holds copies
            continue
        if {"run.json", "result.json"} & {entry.name for entry in found}:
            yield path
            continue
        if depth == FOLDER_DEPTH:
            raise UserError(f"{path} is more than {FOLDER_DEPTH} folders below {folder}: give a folder nearer to it")
        below = []
        for entry in found:
            if entry.is_symlink() and os.path.isdir(entry.path):
                check_no_links(folder, Path(entry.path))
            if entry.is_dir(follow_symlinks=False):
                below.append((Path(entry.path), depth + 1))
        waiting += reversed(below)

"""Data sets on disk: built part by part under a hidden name, and renamed when they are whole.

A manifest lists the parts that are written, with checksums. It is replaced at once after each part, so that a kill at
any moment leaves whole parts, with which the next attempt goes on. What has its final name is finished.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bisimgym.envs.checks import integer
from bisimgym.envs.files import IrregularFileError, atomic_write, open_regular

MANIFEST = "offline.json"
FORMAT = 1
_LOCK = ".lock"
_MOST_BYTES = 2**28
#: What an attempt leaves that was killed before its first part: the lock, columns, Minari's folder, a manifest to be.
_OURS = re.compile(r"\.lock|column-\d+\.bin|data|\.\d+-offline\.json")


class DamagedDataError(ValueError):
    """A data set that is not what was written."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder, checked against its own checksum."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(read_file(path, _MOST_BYTES).decode("utf-8"))
        content, digest = manifest["content"], manifest["sha256"]
        changed = digest != sha256_of_json(content)
        version = None if changed else content["format"]
        if version == FORMAT:
            _check_content(content)
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise DamagedDataError(f"{path} is damaged ({error}): restore the data set or collect it again") from None
    if changed:
        raise DamagedDataError(f"{path} was changed after it was written: restore the data set or collect it again")
    if version != FORMAT:
        raise ValueError(f"{path} has format {version}, and this version reads {FORMAT}")
    return content


def read_file(path: Path, most: int | None = None) -> bytes:
    """Return what a regular file holds, or raise ``DamagedDataError`` for links, special files and more bytes."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            content = file.read(-1 if most is None else most + 1)
    except (IrregularFileError, FileNotFoundError) as error:
        raise DamagedDataError(f"{path} cannot be read ({error}): restore the data set or collect it again") from None
    if most is not None and len(content) > most:
        raise DamagedDataError(f"{path} has more than {most:,} bytes: restore the data set or collect it again")
    return content


def _check_content(content: Any) -> None:
    """Raise ``ValueError``, ``KeyError`` or ``TypeError`` unless a manifest has what readers look at."""
    if not isinstance(content["form"], str) or not isinstance(content["info"], dict):
        raise ValueError("form must be a name and info a dictionary")
    if not isinstance(content["info"].get("env_kwargs", {}), dict):
        raise ValueError("env_kwargs must be a dictionary")
    parts = content["parts"]
    if not isinstance(parts, list):
        raise ValueError("parts must be a list")
    described = [[(c["name"], c["dtype"], c["shape"]) for c in part.get("columns", ())] for part in parts]
    if any(columns != described[0] for columns in described):
        raise ValueError("parts must have the same columns")
    for name, dtype, shape in described[0] if described else ():
        if not isinstance(name, str) or not isinstance(shape, list) or np.dtype(dtype).kind not in "biuf":
            raise ValueError(f"a column has a name, a dtype of numbers and a shape, got {name!r}, {dtype!r}, {shape!r}")
        for length in shape:
            integer("a length of a shape", length, 0)
    for part in parts:
        for counted in (part, *part.get("columns", ())):
            for key in {"steps", "episodes", "bytes"} & set(counted):
                integer(key, counted[key], 0, 2**62)
        for key in ("steps", "episodes"):
            integer(key, part[key], 1)


def sha256_of_json(value: Any) -> str:
    """Return a checksum of JSON, whatever the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class Building:
    """A data set under construction, at ``.NAME.partial`` beside its final place.

    Args:
        target: the final folder, which must not exist.
        content: of the manifest: what the data set is to be. What was begun with another content is refused.

    Attributes:
        folder: where to write.
        parts: what is there already, one entry per part.

    Raises:
        FileExistsError: if the target exists.
        ValueError: if something else was begun under this name, or another process is at it.
    """

    def __init__(self, target: Path, content: Mapping[str, Any]):
        # JSON turns tuples into lists; settings are compared as they will be read.
        self._content = json.loads(json.dumps({"format": FORMAT, **content}))
        self.target = target = target.absolute()  # an agent may change the working folder
        if target.name in ("", ".", ".."):
            raise ValueError(f"{target} is no name for a data set: give the path of a new folder")
        refuse_existing(target)
        self.folder = target.with_name(f".{target.name}.partial")
        self.parts: list[dict[str, Any]] = []
        _refuse_foreign(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.fdopen(open_regular(self.folder / _LOCK, os.O_RDWR | os.O_CREAT), "r+b")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise ValueError(f"another process is writing {target}: wait for it, or take another name") from None
        if (self.folder / MANIFEST).exists():
            try:
                begun = read_manifest(self.folder)
            except ValueError:
                self._lock.close()
                raise
            self.parts = begun.pop("parts")
            if begun != self._content:
                self._lock.close()
                raise ValueError(
                    f"{self.folder} was begun with other settings ({_first_difference(begun, self._content)}): give "
                    "the same ones to go on, take another name, or remove the folder"
                )

    def commit(self, part: Mapping[str, Any]) -> None:
        """Count a part as written. Its files must be on disk."""
        self.parts.append(dict(part))
        self._write()

    def finish(self) -> None:
        """Give the data set its final name."""
        self._write()
        (self.folder / _LOCK).unlink()
        refuse_existing(self.target)
        self.folder.rename(self.target)

    def close(self) -> None:
        self._lock.close()

    def _write(self) -> None:
        content = {**self._content, "parts": self.parts}
        with atomic_write(self.folder / MANIFEST) as temporary:
            temporary.write_text(json.dumps({"content": content, "sha256": sha256_of_json(content)}), encoding="utf-8")


def refuse_existing(target: Path) -> None:
    """Raise ``FileExistsError`` if there is something at a path."""
    if target.exists() or target.is_symlink():
        raise FileExistsError(f"{target} exists: take another name, or remove it first")


def _refuse_foreign(folder: Path) -> None:
    """Raise ``FileExistsError`` if something stands where a data set is built that no attempt of ours has left."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise FileExistsError(f"{folder} is in the way: remove it, or take another name")
    if folder.is_dir() and not (folder / MANIFEST).exists():
        foreign = [path.name for path in folder.iterdir() if not _OURS.fullmatch(path.name)]
        if foreign:
            raise FileExistsError(f"{folder} is in the way, it holds {foreign[0]}: move it, or take another name")


@contextmanager
def disk_errors_explained(folder: Path) -> Iterator[None]:
    """Say where it was, and that nothing is lost, when the disk is full or a file cannot be written."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileExistsError):
            raise
        text = f"{error.strerror or error} (what is whole is kept there: make room and give the same command again)"
        raise OSError(error.errno, text, str(folder)) from error


def sync(path: Path) -> None:
    """Wait until a file is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _first_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    for key in sorted({*one, *other}):
        a, b = one.get(key), other.get(key)
        if isinstance(a, dict) and isinstance(b, dict) and a != b:
            return _first_difference(a, b)
        if a != b:
            return f"{key} was {a!r} and is {b!r}"
    return "none"

"""A data set as a folder of raw columns, which can be mapped into memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bisimgym.envs.files import IrregularFileError, open_regular
from bisimgym.wrappers.offline.episodes import Episodes, columns_to_episodes
from bisimgym.wrappers.offline.manifest import Building, DamagedDataError, disk_errors_explained, read_manifest, sync

_CHUNK = 1 << 24


class FolderWriter:
    """Appends parts of whole episodes to a folder of columns (see :class:`~.manifest.Building`)."""

    def __init__(self, target: Path, content: Mapping[str, Any]):
        self.building = Building(target, content)

    @property
    def parts(self) -> list[dict[str, Any]]:
        return self.building.parts

    def append(self, part: Episodes, observations: Any = None) -> None:
        """Write a part. ``observations`` are left out: the columns of the form are what is kept."""
        folder = self.building.folder
        written = [piece["columns"] for piece in self.parts]
        columns = []
        with disk_errors_explained(folder):
            for i, (name, column) in enumerate(part.columns()):
                before = sum(piece[i]["bytes"] for piece in written)
                path = folder / f"column-{i:02d}.bin"
                array = np.ascontiguousarray(column)
                data: Any = array.reshape(-1).view(np.uint8)
                with os.fdopen(open_regular(path, os.O_RDWR | os.O_CREAT), "r+b") as file:
                    file.truncate(before)  # what a killed attempt left beyond the parts that count
                    file.seek(before)
                    file.write(data)
                sync(path)
                columns.append(
                    {
                        "name": name,
                        "dtype": array.dtype.str,
                        "shape": list(array.shape[1:]),
                        "bytes": array.nbytes,
                        "sha256": hashlib.sha256(data).hexdigest(),
                    }
                )
            self.building.commit({"steps": len(part), "episodes": part.num_episodes, "columns": columns})

    def finish(self) -> None:
        """Give the data set its name."""
        with disk_errors_explained(self.building.folder):
            self.building.finish()

    def close(self) -> None:
        self.building.close()


def read_folder(folder: Path, in_memory: bool, verify: bool) -> tuple[Episodes, dict[str, Any]]:
    """Return the episodes of a folder and its manifest.

    Args:
        in_memory: whether to read all of it; otherwise files are mapped, and pages read when they are needed.
        verify: whether to compare checksums, which reads everything once. Sizes are always compared.

    Raises:
        DamagedDataError: if a file is missing, cut short, or not what was written.
    """
    manifest = read_manifest(folder)
    parts = manifest["parts"]
    try:
        described = parts[0]["columns"]
        columns = {
            column["name"]: _read_column(folder / f"column-{i:02d}.bin", i, parts, in_memory, verify)
            for i, column in enumerate(described)
        }
        return columns_to_episodes(columns), manifest
    except DamagedDataError:
        raise
    except (ValueError, KeyError, IndexError) as error:
        raise DamagedDataError(f"{folder} is damaged ({error}): restore the data set or collect it again") from None


def _read_column(path: Path, i: int, parts: list[dict[str, Any]], in_memory: bool, verify: bool) -> np.ndarray:
    pieces = [part["columns"][i] for part in parts]
    name, dtype, shape = pieces[0]["name"], np.dtype(pieces[0]["dtype"]), tuple(pieces[0]["shape"])
    rows, size = _rows(name, parts), sum(piece["bytes"] for piece in pieces)
    if size != rows * dtype.itemsize * int(np.prod(shape, dtype=object)):
        raise DamagedDataError(f"{path}: {rows:,} rows of {dtype}{list(shape)} are not {size:,} bytes")
    try:
        descriptor = open_regular(path)
    except (FileNotFoundError, IrregularFileError) as error:
        raise DamagedDataError(f"{path} cannot be read ({error}): restore the data set or collect it again") from None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor).st_size
        if found != size:
            raise DamagedDataError(f"{path} has {found:,} bytes of {size:,}: restore the data set or collect it again")
        if verify:
            _verify(path, file, pieces)
            file.seek(0)
        if size == 0:
            return np.empty((rows, *shape), dtype)
        if in_memory:
            return np.fromfile(file, dtype).reshape(rows, *shape)
        return np.asarray(np.memmap(file, dtype, "r", shape=(rows, *shape)))


def _rows(name: str, parts: list[dict[str, Any]]) -> int:
    steps, episodes = (sum(part[key] for part in parts) for key in ("steps", "episodes"))
    return {"observations": steps + episodes, "episodes": episodes}.get(name.partition(".")[0], steps)


def _verify(path: Path, file: BinaryIO, pieces: list[dict[str, Any]]) -> None:
    for piece in pieces:
        digest, left = hashlib.sha256(), piece["bytes"]
        while left:
            chunk = file.read(min(left, _CHUNK))
            if not chunk:
                break
            digest.update(chunk)
            left -= len(chunk)
        if digest.hexdigest() != piece["sha256"]:
            raise DamagedDataError(
                f"{path} is damaged (its checksum does not match): restore the data set or collect it again"
            )

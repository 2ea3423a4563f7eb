"""Writing at a path that a user gives: what may be replaced there, and files that a kill at any moment leaves whole.

Nothing but an empty folder, or what this package made, is replaced. Every function and command that writes at such a
path asks here first, before anything is written. Links are followed to what they lead to, so that a link stays one.
Folders are replaced as a whole, and then hold nothing but what their manifest or their form lists; single files are
recognized by what they hold.
"""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: What pictures hold as "Software" (PNG) or comment (JPEG, GIF).
MARK = "bisimgym"
# Windows has neither: there links and special files are told by lstat alone.
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def followed(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path that links lead to, which need not be there.

    Raises:
        FileExistsError: for links that lead in a circle.
    """
    resolved = Path(os.path.realpath(Path(path).expanduser()))
    if resolved.is_symlink():
        raise FileExistsError(f"{os.fspath(path)} is a link that leads in a circle: remove it, or give another path")
    return resolved


def replaceable_folder(path: str | os.PathLike[str], what: str, owned: Callable[[Path], Iterable[str] | None]) -> Path:
    """Return the path, links followed, of a folder that is missing, empty, or holds only what this package made.

    Args:
        path: of the folder.
        what: it is to become, for messages: "a checkpoint".
        owned: returns the files of such a folder, relative with slashes, or None for a folder that is none.

    Raises:
        FileExistsError: for files, and folders that hold anything else. Nothing has been written then.
    """
    folder = followed(path)
    if not folder.exists():
        return folder
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file: give another folder for {what}")
    if not any(folder.iterdir()):
        return folder
    own = owned(folder)
    if own is None:
        raise FileExistsError(f"{folder} is not empty and not {what}: give another folder, or empty it")
    foreign = sorted(set(files_of(folder)) - set(own))
    if foreign:
        raise FileExistsError(f"{folder} holds files that bisimgym did not write, such as {foreign[0]}: move them away")
    return folder


def replaceable_file(path: str | os.PathLike[str], what: str, is_ours: Callable[[Path], bool]) -> Path:
    """Return the path, links followed, of a file that is missing, empty, or that this package made.

    Args:
        path: of the file.
        what: it is to become, for messages: "a model".
        is_ours: whether a regular file is such a one. Errors of reading and parsing count as no.

    Raises:
        FileExistsError: for folders, devices and files of others. Nothing has been written then.
    """
    file = followed(path)
    if not os.path.lexists(file):
        return file
    if not file.is_file():
        raise FileExistsError(f"{file} is no regular file: give another path for {what}")
    if file.stat().st_size and not _holds(is_ours, file):
        raise FileExistsError(f"{file} is there and not {what} that bisimgym wrote: give another path, or move it away")
    return file


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` to write to; when the block ends, that file replaces ``path`` at once.

    If the block raises, ``path`` stays as it was. The temporary name is hidden and keeps the suffix, by which some
    libraries choose the format. The folder must exist.

    Example:
        >>> with atomic_write("notes.txt") as temporary:
        ...     _ = temporary.write_text("whole or not at all")
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class IrregularFileError(ValueError):
    """A link, a folder or a special file, where a file must be."""


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """Return a descriptor of a regular file. Opening neither waits nor follows a link.

    Raises:
        IrregularFileError: for anything that is no regular file.
        FileNotFoundError: if there is nothing.
        OSError: if the file cannot be opened.
    """
    with_create = bool(flags & os.O_CREAT)
    if os.path.lexists(path):
        mode = os.lstat(path).st_mode
        if not stat.S_ISREG(mode):
            kind = "a link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "a special file"
            raise IrregularFileError(f"{path} is {kind}, and must be a file: move it away")
    elif not with_create:
        raise FileNotFoundError(2, "No such file or directory", str(path))
    descriptor = os.open(path, flags | _FLAGS, 0o644)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # it was replaced meanwhile
        os.close(descriptor)
        raise IrregularFileError(f"{path} is not a file: move it away")
    return descriptor


def files_of(folder: Path) -> Iterable[str]:
    """Return all but folders in a folder and below, relative with slashes."""
    return (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())


def is_model_archive(file: Path) -> bool:
    """Return whether a file is an archive in the form of Stable-Baselines3, as learners write."""
    with zipfile.ZipFile(file) as archive:
        return {"data", "pytorch_variables.pth", "_stable_baselines3_version"} <= set(archive.namelist())


def is_our_picture(file: Path) -> bool:
    """Return whether a PNG, JPEG or GIF file has the mark of this package."""
    from PIL import Image

    with Image.open(file) as image:
        return image.info.get("Software") == MARK or image.info.get("comment") == MARK.encode()


def replaceable_archive(path: str | os.PathLike[str]) -> Path:
    """Return :func:`replaceable_file` for a model of Stable-Baselines3's form, with the suffix that it adds."""
    path = Path(path)
    return replaceable_file(path if path.suffix else path.with_suffix(".zip"), "a model", is_model_archive)


def _holds(is_ours: Callable[[Path], bool], file: Path) -> bool:
    try:
        return is_ours(file)
    except Exception:  # whatever reading a file of another kind raises
        return False

"""Names that become a path or a text, and texts that strangers wrote: the one place that says which are fine."""

from __future__ import annotations

import re

#: Longest name of an agent, and longest text that a run folder may hold.
NAME_LENGTH, TEXT_LENGTH = 64, 4000
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._+-]*"
_NAME = re.compile(NAME_PATTERN)


def check_name(what: str, name: object) -> str:
    """Return a name that is safe as a folder, in a table and in a cell of a spreadsheet.

    Raises:
        ValueError: unless it is 1 to 64 letters (A to Z), digits and ``._+-``, the first of them a letter or digit.
    """
    if not isinstance(name, str) or len(name) > NAME_LENGTH or not _NAME.fullmatch(name):
        raise ValueError(
            f"{what} must be 1 to {NAME_LENGTH} letters (A to Z), digits and ._+-, and begin with a letter or digit, "
            f"got {shortened(name)}"
        )
    return name


def check_text(what: str, text: object) -> str:
    """Return a text that can be shown.

    Raises:
        ValueError: unless it is a string of at most 4000 characters, all of which can be encoded and printed.
    """
    if not isinstance(text, str) or len(text) > TEXT_LENGTH:
        raise ValueError(f"{what} must be a text of at most {TEXT_LENGTH} characters, got {shortened(text)}")
    if not text.replace("\n", "").isprintable():
        raise ValueError(f"{what} must hold printable characters only, got {shortened(text)}")
    return text


def storable(text: str) -> str:
    """Return a text as :func:`check_text` takes it: escaped where it cannot be printed, cut where it is long."""
    parts = [c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in text]
    plain = "".join(parts)
    return plain if len(plain) <= TEXT_LENGTH else f"{plain[: TEXT_LENGTH - 4]} ..."


def shortened(value: object, length: int = 60) -> str:
    """Return a value as one line of plain characters, cut where it is long: for messages."""
    if isinstance(value, int) and abs(value) >= 2**63:  # long integers refuse to become text
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, dict | list):  # which may hold such integers
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)} entries"
    text = ascii(value)
    return text if len(text) <= length else f"{text[:length]}..."

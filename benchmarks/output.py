"""Standard output that never fails for want of a character, and lines that are safe to show there."""

from __future__ import annotations

import codecs
import io
import sys

#: What stands for characters that the output's encoding lacks; other ones become question marks.
_PLAIN = {"\u00b1": "+-", "\u2013": "-", "\u2026": "...", "\u00d7": "x", "\u2022": "*", "\u2501": "-"}


def _plainly(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(_PLAIN.get(character, "?") for character in error.object[error.start : error.end]), error.end


def show_in_any_encoding() -> None:
    """Let standard output and errors replace what their encoding cannot show: work that is done must not fail then."""
    codecs.register_error("bisimgym-plain", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="bisimgym-plain")


def printable(message: str) -> str:
    """Return a message as one line in which nothing moves the cursor of a terminal, as names of files may."""
    line = " ".join(message.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)

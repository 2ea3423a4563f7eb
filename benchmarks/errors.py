"""The one exception type for mistakes of the user: shown as one line, without a traceback, with exit code 2."""

from collections.abc import Iterable


class UserError(Exception):
    """Bad input: the message names the value, what is allowed and the fix."""


def unknown(kind: str, name: str, known: Iterable[object]) -> UserError:
    """Return the error for a name that is not among ``known``."""
    choices = ", ".join(map(str, known))
    return UserError(
        f"unknown {kind} {name!r}: " + (f"choose from {choices}" if choices else "there is none to choose")
    )

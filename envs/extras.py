"""Parts of the package that need more than its core: what to install where they are missing."""

from __future__ import annotations

import importlib.util


def require(what: str, extra: str, *modules: str) -> None:
    """Raise ``ModuleNotFoundError`` that names the extra to install if a module is missing. Nothing is imported.

    Args:
        what: the part that needs them, the start of the message; a plural.
        extra: of this package, such as "baselines".
        modules: top-level names.
    """
    for module in modules:
        if not _is_there(module):
            raise missing(what, extra, module)


def missing(what: str, extra: str, module: str | None) -> ModuleNotFoundError:
    """Return the error for a module that is missing; the arguments are those of :func:`require`."""
    return ModuleNotFoundError(f'{what} need {module}: pip install "bisimgym[{extra}]"', name=module)


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False

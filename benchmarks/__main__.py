"""The entry point of the ``bisimgym`` command: says what to install where the parts it needs are missing."""

from __future__ import annotations

import sys


def main() -> int:
    try:
        from bisimgym.benchmarks.cli import main as command
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("bisimgym"):
            raise
        print(f'error: the command needs {error.name}: pip install "bisimgym[bench]"', file=sys.stderr)
        return 2
    return command()


if __name__ == "__main__":
    sys.exit(main())

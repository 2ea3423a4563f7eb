"""``python -m bisimgym``: the ``bisimgym`` command."""

import sys

from bisimgym.benchmarks.__main__ import main

if __name__ == "__main__":
    sys.exit(main())

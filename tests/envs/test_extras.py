"""What parts of the package say where a module that they need is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

from bisimgym.envs.extras import require

_WITHOUT = "import sys; sys.modules.update(dict.fromkeys({missing!r}));"


def test_what_is_there_is_no_error():
    require("metrics", "metrics", "numpy")
    with pytest.raises(ModuleNotFoundError, match=r'need surprise_of_none: pip install "bisimgym\[metrics\]"'):
        require("metrics", "metrics", "numpy", "surprise_of_none")


ROOT = Path(__file__).parents[2]
MODULES = [
    ".".join(["bisimgym", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
    for layer in ("envs", "wrappers", "baselines")
    for path in sorted((ROOT / layer).rglob("*.py"))
]


@pytest.mark.parametrize(("missing", "extra"), [("torch", "baselines"), ("stable_baselines3", "baselines")])
def test_every_module_names_its_extra(missing, extra):
    code = _WITHOUT.format(missing=[missing]) + (
        "import importlib\n"
        f"for name in {MODULES}:\n"
        "    try: importlib.import_module(name)\n"
        "    except ModuleNotFoundError as error: print(name, '|', error)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) > 20
    assert [line for line in lines if 'pip install "bisimgym[' not in line] == []
    assert sum(f'need {missing}: pip install "bisimgym[{extra}]"' in line for line in lines) > 20


def test_metrics_name_their_extra():
    code = _WITHOUT.format(missing=["scipy"]) + "import bisimgym.baselines.metrics"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.endswith('need scipy: pip install "bisimgym[metrics]"\n')

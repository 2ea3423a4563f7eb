"""What parts of the package say where a module that they need is missing."""

import subprocess
import sys

import pytest

from bisimgym.envs.extras import require

_WITHOUT = "import sys; sys.modules.update(dict.fromkeys({missing!r}));"


def test_what_is_there_is_no_error():
    require("metrics", "metrics", "numpy")
    with pytest.raises(ModuleNotFoundError, match=r'need surprise_of_none: pip install "bisimgym\[metrics\]"'):
        require("metrics", "metrics", "numpy", "surprise_of_none")


@pytest.mark.parametrize(
    ("modules", "missing", "extra"),
    [
        (
            [
                *(
                    "core.metric_learning",
                    "core.checkpoint",
                    "losses",
                    "losses.distances",
                    "langevin.model",
                    "offline",
                    "pretrained",
                ),
                *("pse.imitation", "ambs", "dbc", "deepmdp", "mico", "rap", "recursive_similarity", "robust_dbc"),
                *("self_prediction", "simsr", "transitions"),
            ],
            ["torch"],
            "baselines",
        ),
        (["mico", "core.sac", "transitions"], ["stable_baselines3"], "baselines"),
        (["metrics"], ["scipy"], "metrics"),
    ],
)
def test_modules_name_their_extra(modules, missing, extra):
    code = _WITHOUT.format(missing=missing) + (
        "import importlib\n"
        f"for name in {modules}:\n"
        "    try: importlib.import_module(f'bisimgym.baselines.{name}'); print(name, 'no error')\n"
        "    except ModuleNotFoundError as error: print(name, error.name, error)\n"
    )
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == len(modules)
    for line in lines:
        assert f" {missing[0]} " in line, line
        assert line.endswith(f'need {missing[0]}: pip install "bisimgym[{extra}]"'), line


def test_the_adapter_names_its_extra():
    code = _WITHOUT.format(missing=["stable_baselines3"]) + "import bisimgym.wrappers.sb3_vec_env"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'pip install "bisimgym[baselines]"' in done.stderr.splitlines()[-1]

"""Published numbers of channel pruning: Tables 6.1 to 6.6 of Chen's thesis, whose chapter 6 is a paper of NeurIPS 2020.

Each is of one run, as far as is said. Accuracies are in percent, speed-ups are ratios of multiply-accumulates, "stored"
is a ratio of parameters; times are milliseconds for 256 images on a P100 GPU, and on a CPU for a number not said.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from bisimgym.benchmarks.suites.base import Published

PAPER = "Chen (thesis)"
_CIFAR_5, _CIFAR_7 = "cifar10-0.5", "cifar10-0.7"
_RESNET, _MOBILENET = "imagenet-resnet18-0.7", "imagenet-mobilenet-0.7"


class Row(NamedTuple):
    """A row of a published table; None is what it does not give.

    Attributes:
        table: "6.1" to "6.6".
        name: of the method as printed.
        task: of the suite.
        method: of the suite; "" where it has none.
        base: top-1 accuracy before pruning, percent.
        accuracy: after.
        top5_base: top-5 accuracy before pruning.
        top5: after.
        speed_up: of multiply-accumulates.
        stored: parameters, predictors and encoders included, by those of the network.
        gpu_ms: time on a GPU.
        cpu_ms: time on a CPU.
    """

    table: str
    name: str
    task: str
    method: str
    base: float | None
    accuracy: float
    top5_base: float | None = None
    top5: float | None = None
    speed_up: float | None = None
    stored: float | None = None
    gpu_ms: float | None = None
    cpu_ms: float | None = None


ROWS = (
    Row("6.1", "FBS", _CIFAR_5, "fbs", 91.37, 89.88, None, None, 3.93, 1.11, 10.9, 172.0),
    Row("6.1", "RNP", _CIFAR_5, "rnp", 92.07, 84.93, None, None, 3.56, 1.00, 11.1, 175.3),
    Row("6.1", "R = 1", _CIFAR_5, "runtime", 92.07, 91.425, None, None, 3.92, 1.31, 11.2, 178.3),
    Row("6.1", "R = 0.5", _CIFAR_5, "both", 92.07, 91.228, None, None, 3.92, 0.78, 9.8, 110.7),
    Row("6.2", "FBS", _CIFAR_7, "fbs", 91.37, 91.23, None, None, 2.0, 1.11),
    Row("6.2", "R = 1", _CIFAR_7, "runtime", 92.07, 93.184, None, None, 1.99, 1.31),
    Row("6.2", "R = 0.5", _CIFAR_7, "both", 92.07, 92.714, None, None, 1.99, 0.97),
    # R = 1 and R = 0.5 stand in Table 6.3 once more.
    Row("6.3", "static, then runtime", _CIFAR_5, "separate", 92.07, 90.03),
    Row("6.3", "FPGM, then FBS", _CIFAR_5, "fpgm-fbs", 92.07, 90.456),
    # The setting of Table 6.1 is rates of 1e-6 for agents and 1e-3 for the network.
    Row("6.4", "rates 1e-6, 1e-2", _CIFAR_5, "", 92.07, 10.00),
    Row("6.4", "rates 1e-6, 1e-4", _CIFAR_5, "", 92.07, 90.67),
    Row("6.4", "rates 1e-5, 1e-3", _CIFAR_5, "", 92.07, 89.95),
    Row("6.4", "rates 1e-7, 1e-3", _CIFAR_5, "", 92.07, 90.79),
    Row("6.5", "DCP", _RESNET, "", 69.64, 67.35, 88.98, 88.86, 1.71, 0.71),
    Row("6.5", "FPGM", _RESNET, "fpgm", 70.28, 68.41, 89.63, 88.48, 1.71, 0.72),
    Row("6.5", "DSG", _RESNET, "", 69.48, 64.8, None, None, 1.4),
    Row("6.5", "CGNN", _RESNET, "", 69.02, 67.95, 88.84, 88.21, 1.63),
    Row("6.5", "FBS", _RESNET, "fbs", 70.71, 68.17, 89.68, 88.22, 1.98, 1.12),
    Row("6.5", "AMC", _RESNET, "amc-like", 69.76, 66.63, 89.08, 87.20, 2.00, 0.76),
    Row("6.5", "R = 0.5", _RESNET, "both", 69.76, 68.73, 89.08, 88.65, 1.94, 0.81),
    Row("6.6", "AMC", _MOBILENET, "amc-like", 70.9, 70.5, 89.5, 89.3, 2.00),
    Row("6.6", "NetAdapt", _MOBILENET, "", None, 69.1, None, None, 2.00),
    Row("6.6", "75 % MobileNet", _MOBILENET, "uniform", 70.9, 68.4, 89.9, 88.2, 1.79),
    Row("6.6", "R = 0.5", _MOBILENET, "both", 70.9, 70.6, 89.5, 89.6, 2.00),
)

PUBLISHED = {
    (row.task, row.method, "score"): Published(row.accuracy / 100, math.nan, "one run", f"{PAPER}, Table {row.table}")
    for row in ROWS
    if row.method
}

"""Published numbers of the jumping suite: Agarwal et al. (2021), Tables 1, 2 and G.1."""

from bisimgym.benchmarks.suites.base import Published

PAPER = "Agarwal et al. (2021)"
TRANSFER = "bisimulation-transfer"

#: Name, what spreads are, (task, measure) of the columns, and rows of (mean, spread) in percent.
_PAPER_TABLES: tuple[tuple[str, str, list[tuple[str, str]], dict[str, tuple[tuple[float, float], ...]]], ...] = (
    (
        "Table 1",
        "std of 100 runs",
        [("wide", "score"), ("narrow", "score"), ("random", "score")],
        {
            TRANSFER: ((17.9, 0.0), (17.9, 0.0), (30.9, 4.2)),
            "dropout-l2": ((17.8, 2.2), (10.2, 4.6), (9.3, 5.4)),
            "pse": ((33.6, 10.0), (9.3, 5.3), (37.7, 10.4)),
            "randconv": ((50.7, 24.2), (33.7, 11.8), (71.3, 15.6)),
            "randconv-bisim": ((41.4, 17.6), (17.4, 6.7), (33.4, 15.6)),
            "randconv-pse": ((87.0, 10.1), (52.4, 5.8), (83.4, 10.1)),
        },
    ),
    (
        "Table 2",
        "std of 100 runs",
        [("wide", "score")],
        {"randconv-bisim-cme": ((23.1, 7.6),), "randconv-psm-l2": ((17.5, 8.4),)},
    ),
    (
        "Table G.1",
        "standard error of 100 runs",
        [("colors", "red"), ("colors", "green")],
        {
            "randconv": ((6.2, 0.4), (99.6, 0.2)),
            "dropout-l2": ((19.5, 0.2), (100.0, 0.0)),
            "randconv-pse": ((29.8, 1.3), (99.6, 0.2)),
            "pse": ((37.9, 1.9), (100.0, 0.0)),
        },
    ),
)
PUBLISHED = {
    (task, method, measure): Published(mean / 100, spread / 100, spread_name, f"{PAPER}, {table}")
    for table, spread_name, heads, rows in _PAPER_TABLES
    for method, row in rows.items()
    for (task, measure), (mean, spread) in zip(heads, row, strict=True)
}

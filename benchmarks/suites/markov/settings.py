"""Tasks, methods, presets, measures and published numbers of the markov suite."""

from __future__ import annotations

from dataclasses import dataclass

from bisimgym.benchmarks.suites.base import Measure, Method, Preset, Published, Task

PAPER = "Koop et al. (2022)"
NUM_STATES = 3
#: Of the signals that agents are tested on, the same for all runs.
TEST_SEED = 1_000_000
#: Frames of the signals that are learned from, and of those that the paper tests its second experiment on.
TRAINING_LENGTH = SHORT_LENGTH = 200
#: Letters of the states in names of scores, and the paper's estimates of how often each is visited.
STATES = "abc"
PAPER_ESTIMATES = ("sampling", "order0", "order2")


@dataclass(frozen=True)
class Detail:
    """How much pictures of a model show.

    Attributes:
        sequences: test signals that are encoded. With the default seed they are the first ones of the suite's.
        length: frames of each.
        landscape: points along each axis of landscapes.
        flow: the same of stream lines.
        arrows: the same of arrows in two dimensions.
        arrows_in_space: the same of arrows in three.
    """

    sequences: int = 100
    length: int = 500
    landscape: int = 161
    flow: int = 101
    arrows: int = 25
    arrows_in_space: int = 8


DETAIL = Detail()


@dataclass(frozen=True)
class Protocol:
    """Sizes that all runs share.

    Attributes:
        test_sequences: signals that agents are tested on.
        test_length: frames of each.
        naming_sequences: sequences of the training data that wells are found in and named by.
        comparator_sequences: sequences that comparators learn from.
        chains: simulated paths of the prior.
        chain_length: frames of each.
        chain_warm_up: frames at the start of each that do not count.
        chain_stride: how far apart frames are that count.
        sampler_chains: chains of the sampler of exp(-beta E).
        sampler_warm_up: steps of each that do not count.
        sampler_steps: steps of each that count.
        cells: cells of the quadrature along each axis.
        pictures: what pictures show; None: none are drawn.
    """

    test_sequences: int = 500
    test_length: int = 500
    naming_sequences: int = 200
    comparator_sequences: int = 1000
    chains: int = 2000
    chain_length: int = 1000
    chain_warm_up: int = 200
    chain_stride: int = 20
    sampler_chains: int = 1000
    sampler_warm_up: int = 500
    sampler_steps: int = 2000
    cells: int = 300
    pictures: Detail | None = DETAIL


PROTOCOL = Protocol()

TASKS = {
    "uniform": Task(
        "Uniform chain",
        "Three hidden states, each as frequent, that last 20 frames; 15-dimensional Gaussian signals",
        published_note=f"{PAPER} keep the best five of a larger set of models; here all seeds count.",
    ),
    "skewed": Task(
        "Skewed chain",
        "The same with states of frequency 0.45, 0.35 and 0.20",
        published_note=(
            f"The chain of {PAPER} is not published, only its stationary law: this one is ours. They keep the best "
            "five of a larger set of models, test on sequences of 200 frames, and give no overdamped result."
        ),
    ),
}


def _learned(description: str, dynamics: str) -> Method:
    return Method(description, {"model": {"dynamics": dynamics, "latent_dim": 2, "substeps": 1}})


METHODS = {
    "nld-overdamped": _learned(
        "Neural Langevin dynamics, overdamped: the drift is the gradient of an energy", "overdamped"
    ),
    "nld-underdamped": _learned("Neural Langevin dynamics with momenta and friction", "underdamped"),
    "nsde": _learned("A neural SDE with any drift; its states are three clusters of its paths", "general"),
    "exact-filter": Method(
        "The forward filter of the true law: no online method is better on average", {}, trains=False
    ),
    "smoother": Method("The true law's smoother, which sees the future too", {}, trains=False),
    "frame-map": Method("The most probable state of each frame by itself, by the true law", {}, trains=False),
    "gmm-hmm": Method(
        "A hidden Markov model with Gaussian emissions, fitted by EM without the truth; its filter", {}, trains=False
    ),
    "k-means": Method("Three clusters of frames, without memory", {}, trains=False),
    "always-uniform": Method(
        "Guesses every state as often, whatever it sees: what an occupancy error must beat", {}, trains=False
    ),
}

_FIT = {"batch_size": 64, "learning_rate": 6e-3, "curvature_penalty": 0.0, "weight_average": 0.995}

PRESETS = {
    "smoke": Preset(
        "Seconds: shows that everything runs, scores mean nothing",
        {
            "sequences": 64,
            "evaluations": 1,
            "fit": {"updates": 20, "long_updates": 5, "kl_warm_up": 5, "warm_up": 5, **_FIT},
        },
    ),
    "short": Preset(
        "1200 updates: about a minute per run on one core",
        {"sequences": 1000, "evaluations": 4, "fit": {"updates": 1200, "long_updates": 500, **_FIT}},
    ),
    # Sequences of 200 frames are the paper's. The rest is read off the authors' settings: path weight, noise of the
    # decoder, sizes, temperature, 60 epochs in batches of 128, rate and decay, divergence in full after 1000 updates,
    # no clipping. How many sequences an epoch has is not known: 10,000 are ours, as are energy and time stepping.
    "paper": Preset(
        "As the authors train: whole sequences, 60 epochs, paths weighed by 2; half an hour to an hour per run",
        {
            "sequences": 10_000,
            "evaluations": 10,
            "path_weight": 2.0,
            "model": {
                "hidden": 128,
                "context": 64,
                "control_units": 128,
                "beta": 0.874,  # softplus(1/3)
                "log_std": -0.6931,  # a noise of 0.5
                "learn_std": False,
            },
            "fit": {
                "updates": 60 * 10_000 // 128,
                "batch_size": 128,
                "window": TRAINING_LENGTH,
                "long_updates": 0,
                "learning_rate": 0.01,
                "rate_decay": 0.9997,
                "warm_up": 0,
                "kl_warm_up": 1000,
                "clip": None,
                "curvature_penalty": 0.0,
                "weight_average": 0.0,
            },
        },
    ),
}

_ESTIMATES = {
    "encoded": "of encoded test signals",
    "sampling": "of samples of exp(-beta E), the paper's estimate (a)",
    "order0": "by the depths of the wells, the paper's estimate (b)",
    "order2": "by depths and curvatures of the wells, the paper's estimate (c)",
    "quadrature": "by quadrature of exp(-beta E), exact for the energy",
    "chain": "of the simulated prior chain, one step per frame as it was trained",
    "refit_order2": "by depths and curvatures, after energy and beta are refitted to the encoded paths",
    "refit_quadrature": "by quadrature, after the refit",
    "refit_chain": "of the simulated chain of the refitted energy and beta",
    "stationary_order2": "by depths and curvatures, after a refit where every tenth frame is a draw from exp(-beta E)",
    "stationary_quadrature": "by quadrature, after the refit with draws from exp(-beta E)",
    "stationary_chain": "of the simulated chain, after the refit with draws from exp(-beta E)",
}
#: Of these, what tables of results show; pages show all.
_SHOWN = ("encoded", "order2", "stationary_quadrature")

MEASURES = {
    "sampled": Measure("sampled path", "Accuracy along paths drawn from the posterior, as in the paper"),
    "sampled_200": Measure("sampled path, 200 frames", "The same on the first 200 frames of each test sequence", False),
    "score_200": Measure("hidden states guessed, 200 frames", "Accuracy on the first 200 frames alone", False),
    **{
        f"{name}_sd": Measure(f"{title}, sd over sequences", "Standard deviation over the 500 test sequences", False)
        for name, title in {
            "score": "hidden states guessed",
            "sampled": "sampled path",
            "score_200": "hidden states guessed, 200 frames",
            "sampled_200": "sampled path, 200 frames",
        }.items()
    },
    "wells": Measure(
        "wells", "Minima of the energy that hold at least 2 % of the encoded frames", False, False, (0, 1e4)
    ),
    "failed": Measure("failed", "Share of seeds whose training diverged, or that found another number of wells than 3"),
    **{
        f"l1_{name}": Measure(
            f"l1 {name.replace('_', ' ')}",
            f"Error of the occupancy of states, sum |w - pi|, {how}",
            in_tables=name in _SHOWN,
            percent=False,
            bounds=(0.0, 2.0),
        )
        for name, how in _ESTIMATES.items()
    },
    **{
        f"share_{name}_{state}": Measure(
            f"{name}, state {state.upper()}",
            f"Estimated share of state {state.upper()}, {_ESTIMATES[name]}",
            in_tables=False,
            percent=False,
        )
        for name in PAPER_ESTIMATES
        for state in STATES
    },
    "lag": Measure(
        "lag", "Frames by which guesses come late: where their accuracy peaks", False, False, (0, PROTOCOL.test_length)
    ),
    "beta": Measure("beta", "Learned inverse temperature", False, False, (0, 1e9)),
    "refit_beta": Measure("refitted beta", "Inverse temperature after the refit", False, False, (0, 1e9)),
    "stationary_beta": Measure(
        "stationary beta", "Inverse temperature after the refit with draws from exp(-beta E)", False, False, (0, 1e9)
    ),
}


_OVER, _UNDER = "nld-overdamped", "nld-underdamped"
PUBLISHED = {
    key: Published(score, std, "std of the best five models", f"{PAPER}, Table {table}")
    for key, (score, std, table) in {
        ("uniform", _OVER, "sampled"): (0.926, 0.006, "3"),
        ("uniform", _OVER, "sampled_sd"): (0.016, 0.002, "3"),
        ("uniform", _UNDER, "sampled"): (0.822, 0.056, "3"),
        ("uniform", _UNDER, "sampled_sd"): (0.036, 0.014, "3"),
        ("skewed", _UNDER, "sampled_200"): (0.853, 0.011, "6"),
        ("skewed", _UNDER, "sampled_200_sd"): (0.042, 0.003, "6"),
        ("uniform", _OVER, "l1_sampling"): (0.047, 0.037, "1"),
        ("uniform", _OVER, "l1_order0"): (0.051, 0.022, "1"),
        ("uniform", _OVER, "l1_order2"): (0.040, 0.013, "1"),
        ("uniform", _UNDER, "l1_sampling"): (0.072, 0.068, "1"),
        ("uniform", _UNDER, "l1_order0"): (0.041, 0.029, "1"),
        ("uniform", _UNDER, "l1_order2"): (0.021, 0.0044, "1"),
        ("uniform", _OVER, "share_sampling_a"): (0.329, 0.013, "2"),
        ("uniform", _OVER, "share_order0_a"): (0.322, 0.022, "2"),
        ("uniform", _OVER, "share_order2_a"): (0.324, 0.017, "2"),
        ("uniform", _UNDER, "share_sampling_a"): (0.335, 0.027, "2"),
        ("uniform", _UNDER, "share_order0_a"): (0.333, 0.011, "2"),
        ("uniform", _UNDER, "share_order2_a"): (0.336, 0.006, "2"),
        # Table 5 lists the states by size: C, B, A.
        ("skewed", _UNDER, "share_sampling_a"): (0.532, 0.041, "5"),
        ("skewed", _UNDER, "share_order0_a"): (0.527, 0.060, "5"),
        ("skewed", _UNDER, "share_order2_a"): (0.529, 0.033, "5"),
        ("skewed", _UNDER, "share_sampling_b"): (0.373, 0.047, "5"),
        ("skewed", _UNDER, "share_order0_b"): (0.383, 0.053, "5"),
        ("skewed", _UNDER, "share_order2_b"): (0.379, 0.034, "5"),
        ("skewed", _UNDER, "share_sampling_c"): (0.096, 0.014, "5"),
        ("skewed", _UNDER, "share_order0_c"): (0.090, 0.009, "5"),
        ("skewed", _UNDER, "share_order2_c"): (0.093, 0.003, "5"),
        ("skewed", _UNDER, "l1_sampling"): (0.23, 0.040, "4"),
        ("skewed", _UNDER, "l1_order0"): (0.24, 0.049, "4"),
        ("skewed", _UNDER, "l1_order2"): (0.22, 0.0061, "4"),
    }.items()
}

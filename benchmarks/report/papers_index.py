"""The tables and figures of the sources, as data: what they show, and what of it is here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DONE, PARTLY, NOT_RUN, OTHERWISE, NOT_DONE, GPU = (
    *("done", "in part", "not run", "otherwise", "not done", "needs a GPU"),
)
#: What the states mean.
STATES = {
    DONE: "the command makes ours",
    PARTLY: "some of its numbers are here, others only have a command",
    NOT_RUN: "there is a command, and its results are not here",
    OTHERWISE: "the same question, asked otherwise: numbers do not compare",
    NOT_DONE: "there is nothing of ours, for the reason given",
    GPU: "there is a command, and its results are not here: it takes a GPU, or days of two cores",
}


@dataclass(frozen=True)
class Item:
    """A table or figure of a paper.

    Attributes:
        label: as the paper has it: "Table 1".
        shows: what it shows.
        state: one of :data:`STATES`; "" for tables with published numbers, whose state follows from what is run.
        command: that makes ours; "" if there is none.
        suite: whose published numbers of this label stand beside ours; "" if it has no such numbers.
        note: why there is nothing, or what differs.
    """

    label: str
    shows: str
    state: str
    command: str = ""
    suite: str = ""
    note: str = ""


@dataclass(frozen=True)
class Paper:
    """A source: ``cited`` is how published numbers of suites name it."""

    title: str
    cited: str
    link: str
    items: Sequence[Item]


_HYPERPARAMETERS = "settings, which the presets of the suite hold"
_DISTRACTING = "bisimgym run distracting --preset paper"
_CARLA = "in our stand-in, not in CARLA, and scored in held-out weather too; no numbers are printed"
_VIDEOS = "no runs of ours are committed at this size; our videos are drawn by formula unless a folder is given"

PAPERS: dict[str, Paper] = {
    "psm": Paper(
        "Contrastive behavioral similarity embeddings for generalization (PSM, PSE)",
        "Agarwal et al. (2021)",
        "https://arxiv.org/abs/2101.05265",
        [
            Item(
                "Table 1",
                "unseen jumping tasks solved, three grids, with and without RandConv",
                "",
                "bisimgym run --paper psm --table 1 --seeds 100 --yes",
                "jumping",
            ),
            Item(
                "Table 2",
                "wide grid: PSM or bisimulation, contrastive or l2 loss",
                "",
                "bisimgym run --paper psm --table 2 --seeds 100 --yes",
                "jumping",
                "its other two cells are in Table 1",
            ),
            Item(
                "Table 3",
                "six control tasks before unseen videos, DrQ and DrQ + PSE, 500,000 control steps",
                GPU,
                f"{_DISTRACTING} --task cartpole-swingup-pse-2video --method drq --method drq-pse",
                note=_VIDEOS,
            ),
            Item(
                "Figure 3",
                "embeddings of the expert's steps in three jumping tasks",
                OTHERWISE,
                "bisimgym run jumping --task wide --method randconv-pse --preset paper",
                note="every run draws its own; other tasks than there, which are not named",
            ),
            Item("Figure 4", "colored obstacles: the numbers of Table G.1", DONE, note="see Table G.1"),
            Item(
                "Figure 5",
                "wide grid with metrics of policies that err with probability 0 to 0.5",
                PARTLY,
                "bisimgym run jumping --task wide --method randconv-pse --preset paper --set alignment.epsilon=0.4",
                note="no numbers are printed; ours of a quarter of the training: [docs/jumping.md](jumping.md)",
            ),
            Item(
                "Figure 6",
                "LQR: cost above the optimum by number of distractors, the numbers of Table H.1",
                DONE,
                "python docs/tools/lqr_pictures.py",
                note="[docs/lqr.md](lqr.md) shows it",
            ),
            Item(
                "Table G.1",
                "unseen red and green obstacles",
                "",
                "bisimgym run --paper psm --table G.1 --seeds 100 --yes",
                "jumping",
            ),
            Item("Tables G.2, G.3, G.4, G.5", _HYPERPARAMETERS, DONE, "bisimgym run jumping --dry-run"),
            Item(
                "Figure G.2",
                "exact metrics between the states of two jumping tasks",
                DONE,
                "python docs/tools/metric_pictures.py",
                note="[docs/metrics.md](metrics.md) shows it",
            ),
            Item(
                "Table H.1",
                "LQR: cost above the optimum, four methods, 500 to 10,000 distractors",
                "",
                "bisimgym run --paper psm --table H.1 --seeds 100 --yes",
                "lqr",
                "the published l1 row is that of no force at all: [docs/lqr.md](lqr.md)",
            ),
            Item("Table H.2", _HYPERPARAMETERS, DONE, "bisimgym run lqr --dry-run"),
            Item(
                "Tables I.2, I.3",
                "settings of DrQ + PSE on dm_control",
                DONE,
                f"{_DISTRACTING} --task cartpole-swingup-pse-2video --method drq-pse --dry-run",
            ),
        ],
    ),
    "interaction": Paper(
        "Interaction-based representations by recursive state similarity",
        "Black et al. (2021)",
        "https://github.com/kvablack/nav2d-representation",
        [
            Item("Figure 1", "drawing of a block-pushing task", NOT_DONE, note="an illustration; nothing is measured"),
            Item(
                "Figure 2",
                "success against steps, encoders trained on data of several epsilons or not at all",
                GPU,
                "bisimgym run nav2d --preset paper --seeds 5 --yes",
                note="no numbers are printed; ours are of the preset short alone: [docs/nav2d.md](nav2d.md)",
            ),
            Item(
                "Figure 4",
                "where an obstacle that comes or goes moves the embedding",
                DONE,
                "bisimgym run nav2d --task epsilon-0.1 --method phi --preset smoke --seeds 1",
                note="every run of the suite draws it; shown at full training only after Figure 2's command",
            ),
            Item(
                "Figure 5",
                "embeddings of a corridor whose surroundings change",
                OTHERWISE,
                "bisimgym run nav2d --task epsilon-0.1 --method phi --preset smoke --seeds 1",
                note="distances, learned beside exact, in place of t-SNE, whose settings are not known",
            ),
        ],
    ),
    "nld": Paper(
        "Neural Langevin dynamics",
        "Koop et al. (2022)",
        "https://arxiv.org/abs/2211.09537",
        [
            *(
                Item(
                    f"Table {table}",
                    shows,
                    "",
                    f"bisimgym run --paper nld --table {table} --seeds 10 --yes",
                    "markov",
                    "theirs are the best five of more models, ours all seeds; their emissions are not published",
                )
                for table, shows in (
                    ("1", "l1 error of the stationary distribution, equal states"),
                    ("2", "share of the first state, equal states"),
                    ("3", "hidden states guessed from sampled paths, equal states"),
                    ("4", "l1 error of the stationary distribution, unequal states"),
                    ("5", "shares of the three states, unequal states"),
                    ("6", "hidden states guessed from sampled paths, unequal states, 200 steps"),
                )
            ),
            Item(
                "Figures 1, 3, 4, 5",
                "drift, energy, wells and segmentation of trained models",
                DONE,
                "bisimgym landscape runs/markov/uniform/nld-overdamped/paper/seed-1/checkpoint/model.pt",
                note="[docs/langevin.md](langevin.md) shows ours",
            ),
        ],
    ),
    "behavioral": Paper(
        "Behavioral-metric agents and channel pruning (thesis: AMBS, RAP, DBC, MICo)",
        "Chen (thesis)",
        "https://github.com/jianda-chen/AMBS",
        [
            Item(
                "Table 4.1",
                "four control tasks before unseen videos: AMBS beside DrQ + PSE, 500,000 steps",
                GPU,
                f"{_DISTRACTING} --task cartpole-swingup-pse-2video --method ambs --method drq-pse",
                note=_VIDEOS,
            ),
            Item("Table 4.3", "action repeats", DONE, note="`action_repeat` of `DistractingControl-v0` takes them"),
            Item(
                "Figures 4.4, 4.5",
                "curves of AMBS, clean and before videos, a million steps, 5 seeds",
                GPU,
                f"{_DISTRACTING} --task cheetah-run-natural-video --method ambs --seeds 5 --yes",
                note=f"half as many steps; {_VIDEOS}; no numbers are printed",
            ),
            Item(
                "Section 4.6.3",
                "transfer to other rewards: convolutions learned walking, then kept, to run and to stand",
                GPU,
                f"{_DISTRACTING} --task walker-walk-to-run-natural-video --method ambs --yes",
                note=f"{_VIDEOS}; no numbers are known to us",
            ),
            Item(
                "Figures 4.9, 4.10", "not known to us", NOT_DONE, note="we have what the text says of the section alone"
            ),
            Item(
                "Figures 5.2, 5.3",
                "curves of RAP, clean and before videos, a million steps, 3 seeds",
                GPU,
                f"{_DISTRACTING} --task cheetah-run-natural-video --method rap --seeds 3 --yes",
                note=f"half as many steps; {_VIDEOS}; no numbers are printed",
            ),
            Item(
                "Figure 4.13",
                "curves of AMBS in CARLA, weather that changes slowly",
                OTHERWISE,
                "bisimgym run driving --task slow-weather --preset laptop",
                note=_CARLA,
            ),
            Item(
                "Table 5.1",
                "settings of RAP on three domains",
                DONE,
                "bisimgym run manipulation --preset paper --dry-run",
            ),
            Item(
                "Table 5.2",
                "two robosuite tasks, 500,000 steps",
                "",
                "bisimgym run --paper behavioral --table 5.2 --seeds 5 --yes",
                "manipulation",
                note="doing nothing earns more than four of the five numbers of one task: "
                "[docs/manipulation.md](manipulation.md)",
            ),
            Item(
                "Figure 5.6",
                "curves of RAP, DrQ, DBC and MICo in CARLA, a weather per episode",
                OTHERWISE,
                "bisimgym run driving --task weather --preset laptop",
                note=_CARLA,
            ),
            *(
                Item(
                    f"Table 6.{number}",
                    shows,
                    "",
                    f"bisimgym run --paper behavioral --table 6.{number} --preset {preset} --yes",
                    "pruning",
                    note="needs a folder of images, and days of a processor or more: [docs/pruning.md](pruning.md)",
                )
                for number, shows, preset in (
                    (1, "M-CifarNet on CIFAR-10 at density 0.5", "paper"),
                    (2, "the same at density 0.7", "paper"),
                    (3, "both agents apart; FPGM, then FBS", "paper"),
                    (5, "ResNet-18 on ImageNet", "paper-imagenet"),
                    (6, "MobileNet-v1 on ImageNet", "paper-imagenet"),
                )
            ),
            Item(
                "Table 6.4",
                "learning rates of agents and network",
                NOT_DONE,
                "bisimgym run pruning --task cifar10-0.5 --method both --preset paper --set agent_rate=1e-5",
                note="settings of the suite; needs CIFAR-10, and days of a processor: [docs/pruning.md](pruning.md)",
            ),
            Item(
                "Figures 6.2, 6.3",
                "accuracy against the budget, accuracy and size against R",
                OTHERWISE,
                "bisimgym run pruning --task digits-0.5 --task digits-0.7 --preset short --seeds 3",
                note="a small network for digits: [docs/pruning.md](pruning.md)",
            ),
        ],
    ),
    "study": Paper(
        "Behavioral metric learning under noise: a large-scale study",
        "Luo et al. (2025)",
        "https://arxiv.org/abs/2506.00563",
        [
            Item("Table 1", "not known to us", NOT_DONE, note="we have its protocol and code, not its tables"),
            Item(
                "Benchmark of states under noise",
                "370 configurations, seven methods: returns and denoising factors",
                OTHERWISE,
                "bisimgym run noisy-states --preset paper --seeds 10 --yes",
                note="18 tasks of its protocol, ten methods, of which four tasks are run with the `short` preset: "
                "[docs/control.md](control.md). Its numbers are not known to us",
            ),
            Item(
                "Benchmark of pixels under distraction",
                "the same methods from images with distracting backgrounds",
                GPU,
                f"{_DISTRACTING} --task cartpole-swingup-natural-noise --seeds 3 --yes",
                note=f"its six noises are the settings `clean` and `natural-*`; {_VIDEOS}",
            ),
            Item(
                "Figures 3, 28",
                "which part of SimSR and DBC helps: models, targets, norms",
                OTHERWISE,
                "bisimgym run noisy-states --task cartpole-swingup-noise --method simsr --set norm=layer",
                note="one of the parts, others are settings as well; the study's numbers are not known to us",
            ),
        ],
    ),
}

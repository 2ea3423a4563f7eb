"""Commands of ``bisimgym`` that measure and draw, and store no runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bisimgym.benchmarks.errors import UserError, unknown

Topic = StrEnum(
    "Topic",
    [
        "envs",
        "agents",
        "metrics",
        "distracting",
        "envpool",
        "langevin",
        "pretraining",
        "pixels",
        "pruning",
        "driving",
        "manipulation",
        "devices",
    ],
)


def speed(
    what: Annotated[Topic, typer.Argument(help="What to measure.")],
    seconds: Annotated[
        float, typer.Option(help="Time for each comparison; 0 takes one turn of each, for trying out.")
    ] = 1.0,
    env: Annotated[
        list[str] | None, typer.Option(metavar="ENV_ID", help="With envs: only this one (default: all but MuJoCo's).")
    ] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
    cpu_time: Annotated[
        bool, typer.Option("--cpu-time", help="Take the processor's time, not the wall's: on a machine in use.")
    ] = False,
    trace: Annotated[
        Path | None,
        typer.Option("--profile", metavar="FILE.json", help="With devices: write what PyTorch's profiler recorded."),
    ] = None,
) -> None:
    """Measure steps, updates and solutions per second, beside a peer or a bound. Takes minutes.

    Environments count whole episodes: their resets are in the figures.
    """
    from bisimgym.benchmarks.running.run_folder import make_folder, write_json
    from bisimgym.benchmarks.speed import harness
    from bisimgym.envs.files import replaceable_file

    if env and what is not Topic.envs:
        raise UserError(f"--env goes with `speed envs`: `speed {what}` has environments of its own")
    if trace and what is not Topic.devices:
        raise UserError("--profile goes with `speed devices`, which runs some updates of every learner")
    if not seconds >= 0:
        raise UserError(f"--seconds must not be negative, got {seconds:g}")
    if json_ is not None:
        json_ = replaceable_file(json_, "figures of `bisimgym speed`", harness.is_figures)
        make_folder(json_.parent)
    options: dict[str, Any] = {"env_ids": env} if env else {}
    if trace is not None:
        options["trace"] = str(replaceable_file(trace, "a trace of PyTorch's profiler", harness.is_trace).absolute())
        make_folder(trace.absolute().parent)
    console = Console()
    figures = harness.measure(harness.parts(what, seconds, **options), console, cpu_time)
    harness.show(what, figures, console)
    if json_ is not None:
        write_json(json_, figures)


def fidelity(
    encoder: Annotated[
        str, typer.Option(metavar="MODULE:FACTORY", help="A function that returns the encoder; also looked for here.")
    ],
    task: Annotated[str, typer.Option(help="A process of known metrics: nav2d-8x8, ...")] = "nav2d-8x8",
    out: Annotated[Path | None, typer.Option(help="Also draw pictures into this folder.")] = None,
) -> None:
    """Score an encoder of any library: are its distances those of exact metrics, and of what use is its geometry?

    The factory returns a function from uint8[B, H, W, C] (markov-signal, lqr: float32[B, F]) to float[B, D], numpy or
    torch, or an object with such a method `embed` and, if it has them, `distance` (two float[P, D] to float[P]) and
    `predict_next` (float[B, D] and actions int[B] to float[B, D]).
    """
    from bisimgym.benchmarks.agents import agent_code, import_factory
    from bisimgym.benchmarks.measures.encoder_score import exact_score, random_projections, score_encoder
    from bisimgym.benchmarks.measures.processes import PROCESSES, fidelity_process
    from bisimgym.benchmarks.report.tables import FigureTable
    from bisimgym.benchmarks.running.run_folder import make_folder
    from bisimgym.benchmarks.suites.fidelity.pictures import FILES, figures_of
    from bisimgym.benchmarks.suites.figures import write_figures
    from bisimgym.envs.files import is_our_picture, replaceable_file

    if task not in PROCESSES:
        raise unknown("task", task, PROCESSES)
    if out is not None:
        out = out.absolute()  # the encoder's module may change the folder
        for name in FILES:  # before anything is computed
            replaceable_file(out / f"{name}.png", "a picture", is_our_picture)
    sampled = fidelity_process(task, []).next_rows is None
    with agent_code(f"encoder {encoder!r} failed"):
        made = import_factory(encoder)()
        predict = getattr(made, "predict_next", None)
        scored = score_encoder(made, task, predict=None if sampled else predict)
    ceiling, floor = exact_score(task).rows(), score_encoder(random_projections, task).rows()
    lines = [
        [name, *(f"{found[name]:.3f}" if name in found else "" for found in (scored.rows(), ceiling, floor))]
        for name in scored.rows()
    ]
    heads = ["measure", "encoder", "exact metric", "random projections"]
    console = Console(highlight=False)
    console.print(FigureTable(f"{task}, {encoder}", heads, lines).terminal())
    if sampled and predict is not None:
        console.print(
            f"predict_next is not measured: the states of {task} are a sample, among which none is a predicted one."
        )
    if out is not None:
        with agent_code(f"encoder {encoder!r} failed when pictures were drawn"):
            figures = figures_of(made, task)
        make_folder(out)
        for path in write_figures(figures, out):
            console.print(str(path), markup=False, soft_wrap=True)


def landscape(
    model: Annotated[Path, typer.Argument(metavar="MODEL.pt", help="A model; runs keep theirs in checkpoint/.")],
    task: Annotated[str, typer.Option(help="Whose test signals are encoded: uniform or skewed.")] = "uniform",
    out: Annotated[Path, typer.Option(help="Folder of the pictures.")] = Path("landscape"),
    seed: Annotated[int, typer.Option(help="Seed of the test signals (default: those of the suite).")] = 1_000_000,
) -> None:
    """Draw a trained model of the markov suite: drift, energy, wells and paths between them, segmentation."""
    from bisimgym.benchmarks.running.run_folder import make_folder
    from bisimgym.benchmarks.suites.figures import write_figures
    from bisimgym.benchmarks.suites.markov import pictures as langevin_pictures
    from bisimgym.envs.files import is_our_picture, replaceable_file

    trained = langevin_pictures.load_model(model)
    for name in langevin_pictures.FILES:  # before they are drawn
        replaceable_file(out / f"{name}.png", "a picture", is_our_picture)
    make_folder(out)
    try:
        figures = langevin_pictures.figures(trained, task, seed)
    except ValueError as error:
        raise UserError(str(error)) from None
    console = Console(highlight=False, soft_wrap=True)
    for path in write_figures(figures, out):
        console.print(str(path), markup=False)
    if trained.energy is None:
        console.print("The drift of this model is no gradient: pictures 3 to 5 need an energy.")


def papers(
    paper: Annotated[str | None, typer.Argument(metavar="PAPER", help="Only this one: psm, nld, ...")] = None,
) -> None:
    """List every table and figure of the sources: what makes ours, our numbers beside theirs, or why there are none."""
    from bisimgym.benchmarks.report import papers as index
    from bisimgym.benchmarks.report.summary import summarize
    from bisimgym.benchmarks.report.tables import FigureTable
    from bisimgym.benchmarks.running.run_folder import committed_runs

    if paper is not None and paper not in index.PAPERS:
        raise unknown("paper", paper, index.PAPERS)
    console = Console(highlight=False, soft_wrap=True)
    rows = summarize(committed_runs())
    for key in [paper] if paper else index.PAPERS:
        source = index.PAPERS[key]
        console.print(f"{key}: {source.title} ({source.cited}, {source.link})", style="bold", markup=False)
        for item in source.items:
            found = list(index.lines(key, item, rows))
            parts = [f"  {item.label}: {item.shows}", index.state(item, found), item.command, item.note]
            console.print("; ".join(part for part in parts if part), markup=False)
            if found:
                console.print(FigureTable("", index.HEADS, index.texts(found), texts=2).terminal())

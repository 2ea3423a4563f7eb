"""The ``bisimgym`` command. It parses, calls and prints; the work is elsewhere."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

import bisimgym
from bisimgym.benchmarks.errors import UserError, unknown
from bisimgym.benchmarks.suites import SUITES, load_suite

app = typer.Typer(
    name="bisimgym",
    help="Environments, metrics and baselines for learning which states behave alike.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"bisimgym {bisimgym.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


class Listing(StrEnum):
    envs = "envs"
    suites = "suites"
    methods = "methods"
    metrics = "metrics"


class Executor(StrEnum):
    process = "process"
    ray = "ray"


SuiteName = Annotated[str, typer.Argument(metavar="SUITE", help=f"One of: {', '.join(SUITES)}.")]
OutFolder = Annotated[Path, typer.Option(help="Where run folders are kept.")]


@app.command("list")
def list_(what: Annotated[Listing, typer.Argument(help="What to list.")]) -> None:
    """List environments, suites, methods or metrics, one per line."""
    console = Console(highlight=False, soft_wrap=True)
    for name, text in _listing(what):
        console.print(f"[bold]{name}[/bold]  {text}")


def _listing(what: Listing) -> list[tuple[str, str]]:
    if what is Listing.envs:
        from bisimgym.benchmarks.env_pages import title
        from bisimgym.envs import IDS

        return [(env_id, _or_what_is_missing(title, env_id)) for env_id in IDS]
    if what is Listing.metrics:
        from bisimgym.baselines import metrics

        return [(name, getattr(metrics, name).__doc__.splitlines()[0]) for name in metrics.METRICS]
    suites = [load_suite(name) for name in SUITES]
    if what is Listing.suites:
        return [
            (s.name, f"{s.description} Tasks: {', '.join(s.tasks)}. Presets: {', '.join(s.presets)}.") for s in suites
        ]
    return [(f"{s.name} {name}", method.description) for s in suites for name, method in s.methods.items()]


def _or_what_is_missing(text: Callable[[str], str], env_id: str) -> str:
    try:
        return text(env_id)
    except ImportError as error:
        return f"({error})"


@app.command()
def run(
    suite: SuiteName,
    task: Annotated[list[str] | None, typer.Option(help="Only this task (repeatable).")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Only this method (repeatable).")] = None,
    seeds: Annotated[int, typer.Option(help="Seeds 1 to N.")] = 5,
    preset: Annotated[str, typer.Option(help="How much training (see `bisimgym list suites`).")] = "short",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; stored as a variant.")
    ] = None,
    out: OutFolder = Path("runs"),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    jobs: Annotated[int | None, typer.Option(help="Runs side by side (default: one per core).")] = None,
    threads: Annotated[int | None, typer.Option(help="Torch threads of each run (default: cores / jobs).")] = None,
    executor: Annotated[
        Executor, typer.Option(help="Worker processes here, or a Ray cluster (RAY_ADDRESS).")
    ] = Executor.process,
) -> None:
    """Train and score methods of a suite.

    Finished runs are skipped and runs that were cut off are resumed: give the same command again at any time.
    """
    from bisimgym.benchmarks.report import summary, tables
    from bisimgym.benchmarks.running import runner
    from bisimgym.benchmarks.running.run_folder import make_folder

    chosen = load_suite(suite)
    device = _device(device)
    specs = runner.plan(chosen, task or [], method or [], seeds, preset, _settings(set_ or []))
    make_folder(out)
    for option, value in (("--jobs", jobs), ("--threads", threads)):
        if value is not None and value < 1:
            raise UserError(f"{option} must be at least 1, got {value}")
    jobs = min(jobs or runner.default_jobs(len(specs), device), len(specs))
    signal.signal(signal.SIGTERM, _interrupt)  # as Ctrl-C: workers end with their parent
    threads = threads or runner.threads_per_job(jobs)
    results, failures = _run_with_bars(out, specs, device, jobs, threads, executor)
    console = Console()
    if results:
        for table in tables.terminal_tables(summary.summarize(results)):
            console.print(table)
        for name, measure in chosen.measures.items():
            if measure.in_tables and any(name in result.scores for result in results):
                console.print(f"[dim]{measure.title}: {measure.description}[/dim]", highlight=False)
        console.print(f"Build the page: bisimgym report {out} --out site", highlight=False, markup=False)
    if failures:
        for failure in failures:
            _print_error(str(failure))
        raise typer.Exit(2 if all(isinstance(f, UserError) for f in failures) else 1)


#: How often a run reports to a log file, where bars have no place.
_SECONDS_BETWEEN_LINES = 30.0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _run_with_bars(
    out: Path, specs: list[Any], device: str, jobs: int, threads: int, executor: Executor
) -> tuple[list[Any], list[Exception]]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from bisimgym.benchmarks.running import executors, runner

    results: list[Any] = []
    failures: list[Exception] = []
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        whole = progress.add_task(f"{len(specs)} runs", total=len(specs))
        bars: dict[int, Any] = {}
        ended: set[int] = set()
        told = defaultdict(time.monotonic)

        def on_progress(index: int, done: int, total: int) -> None:
            if index in ended:  # told late: worker processes report through a queue
                return
            if not console.is_terminal and time.monotonic() - told[index] > _SECONDS_BETWEEN_LINES:
                told[index] = time.monotonic()
                print(f"{runner.describe(specs[index])}: {done}/{total}", file=sys.stderr, flush=True)
            if index not in bars:
                bars[index] = progress.add_task(runner.describe(specs[index]), total=total)
            progress.update(bars[index], completed=done, total=total)

        if executor is Executor.ray:
            finished = executors.run_on_ray(out, specs, device, threads)
        elif jobs == 1:
            finished = executors.run_here(out, specs, device, threads, on_progress)
        else:
            finished = executors.run_in_processes(out, specs, device, threads, jobs, on_progress)
        for index, result in finished:
            ended.add(index)
            if isinstance(result, Exception):
                failures.append(result)
            else:
                results.append(result)
                if not console.is_terminal:
                    print(f"{runner.describe(specs[index])}: {result.score:.3f}", file=sys.stderr, flush=True)
            if index in bars:
                progress.remove_task(bars.pop(index))
            progress.advance(whole)
    return results, failures


def _settings(pairs: list[str]) -> dict[str, Any]:
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UserError(f"--set takes KEY=VALUE, got {pair!r}")
        try:
            settings[key] = json.loads(value)
        except json.JSONDecodeError:
            settings[key] = value
    return settings


def _device(name: str) -> str:
    import torch as th

    if name not in ("auto", "cpu", "cuda"):
        raise unknown("device", name, ("auto", "cpu", "cuda"))
    if name == "cuda" and not th.cuda.is_available():
        raise UserError("--device cuda: torch sees no CUDA device here; use --device cpu, or see `bisimgym doctor`")
    return "cuda" if name == "auto" and th.cuda.is_available() else "cpu" if name == "auto" else name


@app.command()
def evaluate(
    suite: SuiteName,
    agent: Annotated[
        str,
        typer.Option(help="package.module:factory, sb3:ALGO:FILE.zip, or an installed name (group bisimgym.agents)."),
    ],
    task: Annotated[list[str] | None, typer.Option(help="Only this task (repeatable).")] = None,
    name: Annotated[str | None, typer.Option(help="Name in tables (default: from the spec).")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 1,
    budget: Annotated[int, typer.Option(help="Environment steps that the agent may learn for first.")] = 0,
    out: OutFolder = Path("runs"),
) -> None:
    """Score an outside agent on a suite. Each task gets a fresh agent."""
    from bisimgym.benchmarks.agents import resolve_agent
    from bisimgym.benchmarks.report import summary
    from bisimgym.benchmarks.running import runner
    from bisimgym.benchmarks.running.run_folder import make_folder

    chosen = load_suite(suite)
    tasks = task or list(chosen.tasks)
    for one in tasks:
        if one not in chosen.tasks:
            raise unknown("task", one, chosen.tasks)
    if budget < 0 or seed < 0:
        raise UserError(f"--budget and --seed must not be negative, got {budget} and {seed}")
    shown = name or agent.rpartition("/")[2].removesuffix(".zip").rpartition(":")[2]
    make_folder(out)
    console = Console(highlight=False, soft_wrap=True)
    for one in tasks:  # before an agent learns on the first task for hours
        runner.check_free(chosen, one, shown, seed, budget, out)
    for one in tasks:
        command = shlex.join(["bisimgym", *sys.argv[1:]])
        scored = runner.evaluate_agent(
            resolve_agent(agent), chosen, one, shown, out, seed, budget, f"Agent {agent}", command
        )
        further = ", ".join(
            f"{chosen.measures[k].title} {summary.number(chosen, v, k)}" for k, v in scored.scores.items()
        )
        score = f"{chosen.score_name} {summary.number(chosen, scored.score)} {summary.unit(chosen)}".rstrip()
        console.print(f"{suite} {one} {shown}: {score}" + (f" ({further})" if further else ""), markup=False)


@app.command()
def report(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="DIR...", help="Folders that `run` or `evaluate` wrote.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the site.")] = Path("site"),
    committed: Annotated[bool, typer.Option("--committed", help="Add the results that come with bisimgym.")] = False,
    readme: Annotated[
        list[Path] | None,
        typer.Option(help="Also write the tables into this Markdown file, between its markers (repeatable)."),
    ] = None,
) -> None:
    """Build the leaderboard: a static site that opens without a server."""
    from bisimgym.benchmarks.report import summary, tables
    from bisimgym.benchmarks.report.leaderboard import build_site
    from bisimgym.benchmarks.running.run_folder import committed_runs, find_runs

    if not folders and not committed:
        raise UserError("nothing to report: give folders that `bisimgym run` wrote, or --committed")
    runs = find_runs(folders or [])
    if committed:
        own = {run.spec.folder for run in runs}
        runs += [run for run in committed_runs() if run.spec.folder not in own]
    index = build_site(runs, out)
    counted = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    Console(highlight=False, soft_wrap=True).print(f"{counted}: {index.resolve()}", markup=False)
    if readme:
        by_suite = defaultdict(list)
        for row in summary.summarize(runs):
            by_suite[row.suite].append(row)
        write_between_markers(
            {name: tables.markdown_table(rows) for name, rows in by_suite.items()},
            *readme,
            further={f"measures of {name}": tables.measures_table(rows) for name, rows in by_suite.items()},
        )


def write_between_markers(texts: dict[str, str], *paths: Path, further: dict[str, str] | None = None) -> None:
    """Replace what stands between ``<!-- results NAME -->`` and ``<!-- end results -->`` in Markdown files.

    Each text goes to all files that have its marker. Those of ``further`` may have none.

    Raises:
        UserError: if a file is missing, or a marker is in none of them. Nothing has been written then.
    """
    contents = {}
    for path in paths:
        if not path.is_file():
            raise UserError(f"--readme: there is no file {path}")
        try:
            contents[path] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"--readme: {path} is not UTF-8 text ({error})") from None
    further = further or {}
    for name, table in {**texts, **further}.items():
        start, end = f"<!-- results {name} -->", "<!-- end results -->"
        places = 0
        for path, content in contents.items():
            head, found, rest = content.partition(start)
            _, closed, tail = rest.partition(end)
            if found and closed:
                contents[path] = f"{head}{start}\n\n{table}\n{end}{tail}"
                places += 1
        if not places and name not in further:
            raise UserError(f"--readme: {', '.join(map(str, paths))} needs the lines {start} and {end}")
    for path, content in contents.items():
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text(content, encoding="utf-8")
        temporary.replace(path)


@app.command()
def throughput(
    env_id: Annotated[
        list[str] | None, typer.Argument(metavar="ENV_ID...", help="Default: all but MuJoCo's tasks.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Time for each measurement.")] = 1.0,
    learners: Annotated[bool, typer.Option(help="Also measure updates per second of the learners.")] = True,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Measure the exact metrics instead, against plain iteration (minutes).")
    ] = False,
    distracting: Annotated[
        bool,
        typer.Option("--distracting", help="Measure distracting control instead: renderers, workers, noise (minutes)."),
    ] = False,
    agents: Annotated[
        bool,
        typer.Option("--agents", help="Measure the learners instead: beside stock SB3, method by method (minutes)."),
    ] = False,
    langevin: Annotated[
        bool,
        typer.Option("--langevin", help="Measure the training of Langevin models instead (a minute)."),
    ] = False,
    json_: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
    readme: Annotated[
        Path | None,
        typer.Option(help="With one of the four above: also write the tables into this Markdown file."),
    ] = None,
) -> None:
    """Measure environment steps per second, single and vector, and updates per second of the learners."""
    from bisimgym.benchmarks.running.run_folder import make_folder, write_json
    from bisimgym.benchmarks.speed import envs as measure

    if json_ is not None:
        make_folder(json_.parent)
    console = Console()
    measures = {
        "--metrics": (metrics, "no environment"),
        "--distracting": (distracting, "its own environments"),
        "--agents": (agents, "its own environments"),
        "--langevin": (langevin, "its own signals"),
    }
    asked = [option for option, (given, _) in measures.items() if given]
    if len(asked) > 1:
        raise UserError(f"{' and '.join(asked)} measure different things: ask for one at a time")
    if asked and env_id:
        what = measures[asked[0]][1]
        raise UserError(f"{asked[0]} measures {what}, but {env_id[0]} was given: ask for one or the other")
    if readme is not None and not asked:
        raise UserError(f"--readme goes with one of {', '.join(measures)}")
    table = {}
    if metrics:
        from bisimgym.benchmarks.speed import metrics as metric_speed

        measured = metric_speed.measure(console)
        table["metric speed"] = metric_speed.markdown(measured)
    elif distracting:
        from bisimgym.benchmarks.speed import distracting as distracting_speed

        measured = distracting_speed.measure(console, seconds)
        table["distracting speed"] = distracting_speed.markdown(measured)
    elif agents:
        from bisimgym.benchmarks.speed import agents as agent_speed

        measured = agent_speed.measure(console, seconds)
        table |= agent_speed.markdown(measured)
    elif langevin:
        from bisimgym.benchmarks.speed import langevin as langevin_speed

        measured = langevin_speed.measure(console, seconds)
        table["langevin speed"] = langevin_speed.markdown(measured)
    else:
        measured = measure.measure(env_id or [], seconds, learners, console)
    if json_ is not None:
        write_json(json_, measured)
    if readme is not None:
        write_between_markers(table, readme)


@app.command()
def heatmaps(
    obstacles: Annotated[tuple[int, int], typer.Option(help="Obstacle positions of the two jumping tasks.")] = (25, 45),
    discount: Annotated[float, typer.Option(help="Discount of the metrics, in [0, 1).")] = 0.99,
    out: Annotated[Path, typer.Option(help="The picture.")] = Path("metrics.png"),
    arrays: Annotated[Path | None, typer.Option(help="Also write the distances to this .npz file.")] = None,
) -> None:
    """Draw exact metrics between the states of two jumping tasks, beside which states truly behave alike."""
    import numpy as np

    from bisimgym.benchmarks import metric_pictures
    from bisimgym.benchmarks.running.run_folder import make_folder

    try:
        distances = metric_pictures.jumping_distances(obstacles, discount)
    except ValueError as error:
        raise UserError(str(error)) from None
    make_folder(out.parent)
    metric_pictures.draw(distances, obstacles, discount, out)
    console = Console(highlight=False, soft_wrap=True)
    for name, distance in distances.items():
        console.print(f"{name}: up to {distance.max():.6g}, {int((distance == 0).sum())} of {distance.size} pairs at 0")
    console.print(str(out.resolve()), markup=False)
    if arrays is not None:
        make_folder(arrays.parent)
        np.savez_compressed(arrays, **{name.partition(" (")[0].replace(" ", "_"): d for name, d in distances.items()})


@app.command()
def landscape(
    model: Annotated[Path, typer.Argument(metavar="MODEL.pt", help="A model; runs keep theirs in checkpoint/.")],
    task: Annotated[str, typer.Option(help="Whose test signals are encoded: uniform or skewed.")] = "uniform",
    out: Annotated[Path, typer.Option(help="Folder of the pictures.")] = Path("landscape"),
    seed: Annotated[int, typer.Option(help="Seed of the test signals (default: those of the suite).")] = 1_000_000,
) -> None:
    """Draw a trained model of the markov suite: drift, energy, wells and paths between them, segmentation."""
    from bisimgym.benchmarks.running.run_folder import make_folder
    from bisimgym.benchmarks.suites.markov import pictures as langevin_pictures

    trained = langevin_pictures.load_model(model)
    make_folder(out)
    try:
        figures = langevin_pictures.figures(trained, task, seed)
    except ValueError as error:
        raise UserError(str(error)) from None
    console = Console(highlight=False, soft_wrap=True)
    for path in langevin_pictures.write(figures, out):
        console.print(str(path), markup=False)
    if trained.energy is None:
        console.print("The drift of this model is no gradient: pictures 3 to 6 need an energy.")


@app.command()
def pages(
    out: Annotated[Path, typer.Option(help="Folder of the pages.")] = Path("docs/envs"),
    pictures: Annotated[bool, typer.Option(help="Also draw the animations.")] = True,
) -> None:
    """Write one documentation page per environment, with an animation: its oracle, or actions that sway."""
    from bisimgym.benchmarks import env_pages
    from bisimgym.benchmarks.running.run_folder import make_folder

    make_folder(out)
    for path in env_pages.write(out, pictures):
        Console(highlight=False, soft_wrap=True).print(str(path), markup=False)


@app.command()
def pictures(
    out: Annotated[Path, typer.Option(help="Folder of the pictures.")] = Path("docs/distracting_control"),
    readme: Annotated[
        Path | None, typer.Option(help="Also write the table of presets into this Markdown file, between its markers.")
    ] = None,
) -> None:
    """Draw presets, renderers, cameras and videos of distracting control side by side."""
    from bisimgym.benchmarks import distracting_pictures
    from bisimgym.benchmarks.running.run_folder import make_folder

    make_folder(out)
    console = Console(highlight=False, soft_wrap=True)
    for path, note in distracting_pictures.write(out):
        console.print(f"{path} ({note})" if note else str(path), markup=False)
    if readme is not None:
        write_between_markers({"presets": distracting_pictures.preset_markdown()}, readme)


@app.command()
def doctor() -> None:
    """Show versions, known-bad pairs, devices and precision: what to send with a bug report."""
    from bisimgym.benchmarks.running import doctor as check

    problems = check.report(Console(highlight=False, soft_wrap=True))
    raise typer.Exit(1 if problems else 0)


def _print_error(message: str) -> None:
    print("error: " + " ".join(message.split()), file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 2 and one line for a mistake of the user."""
    command = typer.main.get_command(app)
    try:
        code = command.main(args=arguments, prog_name="bisimgym", standalone_mode=False)
    except UserError as error:
        _print_error(str(error))
        return 2
    except (KeyboardInterrupt, typer.Abort):
        _print_error("interrupted: give the same command again to go on")
        return 130
    except OSError as error:
        _print_error(f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "))
        return 2
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's own errors of usage have it, in every version
            raise
        _print_error(f"{error.format_message()} (see bisimgym --help)")
        return 2
    if code == 130:  # typer turns an interrupt into its exit code
        _print_error("interrupted: give the same command again to go on")
    return code if isinstance(code, int) else 0

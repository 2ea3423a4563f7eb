"""The ``bisimgym`` command. It parses, calls and prints; the work is elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

import bisimgym
from bisimgym.benchmarks import cli_measures, cli_plan, cli_submit
from bisimgym.benchmarks.errors import UserError, unknown
from bisimgym.benchmarks.output import printable, show_in_any_encoding
from bisimgym.benchmarks.running import estimate
from bisimgym.benchmarks.suites import SUITES, load_suite
from bisimgym.benchmarks.suites.base import Spec
from bisimgym.envs.files import followed

app = typer.Typer(
    name="bisimgym",
    help="Environments, metrics and baselines for learning which states behave alike.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
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


Listing = StrEnum("Listing", ["envs", "suites", "methods", "metrics"])
Executor = StrEnum("Executor", ["process", "ray", "submitit"])


def _names(of: str) -> Callable[[typer.Context, str], list[str]]:
    """Return what completes a name of the suite that stands on the command line."""

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        # An option that still lacks its value leaves the words before it unparsed, in `args`.
        suite = next((word for word in (context.params.get("suite"), *context.args) if word in SUITES), None)
        known = SUITES if of == "suites" else getattr(load_suite(suite), of) if suite else ()
        return [name for name in known if name.startswith(incomplete)]

    return complete


SuiteName = Annotated[
    str, typer.Argument(metavar="SUITE", help=f"One of: {', '.join(SUITES)}.", autocompletion=_names("suites"))
]
Tasks = Annotated[
    list[str] | None, typer.Option("--task", help="Only this task (repeatable).", autocompletion=_names("tasks"))
]
AGENT_FORMS = "package.module:factory, sb3:ALGO:FILE.zip, exec:COMMAND, or an installed name (group bisimgym.agents)."
OutFolder = Annotated[Path, typer.Option(help="Where run folders are kept.")]


@app.command("list")
def list_(what: Annotated[Listing, typer.Argument(help="What to list.")]) -> None:
    """List environments, suites, methods or metrics, one per line."""
    from bisimgym.benchmarks.listing import LISTINGS

    console = Console(highlight=False, soft_wrap=True)
    for name, text in LISTINGS[what]():
        console.print(f"[bold]{name}[/bold]  {text}")


@app.command()
def run(
    suite: SuiteName = "",
    task: Tasks = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Only this method (repeatable).", autocompletion=_names("methods"))
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Seeds 1 to N (default: 5).")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="This seed (repeatable), instead of --seeds.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="How much training, see `bisimgym list suites` (default: short; paper with --paper).",
            autocompletion=_names("presets"),
        ),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; stored as a variant.")
    ] = None,
    out: OutFolder = Path("runs"),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    jobs: Annotated[int | None, typer.Option(help="Runs side by side (default: one per core).")] = None,
    threads: Annotated[int | None, typer.Option(help="Torch threads of each run (default: cores / jobs).")] = None,
    executor: Annotated[
        Executor, typer.Option(help="Worker processes here, a Ray cluster (RAY_ADDRESS), or Slurm by submitit.")
    ] = Executor.process,
    site: Annotated[Path | None, typer.Option(help="Build the page here when all is done.")] = None,
    yes: Annotated[
        bool,
        typer.Option("--yes", help=f"Start more than {estimate.MOST_RUNS} runs, or what takes more than 2 hours."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be run, and how long it takes.")] = False,
    paper: Annotated[str | None, typer.Option(help="Instead of SUITE: a source, see `bisimgym papers`.")] = None,
    table: Annotated[str | None, typer.Option(help="Which of its tables: 1, G.1, ...")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after so many, at a place from which training goes on (exit code 3).")
    ] = None,
) -> None:
    """Train and score methods of a suite, or those of a paper's table.

    Finished runs are skipped and runs that were cut off are resumed: give the same command again at any time.
    """
    from bisimgym.benchmarks.report import summary, tables
    from bisimgym.benchmarks.running import deadline, machine
    from bisimgym.benchmarks.running.bars import run_with_bars
    from bisimgym.benchmarks.running.run_folder import make_folder

    specs = cli_plan.planned(suite, task, method, cli_plan.chosen_seeds(seeds, seed), preset, set_, paper, table)
    suite, chosen = specs[0].suite, load_suite(specs[0].suite)
    device = machine.chosen_device(device)
    if minutes is not None and executor is Executor.ray:
        raise UserError("--minutes stops worker processes of this machine: leave it out with --executor ray")
    for option, value in (("--jobs", jobs), ("--threads", threads)):
        if value is not None and not 1 <= value <= machine.MOST_THREADS:
            raise UserError(f"{option} must be from 1 to {machine.MOST_THREADS}, got {value}")
    # One run per core, since one thread per run wastes least; one run on a GPU.
    jobs = min(jobs or (1 if device == "cuda" else machine.cores()), len(specs))
    threads = threads or max(machine.cores() // jobs, 1)
    expected = estimate.Estimate(specs, out, estimate.committed_times(suite), jobs)
    if dry_run:
        return expected.show(Console())
    if not yes:
        expected.check()
    make_folder(out)
    with deadline.in_minutes(minutes):
        results, failures = run_with_bars(out, specs, device, jobs, threads, executor)
    console = Console()
    if results:
        for shown in tables.terminal_tables(summary.summarize(results)):
            console.print(shown)
        for name, measure in chosen.measures.items():
            if measure.in_tables and any(name in result.scores for result in results):
                console.print(f"[dim]{measure.title}: {measure.description}[/dim]", highlight=False)
        if site is None:
            console.print(f"Build the page: bisimgym report {out} --out site", highlight=False, markup=False)
        elif not failures:
            report([out], site)
    if failures and all(isinstance(failure, deadline.OutOfTime) for failure in failures):
        text = f"time is up, {len(failures)} of {estimate.counted(len(specs))} are left: give the same command again"
        console.print(text, highlight=False)
        raise typer.Exit(deadline.EXIT_CODE)
    if failures:
        for failure in failures:
            _print_error(str(failure))
        raise typer.Exit(2 if all(isinstance(f, UserError) for f in failures) else 1)


def planned_by(arguments: Sequence[str], seeds: Sequence[int]) -> Sequence[Spec]:
    """Return the specs of the arguments of ``bisimgym run`` with other seeds."""
    command: Any = typer.main.get_command(app)
    context = command.commands["run"].make_context("run", list(arguments))
    return cli_plan.planned(**{**context.params, "seeds": seeds})


@app.command()
def evaluate(
    suite: SuiteName,
    agent: Annotated[
        str,
        typer.Option(help=AGENT_FORMS),
    ],
    task: Tasks = None,
    name: Annotated[str | None, typer.Option(help="Name in tables (default: from the spec).")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 1,
    budget: Annotated[int, typer.Option(help="Environment steps that the agent may learn for first.")] = 0,
    timeout: Annotated[
        float, typer.Option(help="Seconds that the agent may take on each task, learning included (0: no limit).")
    ] = 0,
    out: OutFolder = Path("runs"),
) -> None:
    """Score an outside agent on a suite. Each task gets a fresh agent."""
    from bisimgym.benchmarks.agents import closing_agent, resolve_agent, time_limit
    from bisimgym.benchmarks.report import summary
    from bisimgym.benchmarks.running import runner
    from bisimgym.benchmarks.running.bars import single_bar
    from bisimgym.benchmarks.running.run_folder import make_folder

    chosen = load_suite(suite)
    tasks = task or chosen.open_tasks
    for one in tasks:
        if one not in chosen.tasks:
            raise unknown("task", one, chosen.tasks)
    if budget < 0 or seed < 0:
        raise UserError(f"--budget and --seed must not be negative, got {budget} and {seed}")
    if not 0 <= timeout <= threading.TIMEOUT_MAX:
        raise UserError(f"--timeout must be from 0 to {threading.TIMEOUT_MAX:g} seconds, got {timeout:g}")
    shown = name or agent.rpartition("/")[2].removesuffix(".zip").rpartition(":")[2]
    out = followed(out)  # the agent may change the folder
    make_folder(out)
    console = Console(highlight=False, soft_wrap=True)
    for one in tasks:  # before an agent learns on the first task for hours
        try:
            runner.check_free(chosen, one, shown, seed, budget, out)
        except UserError as error:
            others = [f"--task {other}" for other in tasks if other != one]
            raise UserError(f"{error}; or leave this task out: {' '.join(others)}" if others else str(error)) from None
    for one in tasks:
        command = runner.machine.command_text(sys.argv[1:])
        bar = single_bar(f"{suite} {one} {shown} learns")
        with time_limit(timeout, f"agent {agent!r} on {suite}/{one}"), contextlib.chdir(Path.cwd()), bar as show:
            described = f"Agent {agent}"
            with closing_agent(resolve_agent(agent)) as resolved:
                scored = runner.evaluate_agent(
                    resolved, chosen, one, shown, out, seed, budget, described, command, on_progress=show
                )
        further = ", ".join(
            f"{chosen.measures[k].title} {summary.number(chosen, v, k)}" for k, v in scored.scores.items()
        )
        score = f"{chosen.score_name} {summary.number(chosen, scored.score)} {summary.unit(chosen)}".rstrip()
        console.print(f"{suite} {one} {shown}: {score}" + (f" ({further})" if further else ""), markup=False)


@app.command()
def report(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="DIR...", help="Folders that `run` or `evaluate` wrote, and submissions."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the site.")] = Path("site"),
    committed: Annotated[bool, typer.Option("--committed", help="Add the results that come with bisimgym.")] = False,
    before: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Earlier results: a page says which rows are not what they were."),
    ] = None,
) -> None:
    """Build the leaderboard: a static site that opens without a server."""
    from bisimgym.benchmarks.report.leaderboard import build_site
    from bisimgym.benchmarks.running.run_folder import committed_runs
    from bisimgym.benchmarks.submissions.packing import find_results

    if not folders and not committed:
        raise UserError("nothing to report: give folders that `bisimgym run` wrote, or --committed")
    with find_results(folders or []) as runs:
        if committed:
            own = {run.spec.folder for run in runs}
            runs += [run for run in committed_runs() if run.spec.folder not in own]
        with find_results([before] if before else []) as earlier:
            index = build_site(runs, out, before=earlier if before else None)
    counted = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    Console(highlight=False, soft_wrap=True).print(f"{counted}: {index.resolve()}", markup=False)


for _command in (
    cli_measures.speed,
    cli_measures.fidelity,
    cli_measures.landscape,
    cli_measures.papers,
    cli_plan.plan,
    cli_submit.plug,
    cli_submit.repro,
):
    app.command()(_command)
app.add_typer(cli_submit.app)


@app.command()
def doctor() -> None:
    """Show versions, known-bad pairs, devices and precision: what to send with a bug report."""
    from bisimgym.benchmarks.running import doctor as check

    problems = check.report(Console(highlight=False, soft_wrap=True))
    raise typer.Exit(1 if problems else 0)


Form = StrEnum("Form", ["minari", "compact", "states", "arrays"])


@app.command()
def collect(
    env_id: Annotated[str, typer.Argument(metavar="ENV_ID", help="A registered environment.")],
    dataset: Annotated[
        str, typer.Option(metavar="NAME", help="Id of the Minari data set (nav2d/oracle-v0), or a folder.")
    ],
    steps: Annotated[int, typer.Option(help="At least so many steps, in whole episodes.")],
    policy: Annotated[
        str, typer.Option(help="oracle, random, epsilon-greedy, or an agent as in `evaluate --agent`.")
    ] = "random",
    epsilon: Annotated[
        float | None, typer.Option(help="Probability of a random action instead of the policy's.")
    ] = None,
    num_envs: Annotated[int, typer.Option(help="Environments side by side; number i has seed SEED + i.")] = 16,
    seed: Annotated[int, typer.Option(help="Seed of the first environment.")] = 0,
    env_kwargs: Annotated[str, typer.Option(metavar="JSON", help="Arguments of the environment.")] = "{}",
    form: Annotated[
        Form, typer.Option(help="Minari, or a folder: compact (Nav2D), states (dm_control), arrays (any).")
    ] = Form.minari,
) -> None:
    """Collect offline data. What was cut off goes on: give the same command again at any time."""
    from bisimgym.benchmarks import collecting

    data = collecting.collect_with_bar(env_id, policy, steps, dataset, form.value, num_envs, seed, epsilon, env_kwargs)
    size = collecting.size_on_disk(data) / 1e6
    Console(highlight=False, soft_wrap=True).print(
        f"{dataset}: {len(data):,} steps, {data.num_episodes:,} episodes, {size:,.1f} MB in {data.folder}", markup=False
    )


def _print_error(message: str) -> None:
    print(f"error: {printable(message)}", file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 2 and one line for a mistake of the user."""
    show_in_any_encoding()
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
        context = getattr(error, "ctx", None)
        _print_error(f"{error.format_message()} (see {context.command_path if context else 'bisimgym'} --help)")
        return 2
    if code == 130:  # typer turns an interrupt into its exit code
        _print_error("interrupted: give the same command again to go on")
    return code if isinstance(code, int) else 0

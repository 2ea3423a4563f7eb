"""Outside agents: from a text such as ``package.module:factory`` to an object with ``predict``."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import sys
import sysconfig
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.process_agent import ProcessAgent, end_all

_FORMS = (
    "give package.module:factory, sb3:ALGO:FILE.zip, exec:COMMAND, or a name of the entry-point group 'bisimgym.agents'"
)


def resolve_agent(spec: str) -> Any:
    """Return the agent that a spec names.

    * ``package.module:factory``: the factory is called without arguments. Modules are also looked for in the current
      folder.
    * ``sb3:ALGO:FILE.zip``: a saved model of Stable-Baselines3, of sb3-contrib or of this package, such as
      ``sb3:PPO:model.zip``, ``sb3:QRDQN:model.zip`` or ``sb3:MICoDQN:model.zip``.
    * ``exec:COMMAND``: a process that speaks JSON lines, such as ``exec:node agent.js``: see
      :mod:`~bisimgym.benchmarks.process_agent`.
    * a name: an entry point of the group ``bisimgym.agents``, called without arguments.

    Raises:
        UserError: one line that says what is wrong with the spec.
    """
    if spec.startswith("sb3:"):
        return _load_sb3(spec)
    if spec.startswith("exec:"):
        return ProcessAgent(spec.removeprefix("exec:"))
    if ":" in spec:
        return _call(import_factory(spec), spec)
    entries = {entry.name: entry for entry in importlib.metadata.entry_points(group="bisimgym.agents")}
    if spec not in entries:
        known = f"; installed agents: {', '.join(sorted(entries))}" if entries else "; no agents are installed"
        raise UserError(f"agent {spec!r} is not known{known}: {_FORMS}")
    with agent_code(f"agent {spec!r} ({entries[spec].value}) does not load"):
        factory = entries[spec].load()
    return _call(factory, spec)


@contextmanager
def agent_code(what: str) -> Iterator[None]:
    """Run code of an agent: whatever it raises becomes one line that says what failed and where, an exit as well.

    Only a ``KeyboardInterrupt`` goes through, which nobody can tell from the user's own.

    Raises:
        UserError: for whatever else the code raises; it is a ``UserError`` already where the package complains of it.
    """
    try:
        yield
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:  # sys.exit is no Exception, and agents may make more of these
        try:
            text = str(error)
        except BaseException:  # an exception of the agent's own need have no text
            text = ""
        shown = f"{type(error).__name__}: {text}" if text else type(error).__name__
        raise UserError(f"{what}: {shown} ({_where(error)})") from error


def _where(error: BaseException) -> str:
    """Return file and line of an agent's failure: the deepest in code that is neither installed nor of this package."""
    libraries = [sysconfig.get_path(name) for name in ("stdlib", "platlib", "purelib")]
    package = Path(__file__).resolve().parents[1]  # from a clone, examples lie in it too
    libraries += [str(package / name) for name in ("envs", "wrappers", "baselines", "benchmarks")]
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not any(Path(frame.filename).is_relative_to(library) for library in libraries)]
    where = (own or frames)[-1]
    return f"{where.filename}:{where.lineno}"


@contextmanager
def time_limit(seconds: float, what: str) -> Iterator[None]:
    """End this process, with one line and exit code 2, if the block takes longer; 0 for no limit.

    A thread of its own does it, so that no agent can catch or delay it, asleep or at work. Only code of C that never
    lets other threads run (it holds the interpreter's lock) cannot be ended so. Processes that the agent started go on,
    but for those of ``exec:`` agents.
    """
    ended = threading.Event()

    def watch() -> None:
        if not ended.wait(seconds):
            sys.stdout.flush()
            print(f"error: {what} took longer than --timeout {seconds:g} seconds", file=sys.stderr, flush=True)
            end_all()
            os._exit(2)

    if seconds:
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


@contextmanager
def closing_agent(agent: Any) -> Iterator[Any]:
    """Hold an agent, and close it in the end if it has a ``close``. What failed before is told first."""

    def close() -> None:
        if callable(end := getattr(agent, "close", None)):
            end()

    try:
        yield agent
    except BaseException:
        with contextlib.suppress(UserError), agent_code("close() failed"):
            close()
        raise
    with agent_code("what is done is stored, but the agent's close() failed"):
        close()


def check_agent(agent: Any, needs_learn: bool = False) -> None:
    """Raise ``UserError`` if an object does not follow the agent protocol."""
    with agent_code(f"agent {type(agent).__name__}: its methods cannot be looked at"):
        has = {name: callable(getattr(agent, name, None)) for name in ("predict", "learn")}
    if not has["predict"]:
        raise UserError(
            f"agent {type(agent).__name__} has no method "
            "predict(observation, state=None, episode_start=None, deterministic=True)"
        )
    if needs_learn and not has["learn"]:
        raise UserError(f"agent {type(agent).__name__} has no learn(envs, budget, seed), which --budget needs")
    if needs_learn and any(base.__module__.startswith("stable_baselines3.") for base in type(agent).__mro__):
        raise UserError(
            f"--budget needs learn(envs, budget, seed), and that of {type(agent).__name__} is Stable-Baselines3's: "
            "train the model first, or wrap it in an agent of your own"
        )


def import_factory(spec: str) -> Callable[[], Any]:
    module_name, _, name = spec.partition(":")
    _find_modules_here()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise UserError(f"agent {spec!r}: there is no module {module_name!r}; {_FORMS}") from None
        raise UserError(
            f"agent {spec!r}: importing {module_name} needs {error.name!r}, which is not installed"
        ) from None
    except (ValueError, TypeError) as error:
        raise UserError(f"agent {spec!r}: {error}; {_FORMS}") from None
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a module may exit
        raise UserError(f"agent {spec!r}: importing {module_name} failed: {type(error).__name__}: {error}") from error
    factory = getattr(module, name, None)
    if not callable(factory):
        public = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise UserError(f"agent {spec!r}: {module_name} has no callable {name!r}; it has {', '.join(public) or 'none'}")
    return factory


def _find_modules_here() -> None:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def _call(factory: Callable[[], Any], spec: str) -> Any:
    with agent_code(f"agent {spec!r}: the factory failed"):
        agent = factory()
    check_agent(agent)
    return agent


def _load_sb3(spec: str) -> Any:
    parts = spec.split(":", 2)
    if len(parts) != 3 or not parts[1] or not parts[2]:
        raise UserError(f"agent {spec!r}: an SB3 model is given as sb3:ALGO:FILE.zip, such as sb3:PPO:model.zip")
    _, algorithm, file = parts
    known = _algorithms()
    if algorithm not in known:
        raise UserError(
            f"agent {spec!r}: unknown algorithm {algorithm!r}; known are {', '.join(known)} (those of sb3-contrib if "
            "that is installed; another one needs a factory of yours that loads it)"
        )
    path = Path(file)
    if not path.is_file():
        raise UserError(f"agent {spec!r}: there is no file {file}")
    warnings.warn(
        f"loading {file} runs code that is stored in it: only load models whose origin you trust", stacklevel=2
    )
    _find_modules_here()  # the model's own networks may be defined there
    # No transition is needed to act: a replay of hindsight would ask for an environment, a large one for memory.
    without_replay: dict[str, Any] = {"replay_buffer_class": None, "replay_buffer_kwargs": {}, "buffer_size": 1000}
    with agent_code(f"agent {spec!r}: {file} does not load as {algorithm}"):
        return known[algorithm].load(path, device="auto", custom_objects=without_replay)


def _algorithms() -> dict[str, Any]:
    """Return the algorithms of Stable-Baselines3, of sb3-contrib if it is installed, and of this package by name."""
    from stable_baselines3.common.base_class import BaseAlgorithm

    from bisimgym.baselines.learners import DQN_LEARNERS, SAC_LEARNERS

    packages = [name for name in ("stable_baselines3", "sb3_contrib") if importlib.util.find_spec(name) is not None]
    public = [value for name in packages for value in vars(importlib.import_module(name)).values()]
    known = [*public, *SAC_LEARNERS.values(), *DQN_LEARNERS.values()]
    classes = [value for value in known if inspect.isclass(value) and issubclass(value, BaseAlgorithm)]
    return {algorithm.__name__: algorithm for algorithm in classes}

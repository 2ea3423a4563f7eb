"""What ``bisimgym collect`` does: a policy from its text, a bar with the time left, and errors in one line."""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path
from typing import Any

import gymnasium as gym

from bisimgym.benchmarks.agents import agent_code, resolve_agent
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.names import shortened
from bisimgym.benchmarks.running.bars import single_bar
from bisimgym.wrappers.offline import OfflineData, collect
from bisimgym.wrappers.offline.policies import NAMES


def collect_with_bar(
    env_id: str,
    policy: str,
    steps: int,
    dataset: str,
    form: str,
    num_envs: int,
    seed: int,
    epsilon: float | None,
    env_kwargs: str,
) -> OfflineData:
    """Collect a data set. A SIGTERM acts as Ctrl-C: what is whole stays, and the same command goes on.

    Raises:
        UserError: a mistake in the arguments.
        OSError: the data set exists, or cannot be written.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    arguments = _arguments(env_kwargs)
    if form != "minari":
        dataset = str(Path(dataset).expanduser().absolute())  # the agent's module may change the folder
    agent, name = _policy(policy)
    with single_bar(f"{env_id} {policy}") as show:
        try:
            return collect(
                env_id,
                agent,
                steps,
                num_envs=num_envs,
                seed=seed,
                epsilon=epsilon,
                env_kwargs=arguments,
                dataset=dataset,
                form=form,
                policy_name=name,
                progress=show,
            )
        except (ValueError, ImportError, OverflowError, KeyError, TypeError, gym.error.Error) as error:
            told = f"{type(error).__name__}: {error}" if isinstance(error, (KeyError, TypeError)) else str(error)
            raise UserError(told) from error


def size_on_disk(data: OfflineData) -> int:
    """Return the bytes of a data set's files."""
    assert data.folder is not None, "collected into one"
    return sum(path.stat().st_size for path in data.folder.rglob("*") if path.is_file())


def _arguments(text: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"--env-kwargs takes JSON such as '{{\"goal_visible\": false}}', got {shortened(text)} ({error})"
        ) from None
    if not isinstance(arguments, dict):
        raise UserError(f"--env-kwargs takes a JSON object, got {text!r}")
    return arguments


def _policy(text: str) -> tuple[Any, str]:
    """Return a policy and the name under which the data set remembers it: of a file, with its checksum."""
    if text in NAMES:
        return text, text
    try:
        agent = resolve_agent(text)
    except UserError as error:
        if ":" in text:
            raise
        raise UserError(
            f"unknown policy {text!r}: choose from {', '.join(NAMES)}, or name an agent ({error})"
        ) from None
    agent = _Guarded(agent, text)
    file = Path(text.split(":", 2)[-1])
    if text.startswith("sb3:") and file.is_file():
        text = f"{text} (sha256 {hashlib.sha256(file.read_bytes()).hexdigest()[:16]})"
    return agent, text


class _Guarded:
    """An agent whose failures are one line each: what is whole of the data set stays."""

    def __init__(self, agent: Any, name: str):
        self._agent, self._name = agent, name

    def predict(self, *arguments: Any, **keywords: Any) -> Any:
        with agent_code(f"agent {self._name!r} failed"):
            return self._agent.predict(*arguments, **keywords)

"""Collecting data sets, and turning one form into another."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import bisimgym
from bisimgym.envs.checks import choice, integer
from bisimgym.wrappers.offline.data import OfflineData
from bisimgym.wrappers.offline.episodes import Episodes, concatenate
from bisimgym.wrappers.offline.folder import FolderWriter
from bisimgym.wrappers.offline.forms import ARRAYS, ArraysForm, Form, form_named
from bisimgym.wrappers.offline.minari_data import MinariWriter
from bisimgym.wrappers.offline.opening import load, open_parts
from bisimgym.wrappers.offline.play import make_envs, play
from bisimgym.wrappers.offline.policies import Agent, Policy, make_policy
from bisimgym.wrappers.offline.spaces import space_to_json

FORMS = ("compact", "states", ARRAYS, "minari")
#: Bytes of observations and steps in one part, at most: what a killed collection loses.
_PART_BYTES, _PART_STEPS = 1 << 28, 100_000
_PROBE_STEPS = 10
_PACKAGES = ("gymnasium", "numpy", "minari", "mujoco", "dm_control", "stable_baselines3")


def collect(
    env_id: str,
    policy: str | Agent = "random",
    num_steps: int = 100_000,
    *,
    num_envs: int = 16,
    seed: int = 0,
    epsilon: float | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    dataset: str | Path | None = None,
    form: str | None = None,
    deterministic: bool = True,
    part_steps: int | None = None,
    policy_name: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> OfflineData:
    """Return whole episodes of a policy, at least ``num_steps`` steps and less than one episode more.

    Episodes are played in parts of ``num_envs`` streams. Stream j, counted over all parts, is an environment that was
    reset once with ``seed + j`` and plays episodes until it has filled its share of the part; exploration draws from a
    stream of its own, which follows from the same number. So sub-environment i of the first part has seed ``seed + i``,
    and what a stream holds does not depend on what ran beside it. The last part is as long as what is missing, and
    the episodes beyond the one that reaches ``num_steps`` are left out. Parts are written as they are finished: the
    same call goes on where a killed one was, and gives the same data.

    Source of epsilon-greedy data: Black, Chuck and Niekum, section V-A (16 streams of 62,500 steps).

    Args:
        env_id: any registered environment whose spaces data sets hold.
        policy: "random", "oracle" (if the environment has ``optimal_action()``), "epsilon-greedy" (the oracle, with
            ``epsilon``), or an agent with ``predict(observation, state, episode_start, deterministic)``.
        num_steps: at least 1.
        num_envs: sub-environments side by side.
        seed: of the first stream.
        epsilon: probability of a uniformly random action in the policy's place (default 0, and 0.1 for
            "epsilon-greedy").
        env_kwargs: arguments of the environment, as JSON has them.
        dataset: where to keep it: a folder, or an id such as ``nav2d/epsilon-10-v0`` for ``form="minari"``. ``None``
            keeps it in memory.
        form: "compact" (Nav2D), "states" (dm_control), "arrays" (all), "minari"; ``None`` is the environment's own, or
            "arrays".
        deterministic: what agents are asked for. If not, the global generators of numpy, and of torch where it is
            loaded, are seeded at each part.
        part_steps: steps of a part (default: 100,000, or what 256 MiB of observations hold).
        policy_name: what the data set's information calls the policy.
        progress: called with steps done and steps in all.

    Raises:
        ValueError: bad arguments, or a data set of this name was begun with others.
        FileExistsError: the data set exists.
        ImportError: Minari is missing.
        OSError: the disk is full. What was written stays, and the same call goes on.
    """
    integer("num_steps", num_steps, 1)
    integer("num_envs", num_envs, 1)
    integer("seed", seed, 0)
    if form is not None:
        choice("form", form, FORMS)
    if form == "minari" and dataset is None:
        raise ValueError('form="minari" needs a name: dataset="nav2d/random-v0"')
    arguments = _json_arguments(env_kwargs or {})
    env = _made(env_id, arguments)
    try:
        kept = form_named(None if form == "minari" else form, env)
        chosen = make_policy(policy, epsilon, env.action_space, hasattr(env.unwrapped, "optimal_action"), deterministic)
        if part_steps is None:  # whatever the form, so that one call gives one data set in all forms
            part_steps = max(min(_PART_BYTES // _bytes_of(env.observation_space), _PART_STEPS), num_envs)
        settings = {
            "env_id": env_id,
            "env_kwargs": arguments,
            "policy": policy_name or chosen.name,
            "epsilon": epsilon if epsilon is not None else (0.1 if chosen.name == "epsilon-greedy" else None),
            "deterministic": deterministic,
            "seed": seed,
            "num_steps": num_steps,
            "num_envs": num_envs,
            "part_steps": integer("part_steps", part_steps, 1),
        }
        info = {**settings, "versions": _versions(), "environment_digest": environment_digest(env_id, arguments)}
        report = progress or (lambda done, total: None)
        if dataset is None:
            played = list(_play_parts(chosen, kept, info, [], report))
            return OfflineData(concatenate(played), kept, env.observation_space, env.action_space, info)
        writer = _writer(dataset, form, kept, env.observation_space, env.action_space, env.spec, info)
        try:
            for part in _play_parts(chosen, kept, info, writer.parts, report):
                writer.append(part, _all_observations(kept, part) if form == "minari" else None)
            writer.finish()
        finally:
            writer.close()
    finally:
        env.close()
    return load(writer.building.target, verify=False)


def convert(
    source: str | Path, dataset: str | Path, form: str, env_kwargs: Mapping[str, Any] | None = None
) -> OfflineData:
    """Return a data set in another form, and write it.

    Observations stay the same bit for bit. Minari data sets that this package wrote keep what their form needs; those
    of other tools become "arrays", which can be mapped into memory.

    Args:
        source: folder or id of a data set.
        dataset: name of the new one, as of :func:`collect`.
        form: "compact", "states", "arrays" or "minari".
        env_kwargs: how observations are shown, as of :func:`load`: "arrays" of states under another preset, for
            instance.

    Raises:
        ValueError: if the source does not hold what the form needs.
        FileExistsError: the new data set exists.
    """
    choice("form", form, FORMS)
    opened = open_parts(source, env_kwargs)
    if form not in (ARRAYS, "minari", opened.form.name):
        raise ValueError(f"{source} keeps {opened.form.name!r}, of which {form!r} cannot be made")
    kept = ArraysForm(opened.observation_space) if form == ARRAYS else opened.form
    spec = None
    if "env_id" in opened.info:
        spec = gym.make(opened.info["env_id"], disable_env_checker=True, **opened.info["env_kwargs"]).spec
    writer = _writer(dataset, form, kept, opened.observation_space, opened.action_space, spec, opened.info)
    try:
        for number, (part, observations) in enumerate(opened.parts):
            if number < len(writer.parts):  # there already, from an attempt that was killed
                continue
            if form == ARRAYS:
                columns = observations if isinstance(observations, dict) else {"": observations}
                part = dataclasses.replace(part, observations=columns)
            writer.append(part, observations)
        writer.finish()
    finally:
        writer.close()
    return load(writer.building.target, verify=False)


def _made(env_id: str, arguments: Mapping[str, Any]) -> gym.Env:
    try:
        return gym.make(env_id, disable_env_checker=True, **arguments)
    except TypeError as error:  # an unknown argument
        raise ValueError(f"{env_id} does not take env_kwargs {dict(arguments)}: {error}") from error


def environment_digest(env_id: str, env_kwargs: Mapping[str, Any]) -> str:
    """Return a checksum of what an environment does: of its spaces and ten steps from seed 0.

    Data whose digest differs from today's were made by other dynamics or shown otherwise. Physics and renderers may
    differ in their last bits between machines, and so may the digest.
    """
    env = gym.make(env_id, disable_env_checker=True, **env_kwargs)
    digest = hashlib.sha256(f"{env.observation_space} {env.action_space}".encode())
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0)
    for _ in range(_PROBE_STEPS):
        observation, *outcome = env.step(env.action_space.sample())
        values = observation.values() if isinstance(observation, dict) else [observation]
        for value in [*values, np.asarray(outcome[:3], dtype=np.float64)]:
            digest.update(np.ascontiguousarray(value).tobytes())
        if outcome[1] or outcome[2]:
            env.reset()
    env.close()
    return digest.hexdigest()


def _play_parts(
    policy: Policy,
    form: Form,
    info: Mapping[str, Any],
    written: Sequence[Mapping[str, Any]],
    report: Callable[[int, int], None],
) -> Iterator[Episodes]:
    """Yield what is missing, part by part."""
    done, number = sum(part["steps"] for part in written), len(written)
    num_envs, total = info["num_envs"], info["num_steps"]
    if done >= total:
        return
    arguments = {**info["env_kwargs"], **({} if policy.needs_observations else form.blind_arguments)}
    envs = make_envs(info["env_id"], num_envs, arguments)
    try:
        while done < total:
            seeds = info["seed"] + number * num_envs + np.arange(num_envs)
            if not info["deterministic"]:
                _seed_globals(int(seeds[0]))
            steps = min(info["part_steps"], total - done)
            before = done
            part = play(envs, policy, form, seeds, steps, lambda more: report(min(before + more, total), total))  # noqa: B023
            part = part if done + len(part) < total else part.first_steps(total - done)
            part.check_numbers(f"environment {info['env_id']}", envs.single_action_space)
            done, number = done + len(part), number + 1
            yield part
    finally:
        envs.close()


def _writer(
    dataset: str | Path,
    form: str | None,
    kept: Form,
    observation_space: gym.Space,
    action_space: gym.Space,
    spec: Any,
    info: Mapping[str, Any],
) -> FolderWriter | MinariWriter:
    content = {
        "form": kept.name,
        "observation_space": space_to_json(observation_space),
        "action_space": space_to_json(action_space),
        "info": info,
    }
    if form == "minari":
        return MinariWriter(str(dataset), content, observation_space, action_space, spec, kept.name != ARRAYS)
    return FolderWriter(Path(dataset).expanduser(), content)


def _all_observations(form: Form, part: Episodes) -> Any:
    episode = np.repeat(np.arange(part.num_episodes), part.per_episode["length"] + 1)
    return form.draw(part, np.arange(len(episode)), episode)


def _bytes_of(space: gym.Space) -> int:
    if isinstance(space, gym.spaces.Dict):
        return sum(map(_bytes_of, space.values()))
    return int(np.prod(space.shape or (), dtype=int)) * np.dtype(space.dtype).itemsize


def _json_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return json.loads(json.dumps(dict(arguments)))
    except TypeError as error:
        raise ValueError(f"env_kwargs must be values that JSON has, got {arguments!r} ({error})") from None


def _versions() -> dict[str, str]:
    versions = {"bisimgym": bisimgym.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _seed_globals(seed: int) -> None:
    np.random.seed(seed % 2**32)  # noqa: NPY002  # what models of Stable-Baselines3 draw from
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)

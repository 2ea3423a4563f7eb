"""Opening data sets: folders of this package, and Minari's, whoever made them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from bisimgym.wrappers.offline.data import OfflineData
from bisimgym.wrappers.offline.episodes import Episodes, columns_to_episodes
from bisimgym.wrappers.offline.folder import read_folder
from bisimgym.wrappers.offline.forms import ARRAYS, ArraysForm, Form, form_named
from bisimgym.wrappers.offline.manifest import MANIFEST, DamagedDataError, read_manifest
from bisimgym.wrappers.offline.minari_data import (
    is_minari_folder,
    minari_folder,
    read_minari,
    split_infos,
    verify_minari,
)
from bisimgym.wrappers.offline.spaces import space_from_json

_PART_STEPS = 50_000
_STORED = "its observations are stored as they were shown"


def load(
    dataset: str | Path,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    in_memory: bool = False,
    verify: bool = True,
) -> OfflineData:
    """Return a data set.

    Args:
        dataset: folder that ``collect`` wrote, folder of a Minari data set, or id of a local one.
        env_kwargs: how observations are shown where that differs from how they were collected; for the forms "compact"
            (``goal_visible``) and "states" (preset, renderer, camera, backgrounds, size, ...).
        in_memory: whether to read everything now. Otherwise the files are mapped into memory. Minari data sets are
            always read: ``convert`` them to "arrays" to map them.
        verify: whether to compare checksums, which reads everything once. Minari data sets of other tools have none.

    Raises:
        FileNotFoundError: there is no such data set, or it is not finished.
        DamagedDataError: it is not what was written.
        ValueError: an argument of the environment that cannot differ.
    """
    folder, is_minari = _find(dataset)
    reopen = partial(load, str(folder.resolve()), env_kwargs=env_kwargs, in_memory=in_memory, verify=False)
    if is_minari:
        _refuse_arguments(env_kwargs, _STORED)
        opened = _open_minari(folder, verify)
        columns = _join((part for part, _ in opened.raw), opened.num_steps)
        columns.check_numbers(f"data set {folder}", opened.action_space)
        form: Form = ArraysForm(opened.observation_space)
        return OfflineData(columns, form, opened.observation_space, opened.action_space, opened.info, folder, reopen)
    columns, manifest = read_folder(folder, in_memory, verify)
    form, observation_space, action_space = _shown(manifest, env_kwargs or {})
    if verify:
        columns.check_numbers(f"data set {folder}", action_space)
    info = manifest["info"]
    if env_kwargs:
        info = {**info, "env_kwargs": {**info["env_kwargs"], **env_kwargs}}
    return OfflineData(columns, form, observation_space, action_space, info, folder, reopen)


@dataclass(frozen=True)
class Opened:
    """A data set that is read part by part: ``parts`` yields episodes in their form, and all their observations."""

    form: Form
    observation_space: gym.Space
    action_space: gym.Space
    info: Mapping[str, Any]
    parts: Iterator[tuple[Episodes, Any]]


def open_parts(dataset: str | Path, env_kwargs: Mapping[str, Any] | None = None) -> Opened:
    """Open a data set to read it once, whole and verified, without keeping it."""
    folder, is_minari = _find(dataset)
    if not is_minari:
        data = load(dataset, env_kwargs=env_kwargs)
        ranges = data.columns.parts(_PART_STEPS)
        parts = ((data.columns.slice(a, b), data.all_observations(a, b)) for a, b in ranges)
        return Opened(data.form, data.observation_space, data.action_space, data.info, parts)
    _refuse_arguments(env_kwargs, _STORED)
    opened = _open_minari(folder, verify=True)
    ours = (folder / MANIFEST).exists()
    form: Form = _shown(read_manifest(folder), {})[0] if ours else ArraysForm(opened.observation_space)

    def parts_of(raw: Iterator[tuple[Episodes, dict[str, np.ndarray]]]) -> Iterator[tuple[Episodes, Any]]:
        for part, infos in raw:
            observations = dict(part.observations)
            shown = observations if isinstance(opened.observation_space, gym.spaces.Dict) else observations[""]
            yield part if form.name == ARRAYS else split_infos(part, infos), shown

    return Opened(form, opened.observation_space, opened.action_space, opened.info, parts_of(opened.raw))


@dataclass(frozen=True)
class _OpenedMinari:
    observation_space: gym.Space
    action_space: gym.Space
    info: Mapping[str, Any]
    num_steps: int
    raw: Iterator[tuple[Episodes, dict[str, np.ndarray]]]


def _open_minari(folder: Path, verify: bool) -> _OpenedMinari:
    info: Mapping[str, Any] = {}
    if (folder / MANIFEST).exists():
        info = read_manifest(folder)["info"]
        if verify:
            verify_minari(folder)
    storage, raw = read_minari(folder)
    info = info or {"minari": {k: v for k, v in storage.metadata.items() if isinstance(v, (str, int, float))}}
    return _OpenedMinari(storage.observation_space, storage.action_space, info, int(storage.total_steps), raw)


def _find(dataset: str | Path) -> tuple[Path, bool]:
    """Return the folder of a data set, and whether it is Minari's."""
    folder = Path(dataset).expanduser()
    if folder.name == "data" and is_minari_folder(folder.parent):
        folder = folder.parent
    if is_minari_folder(folder):
        return folder, True
    if (folder / MANIFEST).is_file():
        return folder, False
    _refuse_partial(folder)
    if folder.exists():
        raise FileNotFoundError(f"{folder} is no data set: it has neither {MANIFEST} nor data/metadata.json")
    try:
        named = minari_folder(str(dataset))
    except (ImportError, ValueError):
        raise FileNotFoundError(f"there is no data set {dataset}: collect it, or give the path of its folder") from None
    _refuse_partial(named)
    if not is_minari_folder(named):
        raise FileNotFoundError(f"there is no data set {dataset}, neither here nor among Minari's ({named})")
    return named, True


def _refuse_partial(folder: Path) -> None:
    partial_folder = folder.with_name(f".{folder.name}.partial") if folder.name else folder
    if (partial_folder / MANIFEST).exists():
        parts = read_manifest(partial_folder)["parts"]
        raise FileNotFoundError(
            f"{folder} is not finished ({sum(part['steps'] for part in parts):,} steps so far): give the command that "
            "collects it again"
        )


def _shown(manifest: Mapping[str, Any], env_kwargs: Mapping[str, Any]) -> tuple[Form, gym.Space, gym.Space]:
    """Return the form and the spaces of a data set, shown with some arguments of the environment changed."""
    if manifest["form"] == ARRAYS:
        _refuse_arguments(env_kwargs, _STORED)
        try:
            observation_space, action_space = (
                space_from_json(manifest[f"{kind}_space"]) for kind in ("observation", "action")
            )
        except Exception as error:  # whatever a damaged description makes Gymnasium's constructors raise
            raise DamagedDataError(f"the spaces in {MANIFEST} are damaged ({error}): restore the data set") from None
        return ArraysForm(observation_space), observation_space, action_space
    info = manifest["info"]
    env_id = str(info["env_id"]).rpartition(":")[2]  # nothing is imported because a file says so
    if env_id not in gym.registry:
        raise ValueError(f"no environment {env_id} is registered: import the module that registers it first")
    env = gym.make(env_id, disable_env_checker=True, **{**info["env_kwargs"], **env_kwargs})
    form = form_named(manifest["form"], env)
    fixed = sorted(set(env_kwargs) - form.display_arguments)
    if fixed:
        raise ValueError(f"env_kwargs {fixed} are part of the data: only {sorted(form.display_arguments)} may differ")
    return form, env.observation_space, env.action_space


def _refuse_arguments(env_kwargs: Mapping[str, Any] | None, why: str) -> None:
    if env_kwargs:
        raise ValueError(f"env_kwargs={dict(env_kwargs)} cannot change how this data set is shown: {why}")


def _join(parts: Iterator[Episodes], num_steps: int) -> Episodes:
    """Return all parts as one."""
    columns = [dict(part.columns()) for part in parts]
    if not columns:
        raise DamagedDataError("the data set has no episodes")
    found = sum(len(column["rewards"]) for column in columns)
    if found != num_steps:
        raise DamagedDataError(f"the data set has {found:,} steps of {num_steps:,} that its metadata promise")
    joined = {}
    for name in list(columns[0]):
        # Column by column, so that little more than the data themselves is in memory at once.
        joined[name] = np.concatenate([column.pop(name) for column in columns])
    return columns_to_episodes(joined)

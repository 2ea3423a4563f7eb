"""Minari data sets: written whole and lossless, and read whoever made them.

The layout on disk is Minari's for arrow, one folder per episode; a test reads it with Minari. It is written here rather
than by Minari's ``update_episodes``, which measures the whole data set after each episode and so takes hours for the
fifty thousand episodes of a million steps; and with ``jpeg_encoding`` off, because JPEG changes colors.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from bisimgym.wrappers.offline.episodes import Episodes
from bisimgym.wrappers.offline.manifest import (
    Building,
    DamagedDataError,
    disk_errors_explained,
    read_file,
    read_manifest,
)
from bisimgym.wrappers.offline.spaces import batch_of

#: Minari keeps what is beside observations in ``infos``; ours carry this prefix.
_OF_OBSERVATION, _OF_EPISODE = "offline.observation.", "offline.episode."
_EPISODE_FILES = ("part-0.arrow", "metadata.json")
_READ_STEPS = 50_000


def minari() -> Any:
    """Return the package, or raise ``ImportError`` with how to get it."""
    try:
        import minari
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'Minari data sets need minari and pyarrow ({error}): pip install "bisimgym[offline]"'
        ) from error
    return minari


def minari_folder(dataset: str) -> Path:
    """Return where Minari keeps a data set of this id.

    Raises:
        ValueError: if this is no id of Minari's.
    """
    minari()
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.storage.datasets_root_dir import get_dataset_path

    try:
        parse_dataset_id(dataset)
    except (ValueError, TypeError):  # the second where the version is missing
        raise ValueError(
            f"{dataset!r} is no id of a Minari data set: give NAME-v0 or NAMESPACE/NAME-v0, such as nav2d/epsilon-10-v0"
        ) from None
    return get_dataset_path(dataset)


class MinariWriter:
    """Appends parts of whole episodes to a Minari data set (see :class:`~.manifest.Building`).

    Args:
        dataset: id.
        content: of the manifest.
        observation_space, action_space: of one environment.
        env_spec: of the environment, so that Minari can make it again.
        keeps_form: whether the columns of the episodes' form are kept too, in ``infos``: where they are not the
            observations themselves.
    """

    def __init__(
        self,
        dataset: str,
        content: Mapping[str, Any],
        observation_space: gym.Space,
        action_space: gym.Space,
        env_spec: Any,
        keeps_form: bool,
    ):
        minari()
        self._id, self._spaces = dataset, (observation_space, action_space)
        self._env_spec, self._keeps_form = _json_spec(env_spec), keeps_form
        self.building = Building(minari_folder(dataset), content)
        self._data = self.building.folder / "data"

    @property
    def parts(self) -> list[dict[str, Any]]:
        return self.building.parts

    def append(self, part: Episodes, observations: Any) -> None:
        """Write a part.

        Args:
            part: the episodes. What their form keeps beside observations goes into ``infos``.
            observations: of all rows, as the environment gives them.
        """
        import pyarrow as pa

        first = sum(piece["episodes"] for piece in self.parts)
        table = self._table(part, observations, first)
        rows, lengths = part.starts + np.arange(part.num_episodes), part.per_episode["length"]
        seeds, numbers = part.per_episode.get("seed"), part.per_episode.get("number")
        options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
        digest = hashlib.sha256()
        with disk_errors_explained(self.building.folder):
            self._data.mkdir(exist_ok=True)
            for e, (row, length) in enumerate(zip(rows.tolist(), lengths.tolist(), strict=True)):
                metadata = {"id": first + e, "total_steps": length}
                if seeds is not None and numbers is not None and numbers[e] == 0:
                    metadata["seed"] = int(seeds[e])  # of reset(seed=...); later episodes of the stream have none
                sink = pa.BufferOutputStream()
                with pa.ipc.new_file(sink, table.schema, options=options) as file:
                    file.write_batch(table.slice(row, length + 1))
                folder = self._data / str(first + e)
                folder.mkdir(exist_ok=True)
                files = sink.getvalue().to_pybytes(), json.dumps(metadata).encode()
                for name, content in zip(_EPISODE_FILES, files, strict=True):
                    with open(f"{folder}/{name}", "wb") as file:
                        file.write(content)
                    digest.update(content)
            self.building.commit({"steps": len(part), "episodes": part.num_episodes, "sha256": digest.hexdigest()})

    def finish(self) -> None:
        """Write Minari's own metadata and give the data set its name."""
        from minari.dataset.minari_storage import MinariStorage

        steps, episodes = (sum(part[key] for part in self.parts) for key in ("steps", "episodes"))
        with disk_errors_explained(self.building.folder):
            (self._data / "metadata.json").unlink(missing_ok=True)
            storage = MinariStorage.new(
                self._data, *self._spaces, env_spec=self._env_spec, data_format="arrow", jpeg_encoding=False
            )
            size = sum(path.stat().st_size for path in self._data.rglob("*")) / 1e6
            about = {"dataset_id": self._id, "minari_version": minari().__version__, "dataset_size": round(size, 1)}
            storage.update_metadata({"total_steps": steps, "total_episodes": episodes, **about})
            for number in range(sum(part["episodes"] for part in self.parts), len(list(self._data.iterdir())) - 1):
                _remove_episode(self._data / str(number))  # of a killed attempt, beyond the last part
            self.building.finish()

    def close(self) -> None:
        self.building.close()

    def _table(self, part: Episodes, observations: Any, first: int) -> Any:
        """Return a part as one arrow batch with a row per observation; the last step of an episode is padding."""
        import pyarrow as pa

        observation_space, action_space = self._spaces
        episode = np.repeat(np.arange(part.num_episodes), part.per_episode["length"] + 1)
        has_step = np.ones(len(episode), dtype=bool)
        has_step[part.ends + np.arange(part.num_episodes)] = False

        def padded(values: np.ndarray) -> np.ndarray:
            rows = np.zeros((len(episode), *values.shape[1:]), values.dtype)
            rows[has_step] = values
            return rows

        columns = {
            "episode_id": pa.array((first + episode).astype(np.int32)),
            "observations": _encoded(observation_space, observations),
            "actions": _encoded(action_space, padded(part.actions)),
            "rewards": pa.array(padded(part.rewards)),
            "terminations": pa.array(padded(part.terminated)),
            "truncations": pa.array(padded(part.truncated)),
        }
        beside = {_OF_EPISODE + k: v[episode] for k, v in part.per_episode.items() if k != "length"}
        if self._keeps_form:
            beside |= {_OF_OBSERVATION + k: v for k, v in part.observations.items()}
        if beside:
            arrays = [_numbers(values) for values in beside.values()]
            fields = [
                pa.field(name, array.type, metadata={"shape": ",".join(map(str, v.shape[1:]))} if v.ndim > 1 else None)
                for (name, v), array in zip(beside.items(), arrays, strict=True)
            ]
            columns["infos"] = pa.StructArray.from_arrays(arrays, fields=fields)
        return pa.RecordBatch.from_pydict(columns)


def _json_spec(env_spec: Any) -> Any:
    """Return a specification that Minari can write, or ``None``: one whose entry point is a class has no JSON."""
    try:
        env_spec.to_json()
    except (AttributeError, TypeError, ValueError):
        return None
    return env_spec


def is_minari_folder(folder: Path) -> bool:
    return (folder / "data" / "metadata.json").is_file()


def verify_minari(folder: Path) -> None:
    """Compare a data set that this package wrote with its checksums.

    Raises:
        DamagedDataError: if it is not what was written.
    """
    number = 0
    for part in read_manifest(folder)["parts"]:
        digest = hashlib.sha256()
        for _ in range(part["episodes"]):
            for name in _EPISODE_FILES:
                path = folder / "data" / str(number) / name
                digest.update(read_file(path))
            number += 1
        if digest.hexdigest() != part["sha256"]:
            raise DamagedDataError(
                f"{folder} is damaged (the checksum of episodes up to {number - 1} does not match): restore the data "
                "set or collect it again"
            )


def read_minari(folder: Path) -> tuple[Any, Iterator[tuple[Episodes, dict[str, np.ndarray]]]]:
    """Return a Minari data set's storage, with its spaces, and an iterator over its episodes in parts.

    Each part comes as episodes with observations as arrays, and the ``infos`` of their rows.

    Raises:
        DamagedDataError: when an episode cannot be read, or does not end where it should.
    """
    minari()
    from minari.dataset.minari_storage import MinariStorage

    try:
        storage: Any = MinariStorage.read(folder / "data")
        total = int(storage.total_episodes)
    except ImportError:
        raise
    except Exception as error:  # whatever a damaged description makes Minari's parser raise
        raise DamagedDataError(f"{folder} is no readable Minari data set ({error})") from error
    return storage, _parts(folder, storage, total)


def _parts(folder: Path, storage: Any, total: int) -> Iterator[tuple[Episodes, dict[str, np.ndarray]]]:
    read = _read_arrow if storage.FORMAT == "arrow" and not storage.jpeg_encoding else _read_by_minari
    episodes: list[Mapping[str, Any]] = []
    steps = 0
    for number in range(total):
        try:
            episodes.append(read(folder, storage, number))
        except Exception as error:  # arrow's, HDF5's and Minari's errors have no common parent
            raise DamagedDataError(f"{folder}: episode {number} cannot be read ({error})") from error
        steps += len(episodes[-1]["rewards"])
        if number + 1 == total or steps >= _READ_STEPS:
            try:
                yield _joined(storage, episodes)
            except ValueError as error:
                raise DamagedDataError(f"{folder}: episodes up to {number} are no whole episodes ({error})") from error
            episodes, steps = [], 0


def _joined(storage: Any, episodes: list[Mapping[str, Any]]) -> tuple[Episodes, dict[str, np.ndarray]]:
    """Return episodes as Minari gives them as one part, and the infos that all have."""
    shared = set.intersection(*(set(raw["infos"] or {}) for raw in episodes))
    infos = {key: np.concatenate([raw["infos"][key] for raw in episodes]) for key in sorted(shared)}
    observations = _concatenated(storage.observation_space, [raw["observations"] for raw in episodes])
    length = np.array([len(raw["rewards"]) for raw in episodes], dtype=np.int64)
    terminated, truncated, rewards = (
        np.concatenate([raw[key] for raw in episodes]) for key in ("terminations", "truncations", "rewards")
    )
    # Minari cuts what it collects at the last step, and some tools do not say so.
    last = np.cumsum(length) - 1
    truncated[last] |= ~terminated[last]
    first = last + 1 - length + np.arange(len(length))
    of_episodes = {k.removeprefix(_OF_EPISODE): v[first] for k, v in infos.items() if k.startswith(_OF_EPISODE)}
    part = Episodes(
        observations if isinstance(observations, dict) else {"": observations},
        _concatenated(storage.action_space, [_exact(storage.action_space, raw["actions"]) for raw in episodes]),
        rewards.astype(np.float64),
        terminated,
        truncated,
        {"length": length, **of_episodes},
    )
    return part, infos


def _exact(space: gym.Space, actions: Any) -> Any:
    """Return actions, or raise ``ValueError`` where those of a finite space are no integers."""
    array = np.asarray(actions)
    if isinstance(space, gym.spaces.Discrete) and array.dtype.kind not in "biu" and not (array == np.rint(array)).all():
        raise ValueError(f"actions of {space} must be integers, got {array.ravel()[:3]}")
    return actions


def _concatenated(space: gym.Space, values: list[Any]) -> Any:
    if isinstance(space, gym.spaces.Dict):
        return {key: _concatenated(part, [value[key] for value in values]) for key, part in space.items()}
    return np.concatenate([batch_of(space, value) for value in values])


def _read_by_minari(folder: Path, storage: Any, number: int) -> Mapping[str, Any]:
    raw = next(iter(storage.get_episodes([number])))
    infos = {k: v for k, v in (raw["infos"] or {}).items() if isinstance(v, np.ndarray)}
    flags = {key: np.array(raw[key], dtype=bool) for key in ("terminations", "truncations")}
    return {**raw, **flags, "rewards": np.asarray(raw["rewards"]), "infos": infos}


def _read_arrow(folder: Path, storage: Any, number: int) -> Mapping[str, Any]:
    """Return what Minari would, of its arrow files without JPEG, ten times as fast."""
    import pyarrow as pa

    (path,) = (folder / "data" / str(number)).glob("*.arrow")
    with pa.ipc.open_file(read_file(path)) as file:
        (batch,) = (file.get_batch(i) for i in range(file.num_record_batches))
    steps = batch.num_rows - 1
    infos: dict[str, np.ndarray] = {}
    if "infos" in batch.schema.names:
        kept = batch.column("infos")
        for i, field in enumerate(kept.type):
            if pa.types.is_struct(field.type) or pa.types.is_nested(field.type) != bool(
                (field.metadata or {}).get(b"shape")
            ):
                continue  # nested infos, and lists of no fixed shape: no data of ours
            shape = [int(n) for n in (field.metadata or {}).get(b"shape", b"").split(b",") if n]
            infos[field.name] = _numpy(kept.field(i)).reshape(steps + 1, *shape)
    return {
        "observations": _decoded(storage.observation_space, batch.column("observations")),
        "actions": _decoded(storage.action_space, batch.column("actions").slice(0, steps)),
        "rewards": _numpy(batch.column("rewards"))[:steps],
        "terminations": _numpy(batch.column("terminations"))[:steps].astype(bool),
        "truncations": _numpy(batch.column("truncations"))[:steps].astype(bool),
        "infos": infos,
    }


def _decoded(space: gym.Space, array: Any) -> Any:
    if isinstance(space, gym.spaces.Dict):
        return {key: _decoded(part, array.field(key)) for key, part in space.items()}
    return _numpy(array).reshape(len(array), *(space.shape or ()))


def _numpy(array: Any) -> np.ndarray:
    """Return the numbers of an arrow array of numbers or of lists of fixed length."""
    import pyarrow as pa

    flat = array.flatten() if pa.types.is_fixed_size_list(array.type) else array
    return flat.to_numpy(zero_copy_only=False)


def split_infos(episodes: Episodes, infos: Mapping[str, np.ndarray]) -> Episodes:
    """Return episodes with the columns of their form, which ``infos`` hold, in place of observations."""
    own = {k.removeprefix(_OF_OBSERVATION): v for k, v in infos.items() if k.startswith(_OF_OBSERVATION)}
    return dataclasses.replace(episodes, observations=own)


def _remove_episode(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def _encoded(space: gym.Space, values: Any) -> Any:
    import pyarrow as pa

    if isinstance(space, gym.spaces.Dict):
        parts = {key: _encoded(part, values[key]) for key, part in space.items()}
        return pa.StructArray.from_arrays(list(parts.values()), names=list(parts))
    return _numbers(np.asarray(values, dtype=space.dtype))


def _numbers(values: np.ndarray) -> Any:
    """Return an arrow array of numbers, or of lists of fixed length."""
    import pyarrow as pa

    if values.ndim == 1:
        return pa.array(values)
    flat = np.ascontiguousarray(values).reshape(len(values), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])

"""Agents in any language: a process that reads JSON lines from its standard input and answers on its standard output.

The first line is ``{"protocol": 1}``, and the answer says what the agent can do: ``{"can": ["predict"]}``. Then lines
ask one thing each, and every answer is one line:

* ``{"ask": "predict", "observation": ..., "episode_start": [...], "deterministic": true}`` -> ``{"action": ...}``
* ``{"ask": "embed", "observation": ...}`` -> ``{"embedding": ...}``
* ``{"error": "text"}`` answers what it cannot do.

Arrays are sent as ``{"dtype": "uint8", "shape": [2, 60, 60, 2], "data": "base64 of little-endian bytes, C order"}``,
dictionaries of them as objects; answers may use that or nested lists. What the agent remembers it keeps itself, one
memory for each row, and forgets it where ``episode_start`` is true.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import os
import shlex
import signal
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.names import shortened
from bisimgym.benchmarks.running.reading import parse_json

PROTOCOL = 1
#: Seconds for each answer, the start included; and for a process to end by itself before it is killed.
ANSWER_SECONDS, END_SECONDS = 60.0, 2.0
#: Most bytes of an answer.
ANSWER_BYTES = 64 * 2**20
_DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64")
_running: weakref.WeakSet[ProcessAgent] = weakref.WeakSet()


def encode(value: Any) -> Any:
    """Return an array, or a dictionary of arrays, as JSON."""
    if isinstance(value, Mapping):
        return {str(name): encode(item) for name, item in value.items()}
    array = np.asarray(value)
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "data": base64.b64encode(little.tobytes()).decode("ascii"),
    }


def decode(value: Any) -> np.ndarray:
    """Return the array that an answer holds.

    Raises:
        ValueError: for what is neither an encoded array nor nested lists of numbers.
    """
    if isinstance(value, dict):
        dtype, shape = value.get("dtype"), value.get("shape")
        if set(value) != {"dtype", "shape", "data"} or dtype not in _DTYPES or not isinstance(value["data"], str):
            raise ValueError(f"an array has dtype ({', '.join(_DTYPES)}), shape and data, got {shortened(value)}")
        if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f"the shape of an array is a list of sizes, got {shortened(shape)}")
        data = base64.b64decode(value["data"], validate=True)
        kind = np.dtype(dtype).newbyteorder("<")
        if len(data) != math.prod(shape) * kind.itemsize:
            raise ValueError(f"data has {len(data)} bytes, and {dtype} of shape {shape} has another number")
        return np.frombuffer(data, kind).reshape(shape).astype(np.dtype(dtype))
    array = np.asarray(value)  # ValueError for ragged lists
    if array.dtype.kind not in "bif":
        raise ValueError(f"an array of numbers is expected, got {shortened(value)}")
    return array


class ProcessAgent:
    """An agent that a process plays. It starts at once, and ends with :meth:`close` or when nobody holds the agent.

    Args:
        command: as one would type it; no shell interprets it.
        answer_seconds: that each answer may take.
        end_seconds: for the process to end by itself before it is killed.

    Raises:
        UserError: if it does not start, or does not answer as the protocol has it.
    """

    def __init__(self, command: str, answer_seconds: float = ANSWER_SECONDS, end_seconds: float = END_SECONDS):
        self.command = command
        self._seconds, self._end_seconds = answer_seconds, end_seconds
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        try:
            self._process = subprocess.Popen(
                shlex.split(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,  # a buffer would have a lock, which a thread that waits in a write would hold
                start_new_session=True,
            )
        except (OSError, ValueError, IndexError) as error:
            self._errors.close()
            raise UserError(f"agent exec:{command} does not start: {error}") from None
        assert self._process.stdout is not None
        self._answers = io.BufferedReader(self._process.stdout)  # type: ignore[type-var]
        self._end = weakref.finalize(self, _end, self._process, self._errors, end_seconds)
        _running.add(self)
        can = self._ask({"protocol": PROTOCOL}, "can")
        if not isinstance(can, list) or "predict" not in can or any(name not in ("predict", "embed") for name in can):
            self.close()
            raise UserError(f"agent exec:{command} must first answer {{'can': ['predict']}}, got {shortened(can)}")
        self._can = can

    def __getattr__(self, name: str) -> Any:
        if name == "embed" and name in self.__dict__.get("_can", ()):
            return self._embed
        raise AttributeError(f"{type(self).__name__} has no {name}")

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[np.ndarray, None]:
        """Return the actions; the process keeps what it remembers, so that there is no state."""
        first = next(iter(observation.values())) if isinstance(observation, Mapping) else observation
        start = np.ones(len(first), dtype=bool) if episode_start is None else np.asarray(episode_start, dtype=bool)
        question = {"observation": encode(observation), "episode_start": start.tolist(), "deterministic": deterministic}
        return self._array({"ask": "predict", **question}, "action"), None

    def _embed(self, observation: np.ndarray) -> np.ndarray:
        return self._array({"ask": "embed", "observation": encode(observation)}, "embedding")

    @property
    def ended(self) -> bool:
        """Whether the process has ended, or was ended, and answers no more."""
        return self._process.poll() is not None

    def close(self) -> None:
        """End the process and all that it has started, if it has not ended: first politely, then by a kill."""
        self._end()
        _running.discard(self)

    def _array(self, question: dict[str, Any], key: str) -> np.ndarray:
        try:
            return decode(self._ask(question, key))
        except ValueError as error:
            raise UserError(f"agent exec:{self.command} answered a wrong {key}: {error}") from None

    def _ask(self, question: dict[str, Any], key: str) -> Any:
        """Return what the answer holds under a key.

        Raises:
            UserError: if there is no such answer in time; the process is ended then.
        """
        line = json.dumps(question, allow_nan=False).encode() + b"\n"
        answers: list[bytes] = []

        def exchange() -> None:
            assert self._process.stdin is not None
            with contextlib.suppress(OSError, ValueError):  # it has ended, or was ended meanwhile
                rest = memoryview(line)
                while rest:
                    rest = rest[self._process.stdin.write(rest) :]
                answers.append(self._answers.readline(ANSWER_BYTES + 1))

        thread = threading.Thread(target=exchange, daemon=True)
        thread.start()
        thread.join(self._seconds)
        if thread.is_alive():
            raise self._failed(f"took longer than {self._seconds:g} seconds for one answer")
        answer = answers[0] if answers else b""
        if not answer:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self._end_seconds)
            raise self._failed(f"ended (exit code {self._process.poll()}) and did not answer")
        if len(answer) > ANSWER_BYTES:
            raise self._failed(f"answered more than {ANSWER_BYTES} bytes")
        try:
            value = parse_json(answer.decode("utf-8"))
        except ValueError as error:
            raise self._failed(f"answered what is no line of JSON ({error}): {shortened(answer[:60])}") from None
        if "error" in value:  # it may do better with another question
            raise UserError(f"agent exec:{self.command} says: {shortened(value['error'], 200)}")
        if key not in value:
            raise self._failed(f"answered without {key!r}")
        return value[key]

    def _failed(self, why: str) -> UserError:
        with contextlib.suppress(OSError, ValueError):
            self._errors.seek(max(os.fstat(self._errors.fileno()).st_size - 4000, 0))
            written = self._errors.read().decode("utf-8", "replace").strip().splitlines()
            why += f"; the last that it wrote to its standard error: {written[-1][:200]}" if written else ""
        self.close()
        return UserError(f"agent exec:{self.command} {why}")


def end_all() -> None:
    """End the processes of all agents: for a process that is about to leave without cleaning up."""
    for agent in list(_running):
        agent.close()


def _end(process: subprocess.Popen, errors: IO[bytes], seconds: float) -> None:
    """End a process and its group: its input ends, then SIGTERM, then SIGKILL for whatever is left."""
    with contextlib.suppress(OSError):
        assert process.stdin is not None
        process.stdin.close()
    for name in ("SIGTERM", "SIGKILL"):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        _signal_group(process, name)
    process.wait()
    errors.close()


def _signal_group(process: subprocess.Popen, name: str) -> None:
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, getattr(signal, name))
        else:  # Windows has no groups of processes
            process.kill()

"""Vector environments whose sub-environments live in worker processes.

Gymnasium's :class:`~gymnasium.vector.AsyncVectorEnv` gives each sub-environment a process of its own.
:class:`WorkerVectorEnv` gives each process several of them, as many processes as there are cores to run on; what it
returns equals :class:`~gymnasium.vector.SyncVectorEnv` over the same sub-environments, infos included, in every
autoreset mode. Observations, rewards and ends are written by the workers straight into memory that all processes
share; pipes carry actions and infos. A worker that fails or dies is an error that tells why, and never a hang.
"""

from __future__ import annotations

import contextlib
import copy
import faulthandler
import itertools
import math
import mmap
import multiprocessing
import os
import pickle
import shutil
import signal
import tempfile
import time
import traceback
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.reduction import ForkingPickler
from typing import Any, TextIO

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import CloudpickleWrapper, batch_space, clear_mpi_env_vars, concatenate, iterate

from bisimgym.envs.batched_vector import _autoreset_mode, _reset_mask

#: What a caller does wrong: raised in the parent as what it is, and the workers live on.
_USAGE_ERRORS = (ValueError, TypeError, gym.error.Error)
#: Commands that leave episodes alone: whatever they raise, the workers live on.
_SIDE_COMMANDS = ("call", "set_attr", "pickled")
#: Methods that ``call`` must not run behind the vector environment's back.
_NOT_CALLABLE = ("reset", "step", "close")
#: Attributes that mean something to one process only.
_OF_THE_PROCESS = ("_workers", "_finalizer", "_memory", "_board", "closed")
#: Seconds that idle workers get to close their sub-environments, and that a terminated one gets to end.
_CLOSE_S, _TERMINATE_S = 5.0, 1.0
#: Seconds between looks at whether workers live, where nothing comes from them.
_LOOK_S = 0.5


class WorkerError(RuntimeError):
    """A worker process failed or died. The message says which and how, with the traceback of the worker."""


class WorkerVectorEnv(VectorEnv):
    """N sub-environments, stepped by worker processes with several of them each.

    Sub-environment i of ``reset(seed=s)`` equals a single environment reset with ``seed=s + i``. ``infos`` follow
    Gymnasium: arrays with a mask under ``_name``; with ``SAME_STEP`` autoreset the last observations are in
    ``infos["final_obs"]`` (an object array) and the last infos in ``infos["final_info"]``. Returned observations are
    copies, which later steps leave alone.

    Errors that a sub-environment raises for wrong input (``ValueError``, ``TypeError``, Gymnasium's own) are raised
    here as they are, caused by a :class:`WorkerError` with the worker's traceback; after one from ``step`` or
    ``reset``, all sub-environments have to be reset. Any other exception, and the death of a worker, is a
    :class:`WorkerError`, and the vector environment closes.

    Pickling (and copying) takes the sub-environments along in their present state, if they can be pickled: the twin
    has workers of its own.

    Workers that are forked inherit what the parent has made: where the parent itself renders on a GPU or runs threads,
    start them with ``"spawn"``. That and ``"forkserver"`` import the main module of a script: keep what it runs under
    ``if __name__ == "__main__":``.

    Args:
        make_env: makes one sub-environment; pickled with cloudpickle and called in the workers only.
        num_envs: number N of sub-environments.
        num_workers: number of processes, 1 to N. The default is one per usable core, and N at most.
        render_mode: None or ``"rgb_array"``: that of the environments that ``make_env`` makes.
        autoreset_mode: one of :class:`gymnasium.vector.AutoresetMode` or its value.
        context: how processes start: ``"fork"``, ``"spawn"``, ``"forkserver"`` or None for the platform's default.

    Raises:
        ValueError: an argument is out of range, or the sub-environments differ in their spaces, or the observation
            space has no fixed size (it must be made of ``Box``, ``Discrete``, ``MultiDiscrete``, ``MultiBinary``,
            ``Dict`` and ``Tuple``).
        WorkerError: a sub-environment cannot be made.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}
    #: True until the workers run, so that a failed construction leaves nothing to close.
    closed = True

    def __init__(
        self,
        make_env: Callable[[], gym.Env],
        num_envs: int = 1,
        num_workers: int | None = None,
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
        context: str | None = None,
    ):
        if not isinstance(num_envs, (int, np.integer)) or num_envs < 1:
            raise ValueError(f"num_envs must be an integer of at least 1, got {num_envs!r}")
        if num_workers is None:
            num_workers = min(num_envs, _usable_cores())
        if not isinstance(num_workers, (int, np.integer)) or not 1 <= num_workers <= num_envs:
            raise ValueError(f"num_workers must be None or an integer in 1..num_envs={num_envs}, got {num_workers!r}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode of a vector environment must be None or 'rgb_array', got {render_mode!r}")
        known = multiprocessing.get_all_start_methods()
        if context is not None and context not in known:
            raise ValueError(f"context must be None or one of {known}, got {context!r}")
        self.num_envs = int(num_envs)
        self.num_workers = int(num_workers)
        self.render_mode = render_mode
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        self._context = context
        # Whether all sub-environments are in an episode that step() can go on with, or that has ended.
        self._started = False
        self._start_workers("make", [CloudpickleWrapper(make_env)] * self.num_workers)

    @property
    def np_random_seed(self) -> tuple[int, ...]:
        return self.get_attr("np_random_seed")

    @property
    def np_random(self) -> tuple[np.random.Generator, ...]:
        """Copies of the sub-environments' generators."""
        return self.get_attr("np_random")

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: Mapping[str, Any] | None = None,
    ):
        """Start new episodes.

        Args:
            seed: one int (sub-environment i gets ``seed + i``) or one per sub-environment.
            options: the sub-environments' options (a value for all, or a sequence with one for each), and
                ``reset_mask``, ``bool[N]``: which sub-environments to reset (the rest go on).
        """
        options = None if options is None else dict(options)
        mask = _reset_mask(options.pop("reset_mask", None) if options else None, self.num_envs)
        if not self._started and not mask.all():
            raise gym.error.ResetNeeded("the first reset() must reset every sub-environment: leave out 'reset_mask'")
        seeds = _seeds(seed, self.num_envs)
        options_of = _options_of_each(options, self.num_envs)
        resets = [[(i, seeds[i], options_of[i]) for i in rows if mask[i]] for rows in self._workers.slices]
        infos = self._run_episodes("reset", [(of_worker,) if of_worker else None for of_worker in resets])
        return copy.deepcopy(self._board.observations), infos

    def step(self, actions):
        self._require_reset("step")
        ended = self._board.terminated | self._board.truncated
        if self.autoreset_mode is AutoresetMode.DISABLED and ended.any():
            raise gym.error.ResetNeeded(
                f"episodes of sub-environments {np.flatnonzero(ended).tolist()} have ended and autoreset is "
                "disabled: call reset(options={'reset_mask': ...}) first"
            )
        each = list(iterate(self.action_space, actions))
        if len(each) != self.num_envs:
            raise ValueError(f"actions must hold one for each of {self.num_envs} sub-environments, got {len(each)}")
        infos = self._run_episodes("step", [(each[rows.start : rows.stop],) for rows in self._workers.slices])
        board = copy.deepcopy(self._board)
        return board.observations, board.rewards, board.terminated, board.truncated, infos

    def render(self) -> tuple[Any, ...] | None:
        if self.render_mode is None:
            gym.logger.warn("render() does nothing without a render mode: make the environment with render_mode=...")
            return None
        self._require_reset("render")
        return self._of_each("render")

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Return what a method of each sub-environment returns, or its attribute of that name."""
        if name in _NOT_CALLABLE:
            raise ValueError(f"call({name!r}) would leave the other sub-environments behind: use {name}()")
        return self._of_each("call", name, args, kwargs)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Return an attribute of each sub-environment."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute: a list or tuple holds one value per sub-environment, anything else is meant for all."""
        if not isinstance(values, (list, tuple)):
            values = [values] * self.num_envs
        if len(values) != self.num_envs:
            raise ValueError(f"values must be one value or a list of {self.num_envs} values, got {len(values)}")
        self._exchange("set_attr", [(name, values[rows.start : rows.stop]) for rows in self._workers.slices])

    def close_extras(self) -> None:
        self._finalizer()

    def _start_workers(self, command: str, sources: Sequence[Any]) -> None:
        """Start the workers, have each make or restore its sub-environments, and take over what these are like."""
        self._workers = _Workers(_slices(self.num_envs, self.num_workers), self.autoreset_mode, self._context)
        self._finalizer = weakref.finalize(self, self._workers.close)
        self.closed = False
        try:
            first, *others = self._exchange(command, [(source,) for source in sources])
            for other in others:
                _check_same_spaces(first, other)
            if first.render_mode != self.render_mode:
                raise ValueError(
                    f"make_env makes environments with render_mode={first.render_mode!r}, which must equal the vector "
                    f"environment's render_mode={self.render_mode!r}"
                )
            self.metadata = {**first.metadata, **type(self).metadata, "autoreset_mode": self.autoreset_mode}
            self.single_observation_space = first.observation_space
            self.single_action_space = first.action_space
            self.observation_space = batch_space(first.observation_space, self.num_envs)
            self.action_space = batch_space(first.action_space, self.num_envs)
            path = _shared_file(_lay_out(first.observation_space, self.num_envs, None)[1])
            try:
                self._memory = _mapped(path)
                self._board, _ = _lay_out(first.observation_space, self.num_envs, self._memory)
                self._exchange("attach", [(path, self.num_envs)] * self.num_workers)
            finally:
                _unlink(path)  # the mappings stay, and nothing is left behind however the processes end
        except BaseException:
            self.close()
            raise

    def _run_episodes(self, command: str, arguments: Sequence[tuple | None]) -> dict[str, Any]:
        """Have workers reset or step, and return the infos of all, put together as Gymnasium does."""
        self._require_open()
        # A failure leaves some sub-environments further than others: only a full reset makes sense of them.
        self._started = False
        replies = self._exchange(command, arguments)
        self._started = True
        infos: dict[str, Any] = {}
        for of_worker in replies:
            for row, info in of_worker or ():
                infos = self._add_info(infos, info, row)
        return infos

    def _of_each(self, command: str, *arguments: Any) -> tuple[Any, ...]:
        replies = self._exchange(command, [arguments] * self.num_workers)
        return tuple(result for of_worker in replies for result in of_worker)

    def _exchange(self, command: str, arguments: Sequence[tuple | None]) -> list[Any]:
        self._require_open()
        try:
            return self._workers.exchange(command, arguments)
        finally:
            if self._workers.closed:
                self.close()

    def _require_open(self) -> None:
        if self.closed:
            raise gym.error.ClosedEnvironmentError("the vector environment is closed: make a new one")

    def _require_reset(self, what: str) -> None:
        self._require_open()
        if not self._started:
            raise gym.error.ResetNeeded(f"call reset() before {what}()")

    def __getstate__(self) -> tuple[dict[str, Any], list[bytes], bytes]:
        sub_environments = self._exchange("pickled", [()] * self.num_workers)
        attributes = {key: value for key, value in self.__dict__.items() if key not in _OF_THE_PROCESS}
        return attributes, sub_environments, self._memory[:]

    def __setstate__(self, state: tuple[dict[str, Any], list[bytes], bytes]) -> None:
        attributes, sub_environments, memory = state
        self.__dict__.update(attributes)
        self._start_workers("restore", sub_environments)
        self._memory[:] = memory
        # Once more, for the spaces: _start_workers has made fresh ones, these have their generators' states.
        self.__dict__.update(attributes)


@dataclass(frozen=True)
class _Board:
    """What steps write: arrays with leading axis N, in memory that all processes share."""

    #: An array, or dictionaries and tuples of arrays, as the observation space has it.
    observations: Any
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


@dataclass(frozen=True)
class _Traits:
    """What the environments of a worker have in common."""

    observation_space: gym.Space
    action_space: gym.Space
    metadata: dict[str, Any]
    render_mode: str | None


@dataclass(frozen=True)
class _Failure:
    """An exception on its way from a worker to the parent."""

    summary: str
    traceback: str
    #: The pickled exception; None where it cannot be pickled and restored.
    exception: bytes | None

    @classmethod
    def of(cls, error: BaseException) -> _Failure:
        summary = "".join(traceback.format_exception_only(error)).strip()
        try:
            exception = pickle.dumps(error)
            pickle.loads(exception)
        except Exception:
            exception = None
        return cls(summary, "".join(traceback.format_exception(error)), exception)

    def original(self) -> BaseException | None:
        """Return the exception, or None where this process does not know its class."""
        try:
            return None if self.exception is None else pickle.loads(self.exception)
        except Exception:
            return None


@dataclass(frozen=True)
class _Worker:
    index: int
    rows: range
    process: multiprocessing.Process
    pipe: connection.Connection
    #: Where the interpreter of the worker writes the traceback of a crash.
    crash_log: TextIO

    def __str__(self) -> str:
        rows = f"{self.rows[0]}" if len(self.rows) == 1 else f"{self.rows[0]} to {self.rows[-1]}"
        return f"worker {self.index} (sub-environments {rows})"

    def failed(self, command: str, failure: _Failure) -> WorkerError:
        text = f"{self} failed in {command!r}: {failure.summary}\n\nIn the worker:\n{failure.traceback}"
        return WorkerError(text.rstrip())

    def died(self, command: str) -> WorkerError:
        if self.process.is_alive():  # its pipe closes shortly before it ends
            self.process.join(_TERMINATE_S)
        code = self.process.exitcode
        if code is None:
            how = "closed its pipe"
        elif code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        else:
            how = f"ended with exit code {code}"
        self.crash_log.seek(0)
        trace = self.crash_log.read().strip()
        return WorkerError(f"{self} {how} in {command!r}" + (f"\n\nIn the worker:\n{trace}" if trace else ""))


class _Workers:
    """The processes, and what passes through their pipes: a command with arguments each way, an answer back."""

    def __init__(self, slices: Sequence[range], autoreset_mode: AutoresetMode, method: str | None):
        self.slices = slices
        self.closed = False
        self._owner = os.getpid()
        self._workers: list[_Worker] = []
        context = multiprocessing.get_context(method)
        try:
            with clear_mpi_env_vars(), _interrupts_held():
                for rows in slices:
                    self._start(context, rows, autoreset_mode)
        except BaseException:
            self.close(grace=0.0)
            raise

    def _start(self, context: Any, rows: range, autoreset_mode: AutoresetMode) -> None:
        handle, path = tempfile.mkstemp(prefix=f"bisimgym-{os.getpid()}-crash-")
        os.close(handle)
        crash_log = open(path, errors="replace")  # noqa: SIM115 - close() closes it
        pipe, far_end = context.Pipe()
        # A forked process has copies of the parent's ends, which would keep it and the others from seeing them close.
        copies = [pipe, *(worker.pipe for worker in self._workers)] if context.get_start_method() == "fork" else []
        index = len(self._workers)
        process = context.Process(
            target=_work,
            args=(far_end, copies, path, rows, autoreset_mode),
            name=f"bisimgym-worker-{index}",
            daemon=True,
        )
        try:
            process.start()
        except BaseException:
            pipe.close()
            crash_log.close()
            _unlink(path)
            raise
        finally:
            far_end.close()
        self._workers.append(_Worker(index, rows, process, pipe, crash_log))

    def exchange(self, command: str, arguments: Sequence[tuple | None]) -> list[Any]:
        """Have each worker run a command, all at the same time.

        Args:
            command: a method of :class:`_SubEnvironments`.
            arguments: of each worker; None leaves a worker out.

        Returns:
            What each worker answers, None for those left out.

        Raises:
            WorkerError: a worker failed or died. All workers are ended then.
        """
        messages = [
            None if of_worker is None else ForkingPickler.dumps((command, of_worker)) for of_worker in arguments
        ]
        answers: dict[int, tuple[bool, Any]] = {}
        try:
            asked = [worker for worker, message in zip(self._workers, messages, strict=True) if message is not None]
            for worker in asked:
                try:
                    worker.pipe.send_bytes(messages[worker.index])
                except OSError:
                    raise worker.died(command) from None
            while waiting := [worker for worker in asked if worker.index not in answers]:
                answers.update(_answers(waiting, command))
        except BaseException:
            self.close(grace=0.0)
            raise
        for worker in asked:
            succeeded, failure = answers[worker.index]
            if not succeeded:
                self._raise(worker, command, failure)
        return [answers[worker.index][1] if worker.index in answers else None for worker in self._workers]

    def _raise(self, worker: _Worker, command: str, failure: _Failure) -> None:
        error = worker.failed(command, failure)
        original = failure.original()
        if isinstance(original, Exception if command in _SIDE_COMMANDS else _USAGE_ERRORS):
            raise original from error
        self.close(grace=0.0)
        raise error

    def close(self, grace: float = _CLOSE_S) -> None:
        """End the workers: idle ones close their sub-environments within ``grace`` seconds, others are terminated."""
        # Forked processes hold copies of this object, which may be collected there: they own no worker.
        if self.closed or os.getpid() != self._owner:
            return
        self.closed = True
        for worker in self._workers:
            if grace:
                with contextlib.suppress(OSError):
                    worker.pipe.send_bytes(b"")
            else:
                worker.process.terminate()
            worker.pipe.close()
        deadline = time.monotonic() + (grace or _TERMINATE_S)
        for worker in self._workers:
            if worker.process.is_alive():
                worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.process.close()
            worker.crash_log.close()
            _unlink(worker.crash_log.name)


def _answers(workers: Sequence[_Worker], command: str) -> dict[int, tuple[bool, Any]]:
    """Wait until a worker answers, and return the answers that are there by worker. Dead workers raise."""
    ready = connection.wait([e for worker in workers for e in (worker.pipe, worker.process.sentinel)], _LOOK_S)
    answers = {}
    for worker in workers:
        # Processes that a sub-environment forked may keep the pipe and the sentinel of a dead worker open.
        dead = worker.process.sentinel in ready or (not ready and not worker.process.is_alive())
        # What a worker sent before its end comes first.
        if worker.pipe in ready or (dead and worker.pipe.poll()):
            try:
                answers[worker.index] = pickle.loads(worker.pipe.recv_bytes())
            except (EOFError, OSError):
                raise worker.died(command) from None
        elif dead:
            raise worker.died(command)
    return answers


def _work(
    pipe: connection.Connection,
    copies: Sequence[connection.Connection],
    crash_log: str,
    rows: range,
    autoreset_mode: AutoresetMode,
) -> None:
    """Run commands until an empty message, or until the parent is gone: what a worker process does."""
    # Ctrl-C reaches the whole process group: the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):  # what _interrupts_held() holds back
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    for end in copies:
        end.close()
    faulthandler.enable(open(crash_log, "ab", buffering=0))  # noqa: SIM115 - open as long as the process lives
    _unlink(crash_log)
    with contextlib.closing(_SubEnvironments(rows, autoreset_mode)) as envs:
        while True:
            try:
                message = pipe.recv_bytes()
            except (EOFError, OSError):
                return
            if not message:
                return
            answer = _answer(envs, message)
            try:
                pipe.send_bytes(answer)
            except OSError:
                return


def _answer(envs: _SubEnvironments, message: bytes) -> Any:
    """Run a command and return its pickled answer."""
    try:
        command, arguments = pickle.loads(message)
        return ForkingPickler.dumps((True, getattr(envs, command)(*arguments)))
    except BaseException as error:  # sys.exit() in a sub-environment ends no worker without a word
        return ForkingPickler.dumps((False, _Failure.of(error)))


class _SubEnvironments:
    """The sub-environments of one worker. The parent calls the public methods by name, through the pipe."""

    def __init__(self, rows: range, autoreset_mode: AutoresetMode):
        self._rows = rows
        self._autoreset_mode = autoreset_mode
        self._envs: dict[int, gym.Env] = {}
        self._closing = contextlib.ExitStack()

    def make(self, make_env: Callable[[], gym.Env]) -> _Traits:
        return self._adopt(make_env() for _ in self._rows)

    def restore(self, envs: bytes) -> _Traits:
        return self._adopt(iter(pickle.loads(envs)))

    def _adopt(self, envs: Iterator[gym.Env]) -> _Traits:
        all_traits = []
        for row, env in zip(self._rows, envs, strict=True):
            self._envs[row] = env
            self._closing.callback(env.close)
            traits = _Traits(env.observation_space, env.action_space, dict(env.metadata), env.render_mode)
            all_traits.append(traits)
            _check_same_spaces(all_traits[0], traits)
        return all_traits[0]

    def attach(self, path: str, num_envs: int) -> None:
        """Take the memory to write to."""
        self._space = self._envs[self._rows[0]].observation_space
        self._board, _ = _lay_out(self._space, num_envs, _mapped(path))
        self._places = {row: _row(self._board.observations, row) for row in self._rows}

    def reset(self, resets: Sequence[tuple[int, int | None, dict[str, Any] | None]]) -> list[tuple[int, dict]]:
        """Start new episodes of some rows, each with a seed and options. Return rows with infos."""
        infos = []
        for row, seed, options in resets:
            observation, info = self._envs[row].reset(seed=seed, options=options)
            self._write(row, observation, 0.0, False, False)
            if info:
                infos.append((row, info))
        return infos

    def step(self, actions: Sequence[Any]) -> list[tuple[int, dict]]:
        """Step all rows. Return rows with infos, in the order in which they add up to those of the vector."""
        infos = []
        for (row, env), action in zip(self._envs.items(), actions, strict=True):
            waiting = self._board.terminated[row] or self._board.truncated[row]
            if waiting and self._autoreset_mode is AutoresetMode.NEXT_STEP:
                observation, info = env.reset()
                reward, terminated, truncated = 0.0, False, False
            else:
                observation, reward, terminated, truncated, info = env.step(action)
                if (terminated or truncated) and self._autoreset_mode is AutoresetMode.SAME_STEP:
                    infos.append((row, {"final_obs": observation, "final_info": info}))
                    observation, info = env.reset()
            self._write(row, observation, reward, terminated, truncated)
            if info:
                infos.append((row, info))
        return infos

    def render(self) -> list[Any]:
        return [env.render() for env in self._envs.values()]

    def call(self, name: str, args: tuple, kwargs: dict[str, Any]) -> list[Any]:
        attributes = [env.get_wrapper_attr(name) for env in self._envs.values()]
        return [attribute(*args, **kwargs) if callable(attribute) else attribute for attribute in attributes]

    def set_attr(self, name: str, values: Sequence[Any]) -> None:
        for env, value in zip(self._envs.values(), values, strict=True):
            env.set_wrapper_attr(name, value)

    def pickled(self) -> bytes:
        import cloudpickle

        return cloudpickle.dumps(list(self._envs.values()))

    def close(self) -> None:
        self._closing.close()

    def _write(self, row: int, observation: Any, reward: float, terminated: bool, truncated: bool) -> None:
        concatenate(self._space, [observation], self._places[row])
        self._board.rewards[row] = reward
        self._board.terminated[row] = terminated
        self._board.truncated[row] = truncated


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _slices(num_envs: int, num_workers: int) -> list[range]:
    """Return each worker's sub-environments: consecutive, and as even as can be."""
    bounds = [num_envs * worker // num_workers for worker in range(num_workers + 1)]
    return [range(start, stop) for start, stop in itertools.pairwise(bounds)]


def _seeds(seed: int | Sequence[int | None] | None, num_envs: int) -> list[int | None]:
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, (int, np.integer)):
        return [int(seed) + i for i in range(num_envs)]
    if len(seed) != num_envs:
        raise ValueError(f"seed must be an int or have one entry per sub-environment ({num_envs}), got {seed}")
    return [None if one is None else int(one) for one in seed]


def _options_of_each(options: Mapping[str, Any] | None, num_envs: int) -> list[dict[str, Any] | None]:
    """Return each sub-environment's options: a single value is meant for all, a sequence holds one value each."""
    if options is None:
        return [None] * num_envs
    for key, value in options.items():
        if np.ndim(value) != 0 and len(value) != num_envs:
            raise ValueError(f"options[{key!r}] must be one value or {num_envs} values, got {len(value)}")
    return [
        {key: value if np.ndim(value) == 0 else _plain(value[i]) for key, value in options.items()}
        for i in range(num_envs)
    ]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _check_same_spaces(one: _Traits, other: _Traits) -> None:
    for name in ("observation_space", "action_space"):
        a, b = getattr(one, name), getattr(other, name)
        if a != b:
            raise ValueError(f"make_env must make environments with the same {name} each time, got {a} and {b}")


def _lay_out(space: gym.Space, num_envs: int, buffer: mmap.mmap | None) -> tuple[_Board, int]:
    """Return a board in ``buffer`` (None: in memory of its own) and the bytes that it takes."""
    size = 0

    def array(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        nonlocal size
        start = size
        size += -(-math.prod(shape) * np.dtype(dtype).itemsize // 64) * 64  # each begins a cache line
        return np.ndarray(shape, dtype) if buffer is None else np.ndarray(shape, dtype, buffer, start)

    def arrays(space: gym.Space) -> Any:
        if isinstance(space, spaces.Dict):
            return {key: arrays(subspace) for key, subspace in space.spaces.items()}
        if isinstance(space, spaces.Tuple):
            return tuple(arrays(subspace) for subspace in space.spaces)
        if isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
            return array((num_envs, *space.shape), space.dtype)
        raise ValueError(
            "the observation space must be made of Box, Discrete, MultiDiscrete, MultiBinary, Dict and Tuple, whose "
            f"size is fixed, got {space}"
        )

    board = _Board(arrays(space), array((num_envs,), np.float64), *(array((num_envs,), np.bool_) for _ in range(2)))
    return board, size


def _row(observations: Any, row: int) -> Any:
    """Return the place of one observation, with leading axis 1."""
    if isinstance(observations, dict):
        return {key: _row(value, row) for key, value in observations.items()}
    if isinstance(observations, tuple):
        return tuple(_row(value, row) for value in observations)
    return observations[row : row + 1]


def _shared_file(size: int) -> str:
    """Make a file of ``size`` zero bytes for processes to map, in main memory where a file system offers that.

    A file, as memory from :mod:`multiprocessing` has to be there before the processes are, which know its size.
    """
    memory = "/dev/shm"
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > size
    handle, path = tempfile.mkstemp(prefix=f"bisimgym-{os.getpid()}-", dir=memory if roomy else None)
    try:
        os.ftruncate(handle, size)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, size)  # too little room is an error now, not a SIGBUS later
    except BaseException:
        _unlink(path)
        raise
    finally:
        os.close(handle)
    return path


def _mapped(path: str) -> mmap.mmap:
    with open(path, "r+b") as file:
        return mmap.mmap(file.fileno(), 0)


def _unlink(path: str) -> None:
    # Windows keeps files that are open: its temporary folder is for the system to clear.
    with contextlib.suppress(FileNotFoundError, PermissionError):
        os.unlink(path)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back until processes that start meanwhile, and inherit this, have come to ignore it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

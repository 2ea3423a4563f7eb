"""Vector environments of worker processes: equal to Gymnasium's, and no failure is a hang."""

import copy
import ctypes
import functools
import gc
import glob
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from multiprocessing import connection

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from bisimgym.envs.worker_vector import WorkerError, WorkerVectorEnv

MODES = list(AutoresetMode)
BOX = spaces.Box(0, 255, (9, 84, 84), np.uint8)
NESTED = spaces.Dict(
    {
        "picture": spaces.Box(0, 255, (3, 8, 8), np.uint8),
        "state": spaces.Tuple(
            (spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(5), spaces.Box(-9, 9, (), np.float16))
        ),
    }
)
# Spawned workers cannot import this file by name.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Clock(gym.Env):
    """Random observations, episodes of 2 to 6 steps, and infos of every kind, some of them only at times."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 7}

    def __init__(self, space=BOX, render_mode=None):
        self.observation_space = copy.deepcopy(space)
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)
        self.render_mode = render_mode
        self.gain = 1.0

    def _observation(self):
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        return self.observation_space.sample()

    def _info(self):
        info = {"left": self.left, "nested": {"half": self.left / 2, "deep": {"vector": np.arange(3) * self.left}}}
        if self.left % 2:
            info["odd"] = f"{self.left} left"
            info["nested"]["odd"] = np.float32(self.left)
        return info

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        options = options or {}
        if "length" in options and not isinstance(options["length"], int):
            raise ValueError(f"length must be an int, got {options['length']!r}")
        self.left = options.get("length", int(self.np_random.integers(2, 7)))
        return self._observation(), {**self._info(), "name": options.get("name", "none")}

    def step(self, action):
        if not self.action_space.contains(action):
            raise ValueError(f"action {action!r} is not in {self.action_space}")
        self.left -= 1
        terminated = self.left <= 0 and self.np_random.random() < 0.5
        return self._observation(), float(action.sum() * self.gain), terminated, self.left <= 0, self._info()

    def render(self):
        return np.full((4, 4, 3), self.left, dtype=np.uint8)

    def double(self, number, plus=0):
        return 2 * number + self.left + plus

    def fails(self):
        raise KeyError("no such thing")


class Failing(Clock):
    """Runs ``failure`` in the first step of the sub-environment whose seed is ``seed``."""

    def __init__(self, seed, failure, **kwargs):
        super().__init__(**kwargs)
        self.seed, self.failure = seed, failure

    def reset(self, *, seed=None, options=None):
        self.fatal = seed == self.seed
        return super().reset(seed=seed, options=options)

    def step(self, action):
        if self.fatal:
            self.failure()
        return super().step(action)


class Unpicklable(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def raises(error):
    raise error


def sleeps():
    time.sleep(60)


class Counted(gym.Env):
    """Spaces that differ from one instance to the next."""

    made = 0

    def __init__(self):
        type(self).made += 1
        self.observation_space = spaces.Discrete(self.made)
        self.action_space = spaces.Discrete(2)


@pytest.fixture(autouse=True)
def _no_hang():
    """Fail a test that takes half a minute."""

    def out_of_time(*_):
        raise TimeoutError("the test hangs")

    before = signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def make():
    """Make vector environments that are closed when the test ends."""
    made = []

    def make_one(*args, **kwargs):
        made.append(WorkerVectorEnv(*args, **kwargs))
        return made[-1]

    yield make_one
    for envs in made:
        envs.close()


def assert_same(one, two, where=""):
    """Compare nested results exactly: types, dtypes, masks and values."""
    assert type(one) is type(two), where
    if isinstance(one, dict):
        assert list(one) == list(two), where
        for key in one:
            assert_same(one[key], two[key], f"{where}.{key}")
    elif isinstance(one, (tuple, list)) or (isinstance(one, np.ndarray) and one.dtype == object):
        for i, (a, b) in enumerate(zip(one, two, strict=True)):
            assert_same(a, b, f"{where}[{i}]")
    else:
        np.testing.assert_array_equal(one, two, where)
        if isinstance(one, np.ndarray):
            assert one.dtype == two.dtype, where


def pids(envs):
    return [worker.process.pid for worker in envs._workers._workers]


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def leftovers():
    """Return this process's files in the folders for temporary files and for shared memory."""
    folders = ("/dev/shm", tempfile.gettempdir())
    return {path for folder in folders for path in glob.glob(f"{folder}/bisimgym-{os.getpid()}-*")}


def wait_until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "took too long"
        time.sleep(0.01)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("space", "num_workers"), [(BOX, 2), (NESTED, 1), (NESTED, 2), (NESTED, 3)])
def test_equals_sync_vector_env_exactly(make, mode, space, num_workers):
    count = 5
    ours = make(functools.partial(Clock, space), count, num_workers, autoreset_mode=mode.value)
    theirs = SyncVectorEnv([functools.partial(Clock, space)] * count, autoreset_mode=mode)
    assert ours.metadata == {**theirs.metadata, "render_modes": ["rgb_array"]}
    for name in ("observation_space", "action_space", "single_observation_space", "single_action_space"):
        assert getattr(ours, name) == getattr(theirs, name)
    ours.action_space.seed(1)
    assert_same(ours.reset(seed=11), theirs.reset(seed=11))
    assert ours.np_random_seed == theirs.np_random_seed == (11, 12, 13, 14, 15)
    ended, endings = np.zeros(count, dtype=bool), 0
    for _ in range(20):
        if mode is AutoresetMode.DISABLED and ended.any():
            a, b = (envs.reset(options={"reset_mask": ended.copy()}) for envs in (ours, theirs))
            assert_same(a, b)
        action = ours.action_space.sample()
        a, b = ours.step(action), theirs.step(action)
        assert_same(a, b)
        ended = a[2] | a[3]
        endings += ended.sum()
    assert endings > count
    states = [[rng.bit_generator.state for rng in envs.np_random] for envs in (ours, theirs)]
    assert states[0] == states[1]


def test_seeds_and_reset_masks(make):
    ours, theirs = make(Clock, 3, 2), SyncVectorEnv([Clock] * 3)
    assert_same(ours.reset(seed=[5, 1, np.int64(7)]), theirs.reset(seed=[5, 1, 7]))
    mask = np.array([True, False, False])  # the second worker has nothing to do
    for options in ({"reset_mask": mask}, {"reset_mask": mask, "name": "new"}):
        assert_same(ours.reset(seed=[9, None, None], options=dict(options)), theirs.reset(seed=9, options=options))
    assert_same(ours.reset(seed=np.int64(3)), theirs.reset(seed=3))


def test_options_for_all_and_for_each(make):
    envs = make(Clock, 3, 2)
    _, infos = envs.reset(seed=0, options={"length": np.array([3, 5, 4]), "name": ["a", "b", "c"]})
    assert infos["left"].tolist() == [3, 5, 4]
    assert infos["name"].tolist() == ["a", "b", "c"]
    given = {"length": [7, 8, 9], "name": "all", "reset_mask": np.array([False, True, True])}
    _, infos = envs.reset(options=given)
    assert "reset_mask" in given
    assert infos["left"].tolist() == [0, 8, 9]
    assert infos["name"].tolist() == [None, "all", "all"]
    with pytest.raises(ValueError, match=r"options\['length'\] must be one value or 3 values, got 2"):
        envs.reset(options={"length": [1, 2]})


def test_returned_arrays_stay_as_they_are(make):
    envs = make(functools.partial(Clock, NESTED), 3, 2)
    first = envs.reset(seed=0)
    second = envs.step(envs.action_space.sample())
    kept = copy.deepcopy((first, second))
    for _ in range(5):
        envs.step(envs.action_space.sample())
    assert_same((first, second), kept)


def test_observations_do_not_pass_through_pipes(make, monkeypatch):
    received = []
    receive = connection.Connection.recv_bytes

    def count(self, *args):
        received.append(receive(self, *args))
        return received[-1]

    envs = make(Clock, 4, 2)
    monkeypatch.setattr(connection.Connection, "recv_bytes", count)
    envs.reset(seed=0, options={"length": 50})
    for _ in range(5):
        envs.step(envs.action_space.sample())
    assert len(received) == 2 * 6
    assert max(map(len, received)) < 2000 < BOX.sample().nbytes


def test_render_call_and_attributes(make):
    envs = make(functools.partial(Clock, render_mode="rgb_array"), 3, 2, render_mode="rgb_array")
    for use in (envs.render, lambda: envs.step(envs.action_space.sample())):
        with pytest.raises(gym.error.ResetNeeded, match="call reset\\(\\) before"):
            use()
    envs.reset(seed=0, options={"length": [3, 5, 4]})
    assert [frame.mean() for frame in envs.render()] == [3, 5, 4]
    assert envs.call("double", 10, plus=1) == (24, 26, 25)
    assert envs.get_attr("left") == (3, 5, 4)
    envs.set_attr("gain", 0.0)
    assert not envs.step(np.ones((3, 2), dtype=np.float32))[1].any()
    envs.set_attr("gain", [1.0, 2.0, 3.0])
    assert envs.step(np.ones((3, 2), dtype=np.float32))[1].tolist() == [2, 4, 6]
    with pytest.raises(ValueError, match="3 values, got 2"):
        envs.set_attr("gain", [1.0, 2.0])
    with pytest.raises(ValueError, match="use step\\(\\)"):
        envs.call("step", None)
    # What a call raises is raised here, and the episodes go on.
    with pytest.raises(AttributeError, match="surprise"):
        envs.get_attr("surprise")
    with pytest.raises(KeyError, match="no such thing") as caught:
        envs.call("fails")
    assert "in fails" in str(caught.value.__cause__)
    assert envs.step(np.ones((3, 2), dtype=np.float32))[1].tolist() == [2, 4, 6]


def test_render_without_a_mode_warns(make):
    envs = make(Clock)
    envs.reset(seed=0)
    with pytest.warns(UserWarning, match="render mode"):
        assert envs.render() is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0}, "num_envs must be an integer of at least 1, got 0"),
        ({"num_envs": 2.0}, "num_envs must be an integer of at least 1, got 2.0"),
        ({"num_envs": 2, "num_workers": 3}, r"num_workers must be None or an integer in 1..num_envs=2, got 3"),
        ({"num_envs": 2, "num_workers": 0}, r"num_workers must be .* got 0"),
        ({"render_mode": "human"}, "render_mode of a vector environment must be None or 'rgb_array', got 'human'"),
        ({"render_mode": "rgb_array"}, "make_env makes environments with render_mode=None"),
        ({"autoreset_mode": "Never"}, "autoreset_mode must be one of .*'Never'"),
        ({"context": "thread"}, "context must be None or one of .*'thread'"),
        ({"make_env": functools.partial(Clock, spaces.Text(5))}, "size is fixed, got Text"),
        ({"make_env": Counted, "num_envs": 2, "num_workers": 1}, "same observation_space each time"),
        ({"make_env": functools.partial(raises, ValueError("colour must be red"))}, "^colour must be red$"),
    ],
)
def test_wrong_arguments_are_value_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        WorkerVectorEnv(**{"make_env": Clock, **arguments})


def test_defaults():
    envs = WorkerVectorEnv(Clock, 3)
    assert envs.num_workers == min(3, len(os.sched_getaffinity(0)))
    assert envs.autoreset_mode is envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    envs.close()


def test_disabled_autoreset_refuses_to_step_an_ended_episode(make):
    envs = make(Clock, 3, 2, autoreset_mode="Disabled")
    with pytest.raises(gym.error.ResetNeeded, match="leave out 'reset_mask'"):
        envs.reset(options={"reset_mask": np.array([True, False, False])})
    envs.reset(seed=0, options={"length": [1, 9, 1]})
    envs.step(envs.action_space.sample())
    with pytest.raises(gym.error.ResetNeeded, match=r"\[0, 2\] have ended .*reset_mask"):
        envs.step(envs.action_space.sample())


@pytest.mark.parametrize("mask", [[True], np.zeros(3, bool), np.ones(3)])
def test_wrong_masks_are_value_errors(make, mask):
    envs = make(Clock, 3, 2)
    with pytest.raises(ValueError, match=r"options\['reset_mask'\] must be bool\[3\]"):
        envs.reset(options={"reset_mask": mask})


def test_wrong_input_is_the_sub_environments_own_error(make):
    envs = make(Clock, 3, 2)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=r"^action .* is not in Box") as caught:
        envs.step(np.array([[0, 0], [0, 0], [0, 5]], dtype=np.float32))
    cause = caught.value.__cause__
    assert isinstance(cause, WorkerError)
    assert str(cause).startswith("worker 1 (sub-environments 1 to 2) failed in 'step': ValueError: action ")
    assert "in the worker:" in str(cause).lower()
    assert "in step" in str(cause)
    # Some sub-environments have stepped and some have not: all start again.
    with pytest.raises(gym.error.ResetNeeded):
        envs.step(envs.action_space.sample())
    with pytest.raises(ValueError, match="length must be an int, got 'long'"):
        envs.reset(options={"length": "long"})
    assert_same(envs.reset(seed=4), SyncVectorEnv([Clock] * 3).reset(seed=4))
    with pytest.raises(ValueError, match="one for each of 3 sub-environments, got 2"):
        envs.step(np.zeros((2, 2), dtype=np.float32))
    with pytest.raises(ValueError, match="one entry per sub-environment \\(3\\)"):
        envs.reset(seed=[1, 2])


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (functools.partial(raises, ZeroDivisionError("by nothing")), "failed in 'step': ZeroDivisionError: by nothing"),
        (functools.partial(raises, RuntimeError("bad luck")), "failed in 'step': RuntimeError: bad luck"),
        (lambda: raises(Unpicklable("this", "that")), "failed in 'step': .*Unpicklable: this and that"),
        (sys.exit, "failed in 'step': SystemExit"),
        (functools.partial(os._exit, 7), "ended with exit code 7 in 'step'"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by SIGKILL in 'step'"),
        (functools.partial(ctypes.string_at, 0), "was killed by SIGSEGV in 'step'"),
    ],
)
def test_failures_and_deaths_in_a_step_are_worker_errors(make, failure, message):
    envs = make(functools.partial(Failing, 2, failure), 3, 2)
    envs.reset(seed=0)
    workers = pids(envs)
    began = time.monotonic()
    with pytest.raises(WorkerError, match=r"^worker 1 \(sub-environments 1 to 2\) " + message) as caught:
        envs.step(envs.action_space.sample())
    assert time.monotonic() - began < 20
    if "SIGKILL" not in message and "exit code" not in message:
        assert "self.failure()" in str(caught.value) or "in step" in str(caught.value)
    assert envs.closed
    assert not any(map(alive, workers))
    with pytest.raises(gym.error.ClosedEnvironmentError, match="is closed"):
        envs.step(envs.action_space.sample())
    with pytest.raises(gym.error.ClosedEnvironmentError, match="is closed"):
        envs.reset()


def test_the_death_of_a_worker_does_not_wait_for_the_others(make):
    """Sub-environment 0 sleeps for a minute while the worker of sub-environment 1 is killed."""
    envs = make(functools.partial(Failing, 0, sleeps), 2, 2)
    envs.reset(seed=0)
    victim = pids(envs)[1]
    os.kill(victim, signal.SIGSTOP)
    threading.Timer(0.2, os.kill, (victim, signal.SIGKILL)).start()
    began = time.monotonic()
    with pytest.raises(WorkerError, match=r"worker 1 \(sub-environments 1\) was killed by SIGKILL"):
        envs.step(envs.action_space.sample())
    assert time.monotonic() - began < 20


def test_a_death_shows_though_a_forked_process_holds_the_pipe(make):
    def fork_and_exit():
        if os.fork() == 0:
            time.sleep(12)
        os._exit(7)

    envs = make(functools.partial(Failing, 0, fork_and_exit), 2, 2)
    envs.reset(seed=0)
    began = time.monotonic()
    with pytest.raises(WorkerError, match="ended with exit code 7"):
        envs.step(envs.action_space.sample())
    assert time.monotonic() - began < 8


def test_a_worker_that_died_in_between_is_told_of(make):
    envs = make(Clock, 2, 2)
    envs.reset(seed=0)
    victim = envs._workers._workers[0].process
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    with pytest.raises(WorkerError, match="worker 0 .* was killed by SIGKILL"):
        envs.get_attr("left")


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (functools.partial(raises, OSError("no display")), "failed in 'make': OSError: no display"),
        (functools.partial(os._exit, 3), "ended with exit code 3 in 'make'"),
    ],
)
def test_failures_of_the_constructor_are_worker_errors(failure, message):
    with pytest.raises(WorkerError, match=message):
        WorkerVectorEnv(failure, 2, 2)


def test_closing_leaves_nothing(make, tmp_path):
    class Tidy(Clock):
        def close(self):
            (tmp_path / f"{os.getpid()}-{id(self)}").touch()

    envs = make(Tidy, 3, 2)
    assert leftovers() == set()  # nor would be if all were killed now
    workers = pids(envs)
    envs.reset(seed=0)
    began = time.monotonic()
    envs.close()
    envs.close()
    assert time.monotonic() - began < 4  # the time that workers are given is 5 s
    assert len(os.listdir(tmp_path)) == 3
    assert not any(map(alive, workers))
    with pytest.raises(WorkerError):
        WorkerVectorEnv(functools.partial(os._exit, 3), 2, 2)
    assert leftovers() == set()


def test_collection_of_garbage_closes():
    envs = WorkerVectorEnv(Clock, 3, 2)
    workers = pids(envs)
    envs.reset(seed=0)
    del envs
    gc.collect()
    assert not any(map(alive, workers))


def test_an_interrupt_ends_the_workers_at_once(make):
    # A shell lets what it starts in the background ignore interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _interrupt(make)
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(make):
    envs = make(functools.partial(Failing, 0, sleeps), 2, 2)
    envs.reset(seed=0)
    workers = pids(envs)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        envs.step(envs.action_space.sample())
    assert time.monotonic() - began < 20
    assert envs.closed
    assert not any(map(alive, workers))


@pytest.mark.parametrize("last_signal", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_parent(last_signal):
    """Ctrl-C reaches every process of a terminal's group; SIGKILL the parent alone."""
    script = """
    import signal
    import time
    import gymnasium as gym
    from bisimgym.envs.worker_vector import WorkerVectorEnv

    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it

    class Slow(gym.Env):
        observation_space = action_space = gym.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            return 0, {}

        def step(self, action):
            time.sleep(0.05)
            return 0, 0.0, False, False, {}

    others = WorkerVectorEnv(Slow, 2, 2)
    envs = WorkerVectorEnv(Slow, 4, 2)
    later = WorkerVectorEnv(Slow, 2, 2)  # forked with copies of the pipes of the others
    envs.reset(seed=0)
    every = [worker.process.pid for e in (others, envs, later) for worker in e._workers._workers]
    print(*every, flush=True)
    while True:
        envs.step([0] * 4)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 6
    time.sleep(0.2)
    if last_signal == signal.SIGINT:
        os.killpg(parent.pid, signal.SIGINT)
        _, errors = parent.communicate(timeout=10)
        assert errors.count("Traceback") == 1
        assert errors.strip().endswith("KeyboardInterrupt")
    else:
        parent.kill()
        parent.communicate(timeout=10)
    wait_until(lambda: not any(map(alive, workers)))


@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_other_start_methods(make, context):
    ours, theirs = (
        make(functools.partial(Clock, NESTED), 2, 2, context=context),
        SyncVectorEnv([lambda: Clock(NESTED)] * 2),
    )
    assert_same(ours.reset(seed=3), theirs.reset(seed=3))
    action = np.zeros((2, 2), dtype=np.float32)
    assert_same(ours.step(action)[0], theirs.step(action)[0])
    workers = pids(ours)
    ours.close()
    assert not any(map(alive, workers))


@pytest.mark.parametrize("mode", MODES)
def test_a_pickled_twin_goes_on_alike(make, mode):
    envs = make(functools.partial(Clock, NESTED), 3, 2, autoreset_mode=mode)
    envs.reset(seed=0, options={"length": 2})
    for _ in range(2):  # into the state between episodes
        envs.step(envs.action_space.sample())
    twin = pickle.loads(pickle.dumps(envs))
    try:
        assert set(pids(envs)).isdisjoint(pids(twin))
        assert (twin.num_envs, twin.num_workers, twin.metadata) == (3, 2, envs.metadata)
        if mode is AutoresetMode.DISABLED:
            with pytest.raises(gym.error.ResetNeeded, match="reset_mask"):
                twin.step(twin.action_space.sample())
            mask = np.array([True, False, True])
            assert_same(envs.reset(options={"reset_mask": mask}), twin.reset(options={"reset_mask": mask}))
            assert_same(envs.reset(), twin.reset())
        else:
            for _ in range(20):
                action = envs.action_space.sample()
                assert_same(action, twin.action_space.sample())
                assert_same(envs.step(action), twin.step(action))
    finally:
        twin.close()


def test_what_cannot_be_pickled_says_so(make):
    class Holder(Clock):
        def __getstate__(self):
            raise TypeError("cannot pickle the window")

    envs = make(Holder, 2, 2)
    with pytest.raises(TypeError, match="cannot pickle the window"):
        pickle.dumps(envs)
    envs.reset(seed=0)  # and goes on
    envs.close()
    with pytest.raises(gym.error.ClosedEnvironmentError):
        pickle.dumps(envs)

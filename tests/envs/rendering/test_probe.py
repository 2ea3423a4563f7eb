import os
import subprocess
import sys
import textwrap

import pytest

from bisimgym.envs.rendering import probe as probe_module
from bisimgym.envs.rendering.probe import OpenGL, OpenGLUnavailable, _candidates, probe, require, try_backend

#: No OpenGL library can be found or loaded: what ``ctypes`` is asked for by the bindings.
WITHOUT_LIBRARIES = """
import ctypes, ctypes.util
REFUSED = ("EGL", "GL", "OSMesa", "glfw", "OpenGL", "GLX", "GLU", "gl")
def refused(name):
    file = str(name or "").split("/")[-1].removeprefix("lib").split(".")[0].split("-")[0]
    return file in REFUSED
find = ctypes.util.find_library
ctypes.util.find_library = lambda name: None if refused(name) else find(name)
load = ctypes.CDLL.__init__
def guarded(self, name=None, *arguments, **named):
    if refused(name):
        raise OSError(f"{name}: cannot open shared object file (refused by the test)")
    load(self, name, *arguments, **named)
ctypes.CDLL.__init__ = guarded
"""


@pytest.fixture(autouse=True)
def fresh_probe():
    probe.cache_clear()
    yield
    probe.cache_clear()


@pytest.fixture
def screenless(monkeypatch):
    for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def no_opengl(monkeypatch, screenless):
    monkeypatch.setattr(probe_module, "try_backend", lambda backend: (False, f"{backend} is broken"))


class TestCandidates:
    @pytest.mark.parametrize("name", ["egl", "glfw", "osmesa", " EGL "])
    def test_the_variable_names_the_only_one(self, monkeypatch, name):
        monkeypatch.setenv("MUJOCO_GL", name)
        assert _candidates() == (name.strip().lower(),)

    def test_an_older_name(self, monkeypatch):
        monkeypatch.setenv("MUJOCO_GL", "glx")
        assert _candidates() == ("glfw",)

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have GLFW only")
    def test_a_screen_decides(self, monkeypatch, screenless):
        assert _candidates() == ("egl", "osmesa")
        monkeypatch.setenv("DISPLAY", ":0")
        assert _candidates() == ("glfw", "egl", "osmesa")

    @pytest.mark.parametrize("name", ["disable", "off", "0"])
    def test_off(self, monkeypatch, name):
        monkeypatch.setenv("MUJOCO_GL", name)
        assert _candidates() == ()
        with pytest.raises(OpenGLUnavailable, match=f"MUJOCO_GL='{name}' switches it off"):
            require()


class TestProbe:
    def test_the_first_that_draws(self, monkeypatch, screenless):
        answers = {"egl": (False, "no device"), "osmesa": (True, "llvmpipe (LLVM 15)")}
        asked = []
        monkeypatch.setattr(probe_module, "try_backend", lambda backend: (asked.append(backend), answers[backend])[1])
        assert probe() == OpenGL("osmesa", "llvmpipe (LLVM 15)", {"egl": "no device"})
        probe()
        assert asked == ["egl", "osmesa"]  # once per process
        assert require() is probe()

    @pytest.mark.parametrize(
        ("name", "hardware"),
        [("llvmpipe (LLVM 15.0.6, 256 bits)", False), ("softpipe", False), ("NVIDIA H100 80GB HBM3/PCIe", True)],
    )
    def test_who_draws(self, name, hardware):
        assert OpenGL("egl", name).is_hardware is hardware
        assert not OpenGL(None, name).is_hardware

    def test_a_backend_that_crashes_its_process_is_reported(self, monkeypatch, screenless, tmp_path):
        # As a broken driver does: the process is gone without a word.
        (tmp_path / "sitecustomize.py").write_text("import os\nos.kill(os.getpid(), 11)\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        found = probe()
        assert found.backend is None
        assert found.problems == {"egl": "the process ended with -11", "osmesa": "the process ended with -11"}

    def test_a_backend_that_hangs_is_reported(self, monkeypatch, tmp_path):
        (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep(60)\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        assert try_backend("egl", time_limit=0.3) == (False, "no answer within 0.3 seconds")

    def test_missing_libraries_are_reported(self, monkeypatch, screenless, tmp_path):
        (tmp_path / "sitecustomize.py").write_text(WITHOUT_LIBRARIES)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        found = probe()
        assert found.backend is None
        assert set(found.problems) == {"egl", "osmesa"}
        assert all(found.problems.values())

    def test_the_error_says_what_to_do(self, no_opengl):
        with pytest.raises(OpenGLUnavailable) as error:
            require()
        for part in ("egl: egl is broken", 'renderer="raycast"', "apt-get install libegl1"):
            assert part in str(error.value)


class TestResolving:
    @pytest.fixture(autouse=True)
    def fresh(self):
        pytest.importorskip("dm_control")
        from bisimgym.envs.distracting_control import resolve_renderer

        resolve_renderer.cache_clear()
        yield
        resolve_renderer.cache_clear()

    @pytest.mark.parametrize("name", ["raycast", "opengl", "opengl-fast"])
    def test_a_name_stands_for_itself(self, name, no_opengl):
        from bisimgym.envs.distracting_control import resolve_renderer

        assert resolve_renderer(name) == name

    @pytest.mark.parametrize(
        ("found", "chosen", "reason"),
        [
            (OpenGL(None), "raycast", "there is no OpenGL"),
            (OpenGL("egl", "llvmpipe"), "raycast", "drawn by llvmpipe"),
            (OpenGL("egl", "NVIDIA H100"), "opengl", "drawn by NVIDIA H100"),
        ],
    )
    def test_auto_says_what_it_chose_and_why(self, monkeypatch, found, chosen, reason):
        from bisimgym.envs.distracting_control import resolve_renderer

        monkeypatch.setattr(probe_module, "probe", lambda: found)
        with pytest.warns(UserWarning, match=f'uses "{chosen}": .*{reason}'):
            assert resolve_renderer("auto") == chosen

    def test_an_environment_without_opengl(self, no_opengl):
        from bisimgym.envs.distracting_control import DistractingControlEnv

        with pytest.raises(OpenGLUnavailable, match='use renderer="raycast"'):
            DistractingControlEnv(renderer="opengl", preset="clean")
        with pytest.raises(OpenGLUnavailable, match='use renderer="raycast"'):
            DistractingControlEnv(renderer="opengl", preset="clean", observation="state", render_mode="rgb_array")


def test_rays_need_no_opengl_library(tmp_path):
    pytest.importorskip("dm_control")
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_LIBRARIES)
    script = textwrap.dedent("""
        import ctypes, ctypes.util
        assert ctypes.util.find_library("EGL") is None
        try:
            ctypes.CDLL("libGL.so.1")
        except OSError:
            pass
        else:
            raise AssertionError("the libraries are there")
        from bisimgym.envs.distracting_control import DistractingControlEnv
        for domain, task in (("cartpole", "swingup"), ("quadruped", "escape")):
            env = DistractingControlEnv(domain, task, size=32, preset="pse-2video", render_mode="rgb_array")
            env.reset(seed=0)
            for _ in range(2):
                assert env.step(env.action_space.sample())[0].any()
            assert env.render().any()
        print("drawn")
    """)
    environment = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY")}
    environment["PYTHONPATH"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout.strip() == "drawn", done.stderr[-2000:]

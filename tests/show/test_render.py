"""Pictures without a display and without a word from the user, and videos that are written as they are drawn."""

import os
import subprocess
import sys

import imageio.v2 as imageio
import jax
import numpy as np
import pytest
from mujoco.rendering.classic import gl_context

import robolearn
from robolearn.cli import app as cli
from robolearn.errors import ConfigError, PhysicsError
from robolearn.show import film
from robolearn.show.view import policy_step, view
from robolearn.sim import render


@pytest.fixture(scope="module")
def env():
    return robolearn.make("fr3/reach", 1, "native", {"episode_s": 0.4, "success_hold_s": 0.1})


@pytest.fixture
def headless(monkeypatch):
    """A Linux machine without a display, where MuJoCo was imported before anybody chose how it draws."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(render.sys, "platform", "linux")
    monkeypatch.setattr(gl_context, "GLContext", Broken)


class Broken:
    """What MuJoCo takes by itself, and what does not draw without a display."""

    def __init__(self, *_):
        raise RuntimeError("no display")


class Blank:
    """Draws nothing, at once."""

    def __init__(self, *_, **__):
        pass

    def frame(self, state):
        return np.zeros((8, 8, 3), np.uint8)

    def close(self):
        pass


def test_a_picture_without_a_display_needs_no_setting(env, headless):
    with render.scene_renderer(env, 64, 48) as renderer:
        picture = renderer.frame(jax.jit(env.reset)(jax.random.key(0)))
    assert picture.shape == (48, 64, 3)
    assert picture.std() > 5.0


@pytest.mark.parametrize(
    ("name", "value"), [("MUJOCO_GL", "glfw"), ("DISPLAY", ":0"), ("WAYLAND_DISPLAY", "wayland-0")]
)
def test_a_users_choice_stands(env, headless, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(PhysicsError, match=r"no display\).*libegl1.*set MUJOCO_GL=egl"):
        film.check_filming(env)
    assert gl_context.GLContext is Broken


def test_importing_robolearn_sets_nothing():
    clean = {name: value for name, value in os.environ.items() if name != "MUJOCO_GL"}
    code = "import os, robolearn.sim.render; assert 'MUJOCO_GL' not in os.environ"
    subprocess.run([sys.executable, "-c", code], env=clean, check=True)


def test_a_video_is_written_as_it_is_drawn(env, tmp_path, monkeypatch):
    steps, told, seen = [], [], []
    step = policy_step(env, "zero", 0)

    def counted(state):
        steps.append(None)
        return step(state)

    def encode(_, frames, target, fps):
        for frame in frames:
            seen.append((frame.shape, len(steps), len(told)))
        target.write_bytes(b"video")
        assert fps == 25.0

    monkeypatch.setattr(film, "_encode", encode)
    monkeypatch.setattr(render, "SceneRenderer", Blank)
    path = film.film_steps(env, counted, tmp_path / "x.mp4", 2, 0, lambda *said: told.append(said))
    assert path.read_bytes() == b"video"
    # 2 episodes of 20 control periods, a picture in two of them, and never more in memory than one.
    assert [played for _, played, _ in seen] == list(range(0, 41, 2))
    assert [said for _, _, said in seen] == list(range(21))
    assert told[-1] == ("pictures", 21, 21)


@pytest.mark.parametrize("path", ["y.txt", "y", "y.webm"])
def test_another_ending_than_mp4_is_refused_before_anything_is_drawn(tmp_path, path):
    def frames():
        raise AssertionError("was drawn")
        yield np.zeros((16, 16, 3), np.uint8)

    with pytest.raises(ConfigError, match=f"{path}' must end in .mp4"):
        film.write_video(frames(), tmp_path / path, 25.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "y.txt"), "'y.txt' must end in .mp4"),
        (("--episodes", "0"), "episodes is 0, but at least 1"),
    ],
)
def test_view_refuses_before_it_plays(tmp_path, monkeypatch, capsys, headless, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        cli.main(["view", "fr3/reach", *arguments])
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert message in said
    assert len(said.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:os.fork", "ignore:unclosed file")  # of imageio's reader
def test_view_writes_a_video_where_there_is_no_display(tmp_path, monkeypatch, headless):
    monkeypatch.chdir(tmp_path)
    make = robolearn.make
    monkeypatch.setattr("robolearn.show.view.make", lambda *a, **k: make(*a, **k, config={"episode_s": 0.6}))
    assert str(view("fr3/reach", "random", episodes=1)) == "fr3-reach.mp4"
    with imageio.get_reader("fr3-reach.mp4") as video:
        assert video.get_meta_data()["fps"] == 25.0
        assert sum(1 for _ in video) == 16

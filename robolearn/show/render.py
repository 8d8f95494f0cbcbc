"""Pictures and videos of environments, with a display or, by EGL, without one."""

from __future__ import annotations

import copy
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import mujoco
import numpy as np

from robolearn.env.vec_env import EnvState, VecEnv
from robolearn.errors import ConfigError, MissingDependency, PhysicsError
from robolearn.sim.jit import jit

GOAL_RGBA = (0.10, 0.70, 0.35, 0.85)
GOAL_RADIUS_M = 0.02
POSED_FIELDS = (
    "geom_size",
    "geom_pos",
    "site_pos",
)  # what a picture shows of the physics drawn for an episode
_EFFECTS = (int(mujoco.mjtRndFlag.mjRND_SHADOW), int(mujoco.mjtRndFlag.mjRND_REFLECTION))
_PICTURES_HZ = 25.0  # at most: the eye asks for no more, and without a GPU each takes a while
_SUFFIX = ".mp4"
Actor = Callable[[Any], Any]
Progress = Callable[[str, int, int], None]  # what is counted, how many so far, of how many


class SceneRenderer:
    """Renders one environment of a VecEnv. Use as `with scene_renderer(env) as renderer`."""

    def __init__(self, env: VecEnv, width: int, height: int, camera: str, *, plain: bool = False):
        self._camera = camera
        self._model = copy.copy(env.model)
        self._data = mujoco.MjData(self._model)
        try:
            _use_egl_without_display()
            self._renderer = mujoco.Renderer(self._model, height, width)
        except Exception as error:  # the GL backends raise many types
            chosen = os.environ.get("MUJOCO_GL")
            raise PhysicsError(
                f"Cannot render (MUJOCO_GL is {chosen or 'not set'}: {error}). To render without a display, install "
                "libegl1 and libgl1-mesa-dri (Debian, Ubuntu)"
                + (" and set MUJOCO_GL=egl." if chosen or has_display() else ".")
            ) from None
        for effect in _EFFECTS if plain else ():
            self._renderer.scene.flags[effect] = False

    def frame(self, state: EnvState, index: int = 0) -> np.ndarray:
        """Environment `index` as [height, width, 3] uint8."""
        fields = {name: state.fields[name][index] for name in POSED_FIELDS if name in state.fields}
        goal = {name: value[index] for name, value in state.goal.items()}
        return self.draw(state.physics.qpos[index], fields, goal)

    def draw(self, qpos: Any, fields: Mapping[str, Any], goal: Mapping[str, Any]) -> np.ndarray:
        """A posture [nq], with the model fields drawn for it and its goal, as [height, width, 3] uint8."""
        _pose(self._model, self._data, qpos, fields)
        self._renderer.update_scene(self._data, self._camera)
        for name, value in goal.items():
            if name.endswith("_position"):
                self._mark(np.asarray(value, float))
        return self._renderer.render()

    def close(self) -> None:
        """Free the GL context."""
        self._renderer.close()

    def _mark(self, position: np.ndarray) -> None:
        scene = self._renderer.scene
        if scene.ngeom < scene.maxgeom:
            mujoco.mjv_initGeom(
                scene.geoms[scene.ngeom],
                int(mujoco.mjtGeom.mjGEOM_SPHERE),
                np.full(3, GOAL_RADIUS_M),
                position,
                np.eye(3).ravel(),
                np.array(GOAL_RGBA, np.float32),
            )
            scene.ngeom += 1


class HumanView:
    """MuJoCo's viewer on the first environment, in real time. Raises PhysicsError without a display."""

    def __init__(self, env: VecEnv):
        self._model, self._period_s = copy.copy(env.model), 1.0 / env.control_hz
        self._data = mujoco.MjData(self._model)
        self._next_s = time.monotonic()
        if not has_display():  # the viewer would end the process
            raise PhysicsError(
                "Cannot open a window: there is no display. Use render_mode='rgb_array', or write an mp4 with "
                "`robolearn view TASK -o x.mp4`."
            )
        from mujoco import viewer

        self._viewer = viewer.launch_passive(self._model, self._data)

    @property
    def running(self) -> bool:
        """Whether the window is still open."""
        return self._viewer.is_running()

    def show(self, state: EnvState) -> None:
        """Show the first environment and wait for its control period to pass."""
        with self._viewer.lock():
            fields = {name: state.fields[name][0] for name in POSED_FIELDS if name in state.fields}
            _pose(self._model, self._data, state.physics.qpos[0], fields)
        self._viewer.sync()
        self._next_s = max(self._next_s + self._period_s, time.monotonic() - self._period_s)
        time.sleep(max(0.0, self._next_s - time.monotonic()))

    def close(self) -> None:
        """Close the window."""
        self._viewer.close()


def has_display() -> bool:
    """Whether a window can be opened here."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _use_egl_without_display() -> None:
    """Let MuJoCo draw by EGL where there is no display and the user has not chosen by MUJOCO_GL.

    MuJoCo reads that variable when it is first imported: too early for us to set it where a user imports mujoco
    before robolearn, and where libEGL is missing, as on a robot's computer, that import itself would then fail.
    """
    if has_display() or os.environ.get("MUJOCO_GL"):
        return
    from mujoco import egl
    from mujoco.rendering.classic import gl_context

    gl_context.GLContext = egl.GLContext


def _pose(model: mujoco.MjModel, data: mujoco.MjData, qpos: Any, fields: Mapping[str, Any]) -> None:
    """Put one environment's posture, and the sizes drawn for it, into a model and data of our own."""
    for name, value in fields.items():
        getattr(model, name)[:] = np.asarray(value)
    data.qpos[:] = np.asarray(qpos)
    mujoco.mj_forward(model, data)


@contextmanager
def scene_renderer(
    env: VecEnv, width: int = 640, height: int = 480, camera: str = "overview", *, plain: bool = False
) -> Iterator[SceneRenderer]:
    """A renderer that is closed at the end, as its GL context must be. plain: without shadows and reflections, which
    takes a quarter of the time where no GPU draws.
    """
    renderer = SceneRenderer(env, width, height, camera, plain=plain)
    try:
        yield renderer
    finally:
        renderer.close()


def check_filming(env: VecEnv) -> None:
    """Raise PhysicsError or MissingDependency where no video can be made here, before much is played for one."""
    _imageio()
    with scene_renderer(env, 16, 16):
        pass


def check_video_path(path: str | Path) -> Path:
    """The path of a video to be written. Raises ConfigError where its ending is not that of an mp4 file."""
    path = Path(path)
    if path.suffix.lower() != _SUFFIX:
        raise ConfigError(f"'{path}' does not end in {_SUFFIX}: videos are written as mp4 (H.264).")
    return path


def periods_per_picture(control_hz: float) -> int:
    """How many control periods pass from one picture of a video to the next."""
    return max(1, round(control_hz / _PICTURES_HZ))


def record_video(env: VecEnv, actor: Actor, path: str | Path, *, episodes: int = 4, seed: int = 0) -> Path:
    """Play episodes one after another and write them as mp4 (H.264). actor: obs [N, D] -> action [N, A]."""
    return film_steps(env, jit(lambda state: env.step(state, actor(state.obs))), path, episodes, seed)


def film_steps(
    env: VecEnv,
    step: Callable[[EnvState], EnvState],
    path: str | Path,
    episodes: int,
    seed: int,
    progress: Progress | None = None,
) -> Path:
    """Write the first environment's episodes as mp4, each picture as soon as it is drawn. step: a control period.

    Raises ConfigError for another ending than .mp4 or no episode, PhysicsError where nothing can be drawn.
    """
    path = check_video_path(path)
    if episodes < 1:
        raise ConfigError(f"episodes is {episodes}, but at least 1 is needed.")
    every = periods_per_picture(env.control_hz)
    total = 1 + episodes * env.episode_steps // every

    def frames() -> Iterator[np.ndarray]:
        for done, state in enumerate(islice(play(env, step, episodes, seed), 0, None, every)):
            yield renderer.frame(state)
            if progress is not None:
                progress("pictures", done + 1, total)

    with scene_renderer(env, plain=True) as renderer:
        return write_video(frames(), path, env.control_hz / every)


def play(env: VecEnv, step: Callable[[EnvState], EnvState], episodes: int, seed: int) -> Iterator[EnvState]:
    """The first state, then one after each control period of so many full-length episodes."""
    state = jit(env.reset, quick=True)(jax.random.key(seed))
    yield state
    for _ in range(episodes * env.episode_steps):
        state = step(state)
        yield state


def write_video(frames: Iterable[np.ndarray], path: str | Path, fps: float) -> Path:
    """Frames [height, width, 3] uint8 as an mp4 file, each written as it comes.

    Raises ConfigError for another ending than .mp4, MissingDependency without imageio-ffmpeg.
    """
    target, imageio = check_video_path(path), _imageio()
    target.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # JAX warns of any fork; the encoder's process begins another program at once.
        warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning)
        _encode(imageio, frames, target, fps)
    return target


def _imageio() -> Any:
    try:
        import imageio.v2 as imageio
        import imageio_ffmpeg  # noqa: F401  (the encoder that imageio finds by itself)
    except ImportError:
        raise MissingDependency("Videos need imageio: pip install 'robolearn[train]'.") from None
    return imageio


def _encode(imageio: Any, frames: Iterable[np.ndarray], target: Path, fps: float) -> None:
    with imageio.get_writer(target, format="FFMPEG", fps=fps, codec="libx264", quality=8) as writer:  # pyright: ignore
        for frame in frames:
            writer.append_data(frame)

"""Pictures of a simulation: off screen (by EGL where there is no display), or in MuJoCo's viewer."""

from __future__ import annotations

import copy
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import mujoco
import numpy as np

from robolearn.errors import PhysicsError

GOAL_RGBA = (0.10, 0.70, 0.35, 0.85)
GOAL_RADIUS_M = 0.02
POSED_FIELDS = (
    "geom_size",
    "geom_pos",
    "site_pos",
)  # what a picture shows of the physics drawn for an episode
_EFFECTS = (int(mujoco.mjtRndFlag.mjRND_SHADOW), int(mujoco.mjtRndFlag.mjRND_REFLECTION))


class Scene(Protocol):
    """What is rendered of a VecEnv."""

    @property
    def model(self) -> mujoco.MjModel:
        """The compiled model."""
        ...

    @property
    def control_hz(self) -> float:
        """Control periods per second."""
        ...


class SceneRenderer:
    """Renders one environment of a VecEnv. Use as `with scene_renderer(env) as renderer`."""

    def __init__(self, env: Scene, width: int, height: int, camera: str, *, plain: bool = False):
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

    def frame(self, state: Any, index: int = 0) -> np.ndarray:
        """Environment `index` as [height, width, 3] uint8."""
        fields = posed_fields(state, index)
        goal = {name: value[index] for name, value in state.goal.items()}
        return self.draw(state.physics.qpos[index], fields, goal)

    def draw(self, qpos: Any, fields: Mapping[str, Any], goal: Mapping[str, Any]) -> np.ndarray:
        """A posture [nq], with the model fields drawn for it and its goal, as [height, width, 3] uint8."""
        pose_model(self._model, self._data, qpos, fields)
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

    def __init__(self, env: Scene):
        self._model, self._pace = copy.copy(env.model), Pace(1.0 / env.control_hz)
        self._data = mujoco.MjData(self._model)
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

    def show(self, state: Any) -> None:
        """Show the first environment and wait for its control period to pass."""
        with self._viewer.lock():
            pose_model(self._model, self._data, state.physics.qpos[0], posed_fields(state))
        self._viewer.sync()
        self._pace.wait()

    def close(self) -> None:
        """Close the window."""
        self._viewer.close()


class Pace:
    """Control periods in real time; what is late is not made up for by more than one period."""

    def __init__(self, period_s: float):
        self._period_s, self._next_s = period_s, time.monotonic()

    def wait(self) -> None:
        """Until the present period has passed."""
        self._next_s = max(self._next_s + self._period_s, time.monotonic() - self._period_s)
        time.sleep(max(0.0, self._next_s - time.monotonic()))


def posed_fields(state: Any, index: int = 0) -> dict[str, Any]:
    """What a picture of environment `index` shows of the physics drawn for its episode."""
    return {name: state.fields[name][index] for name in POSED_FIELDS if name in state.fields}


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


def pose_model(model: mujoco.MjModel, data: mujoco.MjData, qpos: Any, fields: Mapping[str, Any]) -> None:
    """Put one environment's posture, and the sizes drawn for it, into a model and data of our own."""
    for name, value in fields.items():
        getattr(model, name)[:] = np.asarray(value)
    data.qpos[:] = np.asarray(qpos)
    mujoco.mj_forward(model, data)


@contextmanager
def scene_renderer(
    env: Scene, width: int = 640, height: int = 480, camera: str = "overview", *, plain: bool = False
) -> Iterator[SceneRenderer]:
    """A renderer that is closed at the end, as its GL context must be. plain: without shadows and reflections, which
    takes a quarter of the time where no GPU draws.
    """
    renderer = SceneRenderer(env, width, height, camera, plain=plain)
    try:
        yield renderer
    finally:
        renderer.close()

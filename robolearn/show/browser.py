"""A scene in the browser, drawn by viser: for a machine without a display, or a served arm.

The page is served on this machine's loopback interface only, loads nothing from elsewhere, and only looks: no request
from a browser is carried out, and pages of other addresses, which a browser would let connect, are turned away. From
another machine: `ssh -L 8080:localhost:8080 MACHINE`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from typing import Any
from urllib.parse import urlsplit

import mujoco
import numpy as np
from numpy.typing import NDArray

from robolearn.errors import ConfigError, MissingDependency
from robolearn.sim.render import GOAL_RADIUS_M, GOAL_RGBA, Pace, Scene, pose_model, posed_fields

HOST = "127.0.0.1"
PORT = 8080
LOCAL_NAMES = ("localhost", HOST)  # by which the page may be opened; other names may be an attacker's
_POLICY_VIOLATION = 1008  # RFC 6455, 7.4.1
_GROUPS = (0, 1, 2)  # of geoms, as MuJoCo's viewer shows them
_DEFAULT_RGBA = (0.5, 0.5, 0.5, 1.0)  # MuJoCo's, of a geom whose material gives the colour
_FLOOR_M = 3.0  # edge of what stands for an infinite plane
_CAMERA_M, _LOOK_AT_M = (1.0, 0.75, 0.7), (0.25, 0.0, 0.3)


class BrowserScene:
    """A MuJoCo model on a page. Raises MissingDependency without viser, ConfigError for a port in use."""

    def __init__(self, model: mujoco.MjModel, title: str, port: int = PORT):
        self.model, self.data = copy.copy(model), mujoco.MjData(model)
        self._server = _serve(title, port)
        scene = self._server.scene
        scene.set_up_direction("+z")
        self._server.initial_camera.position, self._server.initial_camera.look_at = _CAMERA_M, _LOOK_AT_M
        self._text = self._server.gui.add_markdown("")
        if mujoco.mjtGeom.mjGEOM_PLANE not in self.model.geom_type:
            scene.add_grid("/floor", 2.0, 2.0, cell_size=0.1, section_size=0.5)
        self._bodies = [scene.add_frame(f"/{body}", show_axes=False) for body in range(self.model.nbody)]
        self._drawn: dict[int, NDArray[np.float64]] = {}
        self._marks: dict[str, Any] = {}
        self._pose()

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://localhost:{self._server.get_port()}"

    @property
    def watched(self) -> bool:
        """Whether a browser is connected."""
        return bool(self._server.get_clients())

    def show(self, qpos: Any, fields: Mapping[str, Any] | None = None) -> None:
        """A posture [nq], with the model fields drawn for it."""
        pose_model(self.model, self.data, qpos, fields or {})
        with self._server.atomic():
            self._pose()

    def mark(self, name: str, position_m: Any) -> None:
        """A sphere at a goal [3] m."""
        if name not in self._marks:
            self._marks[name] = self._server.scene.add_icosphere(
                f"/mark/{name}", GOAL_RADIUS_M, _colour(GOAL_RGBA), opacity=GOAL_RGBA[3]
            )
        self._marks[name].position = np.asarray(position_m, float)

    def say(self, text: str) -> None:
        """Markdown beside the scene."""
        if text != self._text.content:
            self._text.content = text

    def close(self) -> None:
        """Stop serving the page."""
        with redirect_stdout(StringIO()):  # it prints that it stopped
            self._server.stop()

    def _pose(self) -> None:
        for geom in range(self.model.ngeom):  # sizes and places may be drawn anew for each episode
            form = np.concatenate((self.model.geom_size[geom], self.model.geom_pos[geom]))
            if self.model.geom_group[geom] in _GROUPS and not np.array_equal(form, self._drawn.get(geom, ())):
                self._draw(geom)
                self._drawn[geom] = form
        for body, frame in enumerate(self._bodies):
            frame.position, frame.wxyz = self.data.xpos[body], self.data.xquat[body]

    def _draw(self, geom: int) -> None:
        model = self.model
        material = model.geom_matid[geom]
        rgba = model.geom_rgba[geom]
        if material >= 0 and np.allclose(rgba, _DEFAULT_RGBA):
            rgba = model.mat_rgba[material]
        shape = _shape(model, geom)
        if shape is None or not rgba[3]:
            return
        self._server.scene.add_mesh_simple(
            f"/{model.geom_bodyid[geom]}/{geom}", *shape, color=_colour(rgba),
            opacity=None if rgba[3] >= 1.0 else float(rgba[3]),
            flat_shading=model.geom_type[geom] in (mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_PLANE),
            position=model.geom_pos[geom], wxyz=model.geom_quat[geom],
        )  # fmt: skip


class BrowserView:
    """The first environment of a VecEnv in the browser, in real time, as `sim.render.HumanView` in a window."""

    def __init__(self, env: Scene, title: str, port: int = PORT):
        """Raises like `BrowserScene`."""
        self._scene, self._pace = BrowserScene(env.model, title, port), Pace(1.0 / env.control_hz)
        self._ended = self._succeeded = 0
        self.address = self._scene.address

    @property
    def watched(self) -> bool:
        """Whether a browser is connected."""
        return self._scene.watched

    def show(self, state: Any) -> None:
        """Show the first environment and wait for its control period to pass."""
        self._scene.show(state.physics.qpos[0], posed_fields(state))
        for name, value in state.goal.items():
            if name.endswith("_position"):
                self._scene.mark(name, value[0])
        if state.terminated[0] or state.truncated[0]:
            self._ended, self._succeeded = self._ended + 1, self._succeeded + int(state.success[0])
        self._scene.say(f"Episodes: {self._ended} ended, {self._succeeded} succeeded")
        self._pace.wait()

    def close(self) -> None:
        """Stop serving the page."""
        self._scene.close()


def _serve(title: str, port: int) -> Any:
    try:
        import viser
    except ImportError:
        raise MissingDependency("The browser view needs viser: pip install 'robolearn[viewer]'.") from None
    if not 0 < port < 65536:
        raise ConfigError(f"port is {port}, but must be 1 to 65535.")
    with redirect_stdout(StringIO()):  # it prints its address
        server = viser.ViserServer(HOST, port, label=title, verbose=False)
    server.gui.configure_theme(show_logo=False, show_share_button=False)  # sharing would leave this machine
    if server.get_port() != port:  # viser would go on to the next
        server.stop()
        raise ConfigError(f"Port {port} is in use: choose another with --port.")
    _only_look(server)
    return server


def _only_look(server: Any) -> None:
    """Let browsers look and do nothing else.

    viser carries out requests of every client, a public tunnel to the page among them, and takes connections from
    pages of any address. It has no option for either, so this reaches into it; an AttributeError if it changed.
    """
    sockets = server._websock_server
    sockets._incoming_handlers.clear()  # the camera's are those of each connection

    async def turn_away(client: Any) -> None:
        connection = sockets._live_connections[client.client_id]
        headers = connection.request.headers
        if not same_origin(headers.get("Origin"), headers.get("Host")):
            await connection.close(_POLICY_VIOLATION, "another origin")

    sockets._client_connect_cb.insert(0, turn_away)
    sockets.disconnect_all_clients()  # who came before; a page of ours comes again


def same_origin(origin: str | None, host: str | None) -> bool:
    """Whether a connection comes from the page that this server gave out, under a name of this machine."""
    if origin is None or host is None:
        return False
    try:
        return origin == f"http://{host}" and urlsplit(origin).hostname in LOCAL_NAMES
    except ValueError:
        return False


def _colour(rgba: Any) -> tuple[int, int, int]:
    red, green, blue = (round(255 * float(value)) for value in rgba[:3])
    return red, green, blue


def _shape(model: mujoco.MjModel, geom: int) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
    """Vertices [v, 3] m and faces [f, 3] in the geom's frame; None for a kind that is not drawn."""
    import trimesh.creation as create

    kind, size = mujoco.mjtGeom(model.geom_type[geom]), model.geom_size[geom]
    kinds = mujoco.mjtGeom
    if kind == kinds.mjGEOM_MESH:
        mesh = model.geom_dataid[geom]
        vertices, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
        faces, many = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
        return model.mesh_vert[vertices : vertices + count].astype(float), model.mesh_face[
            faces : faces + many
        ]
    if kind == kinds.mjGEOM_BOX:
        made = create.box(2.0 * size)
    elif kind == kinds.mjGEOM_PLANE:
        half = np.where(size[:2] > 0.0, size[:2], _FLOOR_M)
        made = create.box([2.0 * half[0], 2.0 * half[1], 1e-3])
    elif kind in (kinds.mjGEOM_SPHERE, kinds.mjGEOM_ELLIPSOID):
        made = create.icosphere(subdivisions=3)
        made.apply_scale(size[[0, 0, 0]] if kind == kinds.mjGEOM_SPHERE else size)
    elif kind == kinds.mjGEOM_CAPSULE:
        made = create.capsule(2.0 * size[1], size[0])
        made.apply_translation([0.0, 0.0, -made.bounds.mean(axis=0)[2]])
    elif kind == kinds.mjGEOM_CYLINDER:
        made = create.cylinder(size[0], 2.0 * size[1])
    else:
        return None
    return np.asarray(made.vertices), np.asarray(made.faces)

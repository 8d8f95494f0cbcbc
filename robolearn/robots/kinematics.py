"""Forward kinematics and Jacobian from the robot file alone, in numpy or any array library that looks like it.

A frame is kept as its three axes, written out in numbers (`triples.py`): seven times as fast over a batch of arms as
vectors of three. A graph that runs one arm at a time pays for each operation instead, so `few_operations` turns to
products of small matrices, all joints at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray

from robolearn.errors import RobotError
from robolearn.robots import triples
from robolearn.robots.triples import Number

Triple = tuple[float, float, float]
Line = list[triples.Triple]
_FEW = ContextVar("few_operations", default=False)


Screws = tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]


class ChainStep(NamedTuple):
    """One transform: by xyz [m] and rpy [rad, about the fixed x, y, z axes], then a turn about axis if revolute."""

    xyz: Triple
    rpy: Triple
    axis: Triple
    type: str
    name: str


class Chain(Protocol):
    """What kinematics needs of a `Robot`."""

    @property
    def chain(self) -> tuple[ChainStep, ...]:
        """The steps from the base to the flange."""
        ...

    def tool_steps(self, gripper: str | None) -> tuple[ChainStep, ...]:
        """The steps from the flange to the TCP."""
        ...


class Frames(NamedTuple):
    """The TCP's position [3] m and rotation [3, 3] in the base frame, and its Jacobian: linear, angular [3, n]."""

    position: Any
    rotation: Any
    linear: Any
    angular: Any


def forward(robot: Chain, q: Any, xp: Any = np, gripper: str | None = "parallel") -> tuple[Any, Any]:
    """The tool centre point at joint positions q [..., n] rad: position [..., 3] m and rotation [..., 3, 3].

    Both in the base frame. xp: numpy or jax.numpy; with jax.numpy it can be jitted, differentiated and vmapped.
    gripper as in `Robot.spec`.
    """
    chain, q = _chain(robot, gripper), xp.asarray(q, dtype=float)
    if takes_few_operations():
        return _products(chain, q, xp)[:2]
    position, tool, _, _ = _walk(chain, q, xp)
    return _matrix([position], q, xp)[..., 0], _matrix(tool, q, xp)


def frames(robot: Chain, q: Any, xp: Any = np, gripper: str | None = "parallel") -> Frames:
    """The tool centre point and its Jacobian at joint positions q [n] rad; arguments as of `forward`."""
    chain, q = _chain(robot, gripper), xp.asarray(q, dtype=float)
    if takes_few_operations():
        position, rotation, anchors, axes = _products(chain, q, xp)
        return Frames(position, rotation, cross(axes.T, (position - anchors).T), axes.T)
    position, tool, anchors, axes = _walk(chain, q, xp)
    linear = [
        triples.cross(axis, triples.subtract(position, anchor))
        for axis, anchor in zip(axes, anchors, strict=True)
    ]
    return Frames(
        _matrix([position], q, xp)[..., 0], _matrix(tool, q, xp), _matrix(linear, q, xp), _matrix(axes, q, xp)
    )


@contextmanager
def few_operations() -> Iterator[None]:
    """Within, `forward` and `frames` of one q [n] take a third of the operations, for a graph traced from them."""
    token = _FEW.set(True)
    try:
        yield
    finally:
        _FEW.reset(token)


def takes_few_operations() -> bool:
    """Whether the code runs within `few_operations`."""
    return _FEW.get()


def cross(a: Any, b: Any) -> Any:
    """Cross product along the first axis, [3] or [3, m] each; as an exported graph, fewer nodes than numpy's."""
    return a[_NEXT] * b[_AFTER] - a[_AFTER] * b[_NEXT]


def _chain(robot: Chain, gripper: str | None) -> Screws:
    return _screws((*robot.chain, *robot.tool_steps(gripper)))


def _walk(chain: Screws, q: Any, xp: Any) -> tuple[triples.Triple, Line, Line, Line]:
    """The TCP's position and its three axes, a point on the axis of every joint and that axis's direction."""
    sin, cos = xp.sin(q), xp.cos(q)
    position, anchors, axes = (0.0, 0.0, 0.0), [], []
    x, y, z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
    for i, (offset, turn) in enumerate(chain):
        position = triples.add(position, _mix((x, y, z), offset))
        x, y, z = (_mix((x, y, z), column) for column in turn.T)
        if i < len(chain) - 1:
            anchors.append(position)
            axes.append(z)
            c, s = cos[..., i], sin[..., i]
            ahead, aside = triples.add(triples.scale(c, x), triples.scale(s, y)), triples.scale(c, y)
            x, y = ahead, triples.subtract(aside, triples.scale(s, x))
    return position, [x, y, z], anchors, axes


def _matrix(columns: Line, q: Any, xp: Any) -> Any:
    """[..., 3, m] with these m columns, each for all the arms of q [..., n]."""

    def number(value: Number) -> Any:
        return xp.broadcast_to(xp.asarray(value, dtype=float), q.shape[:-1])

    return xp.stack([xp.stack([number(column[i]) for column in columns], axis=-1) for i in range(3)], axis=-2)


def _products(chain: Screws, q: Any, xp: Any) -> tuple[Any, Any, Any, Any]:
    """What `_walk` says, as arrays [3], [3, 3], [n, 3], [n, 3].

    From matrices [n, 4, 4]: that of every joint, then products of the first 1, 2 .. n.
    """
    fixed = np.tile(np.eye(4), (len(chain), 1, 1))
    for matrix, (offset, turn) in zip(fixed, chain, strict=True):
        matrix[:3, :3], matrix[:3, 3] = turn, offset
    along_cos, along_sin = np.diag([1.0, 1.0, 0.0, 0.0]), np.zeros((4, 4))
    along_sin[1, 0], along_sin[0, 1] = 1.0, -1.0
    cos, sin, rest = (
        xp.asarray(fixed[:-1] @ part, dtype=float) for part in (along_cos, along_sin, np.eye(4) - along_cos)
    )
    product = xp.cos(q)[:, None, None] * cos + xp.sin(q)[:, None, None] * sin + rest
    reach = 1  # of each product, in joints
    while reach < len(product):
        product = xp.concatenate([product[:reach], product[:-reach] @ product[reach:]])
        reach *= 2
    tcp = product[-1] @ xp.asarray(fixed[-1], dtype=float)
    return tcp[:3, 3], tcp[:3, :3], product[:, :3, 3], product[:, :3, 2]


def _mix(axes: Any, weights: NDArray[np.float64]) -> triples.Triple:
    """The weighted sum of three vectors."""
    x, y, z = (triples.scale(float(weight), axis) for axis, weight in zip(axes, weights, strict=True))
    return triples.add(triples.add(x, y), z)


@lru_cache(maxsize=64)
def _screws(steps: tuple[ChainStep, ...]) -> Screws:
    """The chain as n + 1 fixed transforms, offset [3] m and turn [3, 3], with a turn about z between each two."""
    screws = []
    offset, turn = np.zeros(3), np.eye(3)
    for step in steps:
        offset = offset + turn @ np.asarray(step.xyz)
        turn = turn @ rotation_from_rpy(step.rpy)
        if step.type == "revolute":
            to_axis = _z_to(np.asarray(step.axis, float))
            screws.append((offset, _clean(turn @ to_axis)))
            offset, turn = np.zeros(3), to_axis.T
    return (*screws, (offset, _clean(turn)))


def _clean(turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """A rotation [3, 3] without the rounding of sines and cosines of right angles."""
    whole = np.round(turn)
    return np.where(np.abs(turn - whole) < 1e-15, whole, turn)


def _z_to(axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """A rotation [3, 3] that takes the z axis to axis."""
    z = axis / np.linalg.norm(axis)
    if z[2] > 1.0 - 1e-12:
        return np.eye(3)
    helper = np.array([1.0, 0.0, 0.0]) if abs(z[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    y = np.cross(z, helper)
    y /= np.linalg.norm(y)
    return np.stack([np.cross(y, z), y, z], axis=1)


_NEXT, _AFTER = np.array([1, 2, 0]), np.array([2, 0, 1])  # of a cross product


def rotation_from_rpy(rpy: Any) -> NDArray[np.float64]:
    """[3, 3]: roll about x, then pitch about y, then yaw about z, all fixed axes (URDF)."""
    (sr, sp, sy), (cr, cp, cy) = np.sin(rpy), np.cos(rpy)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def rpy_from_rotation(rotation: NDArray[np.float64]) -> Triple:
    """The inverse of `rotation_from_rpy`; roll is 0 where pitch is +-90 degrees."""
    pitch = np.arctan2(-rotation[2, 0], np.hypot(rotation[0, 0], rotation[1, 0]))
    if np.hypot(rotation[0, 0], rotation[1, 0]) < 1e-12:
        return 0.0, float(pitch), float(np.arctan2(-rotation[0, 1], rotation[1, 1]))
    roll = np.arctan2(rotation[2, 1], rotation[2, 2])
    return float(roll), float(pitch), float(np.arctan2(rotation[1, 0], rotation[0, 0]))


def quaternion_from_rpy(rpy: Any) -> NDArray[np.float64]:
    """[4] (w, x, y, z)."""
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, rotation_from_rpy(rpy).ravel())
    return quaternion


def chain_from_model(
    model: mujoco.MjModel, joint_names: tuple[str, ...], flange: ChainStep, flange_body: str
) -> tuple[ChainStep, ...]:
    """The chain of an arm inside a compiled model. Raises RobotError unless it is one line of hinge joints."""
    body = model.body(flange_body).id
    line: list[int] = []
    while body > 0:
        line.insert(0, body)
        body = int(model.body_parentid[body])
    steps: list[ChainStep] = []
    found: list[str] = []
    for body in line:
        steps.append(
            _step(
                model.body_pos[body], rotation_from_quaternion(model.body_quat[body]), model.body(body).name
            )
        )
        first = int(model.body_jntadr[body])
        for joint in range(first, first + int(model.body_jntnum[body])):
            name, anchor = model.joint(joint).name, model.jnt_pos[joint]
            if model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_HINGE:
                raise RobotError(
                    f"Joint '{name}' on the way to '{flange_body}' is not a hinge; only hinges work."
                )
            axis = _triple(model.jnt_axis[joint])
            steps.append(ChainStep(_triple(anchor), (0.0, 0.0, 0.0), axis, "revolute", name))
            steps.append(_step(-anchor, np.eye(3), f"{name} anchor"))
            found.append(name)
    if tuple(found) != joint_names:
        raise RobotError(
            f"joint_names are {list(joint_names)}, but the joints from the base to body '{flange_body}' are {found}. "
            "List exactly these, in this order."
        )
    if model.nv != len(found):
        raise RobotError(
            f"The model file has {model.nv} degrees of freedom, but joint_names has {len(found)} joints. Cut or hold "
            "the rest under model (cut, keep, hold)."
        )
    return (*steps, flange)


def _step(xyz: Any, rotation: NDArray[np.float64], name: str) -> ChainStep:
    return ChainStep(_triple(xyz), rpy_from_rotation(rotation), (0.0, 0.0, 1.0), "fixed", name)


def _triple(values: Any) -> Triple:
    x, y, z = values
    return float(x), float(y), float(z)


def rotation_from_quaternion(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """[3, 3] from (w, x, y, z)."""
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)

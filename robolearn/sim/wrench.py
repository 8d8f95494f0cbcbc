"""The wrench at the TCP: what the surroundings do to the tool, as a force-torque sensor tells it.

Force [3] N and torque [3] Nm that act on the tool (the gripper and what it holds), in the axes of the TCP, the torque
about the TCP. A tool that is pushed up while it points down reads a force along its -z. MuJoCo's sensors tell what the
arm holds the tool with: against that, its weight and its inertia. The weight is taken out with the mass and the centre
of mass of the model, as drivers do. Where an episode draws another mass, a residual stays; what the tool's own
acceleration needs stays too. Both are there on an arm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from robolearn.errors import TaskError
from robolearn.policy.slots import Slot
from robolearn.policy.sources import WRENCH_FORCE, WRENCH_TORQUE

Array = jax.Array
Readings = dict[str, Array]

FORCE_SENSOR, TORQUE_SENSOR = "tcp_force", "tcp_torque"
_TURN = "tcp_quat"  # the reading that tells how the tool stands


def add_wrench_sensors(spec: mujoco.MjSpec) -> None:
    """Sensors `tcp_force` and `tcp_torque` at the site `tcp`, which is fixed to the gripper's body."""
    for name, kind in (
        (FORCE_SENSOR, mujoco.mjtSensor.mjSENS_FORCE),
        (TORQUE_SENSOR, mujoco.mjtSensor.mjSENS_TORQUE),
    ):
        spec.add_sensor(name=name, type=kind, objtype=mujoco.mjtObj.mjOBJ_SITE, objname="tcp")


def feels(slots: Iterable[Slot]) -> bool:
    """Whether a policy reads the wrench."""
    return any(slot.source in (WRENCH_FORCE, WRENCH_TORQUE) for slot in slots)


class ToolWeight:
    """Takes the tool's weight out of a task's readings; does nothing where none of them is a wrench."""

    def __init__(self, model: mujoco.MjModel, sensors: Mapping[str, tuple[str, ...]]):
        """sensors: {reading: its sensors}. Raises TaskError where the tool's orientation is not among them."""
        self._forces, self._torques = (
            [reading for reading, read in sensors.items() if read == (sensor,)]
            for sensor in (FORCE_SENSOR, TORQUE_SENSOR)
        )
        for reading, read in sensors.items():
            if len(read) > 1 and {FORCE_SENSOR, TORQUE_SENSOR} & set(read):
                raise TaskError(
                    f"Reading '{reading}' has the sensors {', '.join(read)}: a wrench is read as two readings, of "
                    f"'{FORCE_SENSOR}' alone and of '{TORQUE_SENSOR}' alone."
                )
        if not self._forces and not self._torques:
            return
        if _TURN not in sensors:
            raise TaskError(
                f"A task that reads the wrench needs a reading '{_TURN}', from the sensor of that name: the tool's "
                "weight is taken out with it."
            )
        self._weight, self._arm = tool_weight(model)

    def taken_out(self, readings: Readings) -> Readings:
        """The readings [N, ...], wrenches without the tool's weight."""
        if not self._forces and not self._torques:
            return readings
        weight = _turned_back(readings[_TURN], self._weight)
        changed = {}
        for force in self._forces:
            changed[force] = -readings[force] - weight
        for torque in self._torques:
            lever = np.broadcast_to(self._arm, weight.shape)
            changed[torque] = -readings[torque] - jnp.cross(lever, weight)
        return readings | changed


def tool_weight(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
    """Of what hangs on the TCP's body: the weight [3] N in the base frame, the centre of mass [3] m in that of the TCP.

    With the fingers as at qpos0: they move in opposite directions.
    """
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    site = model.site("tcp")
    body = int(site.bodyid[0])
    turn = data.site(site.id).xmat.reshape(3, 3)
    com = turn.T @ (data.subtree_com[body] - data.site(site.id).xpos)
    seen = np.zeros(9)  # as the sensor has it, in the base frame
    mujoco.mju_quat2Mat(seen, data.sensor(_TURN).data)
    gravity = seen.reshape(3, 3) @ turn.T @ model.opt.gravity
    weight = model.body_subtreemass[body] * gravity
    return weight.astype(np.float32), com.astype(np.float32)


def reader_of(model: mujoco.MjModel) -> Callable[[mujoco.MjData], tuple[np.ndarray, np.ndarray]]:
    """What reads force [3] N and torque [3] Nm out of the data of one simulation, as the slots have them."""
    weight, com = tool_weight(model)

    def read(data: mujoco.MjData) -> tuple[np.ndarray, np.ndarray]:
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, data.sensor(_TURN).data)
        pull = turn.reshape(3, 3).T @ weight
        return -data.sensor(FORCE_SENSOR).data - pull, -data.sensor(TORQUE_SENSOR).data - np.cross(com, pull)

    return read


def _turned_back(quat: Array, vector: np.ndarray) -> Array:
    """A vector [3] of the base frame in the frames of unit quaternions [N, 4] (w, x, y, z)."""
    w, axis = quat[:, :1], -quat[:, 1:]
    given = jnp.broadcast_to(vector, axis.shape)
    across = jnp.cross(axis, given)
    return given + 2.0 * (w * across + jnp.cross(axis, across))

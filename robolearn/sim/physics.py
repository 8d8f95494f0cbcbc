"""The physics contract: `step(state, ctrl) -> state` on batched arrays, the same for every engine.

The state in JAX is the whole truth: an engine keeps nothing that a checkpoint of `PhysicsState` lacks. The state is
the same pytree for every engine, so a run can move between engines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from robolearn.errors import PhysicsError, unknown
from robolearn.sim.pytree import pytree

Array = jax.Array
ModelFields = dict[str, Array]


@pytree
class PhysicsState:
    """N simulations. time [N] s, qpos [N, nq], qvel [N, nv], act [N, na], qacc_warmstart [N, nv],
    sensordata [N, ns], failed [N] bool (not finite, or the engine gave up), overflow [N] int32 (contacts or
    constraints that did not fit the engine's buffers).
    """

    time: Array
    qpos: Array
    qvel: Array
    act: Array
    qacc_warmstart: Array
    sensordata: Array
    failed: Array
    overflow: Array


class Room(NamedTuple):
    """What an engine with buffers of fixed size keeps for one simulation: contacts, or pairs of geoms near each other,
    and rows of constraints. Too little is reported in `PhysicsState.overflow`.
    """

    contacts: int = 48
    rows: int = 200


class Physics(ABC):
    """One engine, one model, num_envs simulations.

    `fields` are per-simulation values of MjModel fields, {name: [N, ...]}: the draws of domain randomisation. An
    entry `drawn` may name each simulation's values, see `sim/constants.py`.
    """

    engine: str

    def __init__(self, model: mujoco.MjModel, num_envs: int):
        self.model = model
        self.num_envs = num_envs

    @abstractmethod
    def step(self, state: PhysicsState, ctrl: Array, fields: ModelFields) -> PhysicsState:
        """Advance every simulation by the substeps of ctrl [N, substeps, nu]; read sensors at the new state."""

    @abstractmethod
    def _look(self, ids: Array, qpos: Array, qvel: Array, fields: ModelFields) -> tuple[Array, ModelFields]:
        """Sensors [K, ns] and derived constants of simulations ids [K]; arguments and constants as in `reset`."""

    def reset(
        self, state: PhysicsState, ids: Array, qpos: Array, qvel: Array, fields: ModelFields
    ) -> tuple[PhysicsState, ModelFields]:
        """Put simulations ids [K] at qpos [K, nq], qvel [K, nv] and time 0; read their sensors.

        fields: {name: [K, ...]}. An id of num_envs or more is no simulation. Returns the state of all N, and what
        this engine wants in `fields` beside the draws of the K: constants that follow, see `sim/constants.py`.
        """
        sensordata, constants = self._look(ids, qpos, qvel, fields)
        fresh = {"qpos": qpos, "qvel": qvel, "sensordata": sensordata, "failed": False}
        rows = {
            name: getattr(state, name).at[ids].set(fresh.get(name, 0), mode="drop")
            for name in PhysicsState.__dataclass_fields__
        }
        return PhysicsState(**rows), constants

    def blank(self) -> PhysicsState:
        """A state of the right shapes, to be reset."""
        n, m = self.num_envs, self.model
        return PhysicsState(
            time=jnp.zeros(n),
            qpos=jnp.tile(jnp.asarray(m.qpos0, jnp.float32), (n, 1)),
            qvel=jnp.zeros((n, m.nv)),
            act=jnp.zeros((n, m.na)),
            qacc_warmstart=jnp.zeros((n, m.nv)),
            sensordata=jnp.zeros((n, m.nsensordata)),
            failed=jnp.zeros(n, bool),
            overflow=jnp.zeros(n, jnp.int32),
        )


def sensor_columns(model: mujoco.MjModel, names: tuple[str, ...]) -> np.ndarray:
    """Columns of sensordata that the named sensors fill, in order. Raises PhysicsError for an unknown name."""
    columns: list[int] = []
    known = [model.sensor(i).name for i in range(model.nsensor)]
    for name in names:
        if name not in known:
            raise PhysicsError(unknown("sensor", name, known))
        sensor = model.sensor(name)
        columns.extend(range(sensor.adr[0], sensor.adr[0] + sensor.dim[0]))
    return np.array(columns, dtype=np.int32)


def sensor_stage(model: mujoco.MjModel) -> np.ndarray:
    """The stage of MuJoCo's pipeline that fills each column of sensordata, [nsensordata]."""
    return np.repeat(model.sensor_needstage, model.sensor_dim)


def needs_whole_pass(model: mujoco.MjModel) -> bool:
    """Whether a position or velocity sensor depends on constraints, energies or code of the user's."""
    early = model.sensor_needstage != mujoco.mjtStage.mjSTAGE_ACC
    return bool(np.isin(model.sensor_type[early], _WHOLE_PASS).any())


_SENSOR = mujoco.mjtSensor
_WHOLE_PASS = [
    int(kind)
    for kind in (
        _SENSOR.mjSENS_JOINTLIMITPOS,
        _SENSOR.mjSENS_JOINTLIMITVEL,
        _SENSOR.mjSENS_TENDONLIMITPOS,
        _SENSOR.mjSENS_TENDONLIMITVEL,
        _SENSOR.mjSENS_CONTACT,
        _SENSOR.mjSENS_E_POTENTIAL,
        _SENSOR.mjSENS_E_KINETIC,
        _SENSOR.mjSENS_PLUGIN,
        _SENSOR.mjSENS_USER,
    )
]

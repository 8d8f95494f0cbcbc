"""The `native` engine: MuJoCo's C engine on a thread pool, called from inside the jitted program.

The callback is pure: it writes the JAX state into the batch's rows, steps, and reads back. The batch holds no
truth of its own. Results do not depend on the number of threads.

Sensors are read at the new state. That takes a second pass over positions and velocities, which would cost most of
a substep; with constraints and passive forces switched off for that pass it costs a fifth of one and gives the same
numbers, because no sensor of these stages depends on them (those that do force the whole pass).
"""

from __future__ import annotations

import os
import threading

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco.batch import Batch, SimulationError

from robolearn.errors import PhysicsError
from robolearn.sim.constants import FieldRows
from robolearn.sim.physics import Array, ModelFields, Physics, PhysicsState, needs_whole_pass, sensor_stage

_STATE = ("time", "qpos", "qvel", "act", "qacc_warmstart")  # the order of MuJoCo's own state rows
_Stage = mujoco.mjtStage
_OFF = mujoco.mjtDisableBit
_LEAN = int(_OFF.mjDSBL_CONSTRAINT | _OFF.mjDSBL_CONTACT | _OFF.mjDSBL_SPRING | _OFF.mjDSBL_DAMPER)


class NativePhysics(Physics):
    """MuJoCo's C engine over num_envs simulations, on every core the process may use."""

    engine = "native"

    def __init__(self, model: mujoco.MjModel, num_envs: int, threads: int | None = None):
        super().__init__(model, num_envs)
        if model.nmocap or model.nplugin or model.nhistory:
            raise PhysicsError(
                "The native engine carries no mocap bodies, plugins or actuator delays: remove them."
            )
        self._batch = Batch(model, num_envs, nthread=threads or len(os.sched_getaffinity(0)))
        self._rows = FieldRows(self._batch)
        self._widths = [1, model.nq, model.nv, model.na, model.nv, model.nsensordata]
        self._width = sum(self._widths[:-1])
        self._state = self._batch.state[:, : self._width]
        self._sensordata = self._batch.bind("sensordata")
        self._flags = self._batch.expand("opt.disableflags")
        self._lean = _LEAN if not needs_whole_pass(model) else 0
        stage = sensor_stage(model)
        self._late = np.flatnonzero(stage == _Stage.mjSTAGE_ACC)
        self._speed_columns, self._speed_dofs, only_these = _joint_speeds(model, stage)
        self._stage = int(_Stage.mjSTAGE_POS if only_these and self._lean else _Stage.mjSTAGE_VEL)
        self._lock = threading.Lock()
        self._out = jax.ShapeDtypeStruct((num_envs, self._width + model.nsensordata + 2), jnp.float32)

    def step(self, state: PhysicsState, ctrl: Array, fields: ModelFields) -> PhysicsState:
        """See `Physics.step`."""
        packed = jax.pure_callback(self._step, self._out, self._pack(state), ctrl, fields)
        ends = np.cumsum(self._widths)
        time, qpos, qvel, act, warmstart, sensordata, flags = jnp.split(packed, ends, axis=1)
        return PhysicsState(
            time=time[:, 0],
            qpos=qpos,
            qvel=qvel,
            act=act,
            qacc_warmstart=warmstart,
            sensordata=sensordata,
            failed=state.failed | (flags[:, 0] > 0),
            overflow=state.overflow + flags[:, 1].astype(jnp.int32),
        )

    def _look(self, ids: Array, qpos: Array, qvel: Array, fields: ModelFields) -> tuple[Array, ModelFields]:
        """See `Physics._look`."""
        count = ids.shape[0]
        sensors = jax.ShapeDtypeStruct((count, self.model.nsensordata), jnp.float32)
        shapes = (sensors, self._rows.shapes(fields, count))
        return jax.pure_callback(self._read, shapes, ids, qpos, qvel, fields)

    def _pack(self, state: PhysicsState) -> Array:
        return jnp.concatenate([state.time[:, None], *(getattr(state, name) for name in _STATE[1:])], axis=1)

    def _step(self, packed: Array, ctrl: Array, fields: ModelFields) -> np.ndarray:
        with self._lock:
            return self._advance(np.asarray(packed), np.asarray(ctrl), fields)

    def _advance(self, packed: np.ndarray, ctrl: np.ndarray, fields: ModelFields) -> np.ndarray:
        self._rows.load(fields)
        self._state[:] = packed
        out = np.empty(self._out.shape, np.float32)
        flags, sensors = out[:, -2:], out[:, self._width : -2]
        flags[:] = 0.0
        self._batch.warning[:] = 0
        try:
            self._batch.rollout(ctrl.shape[1], ctrl, int(mujoco.mjtState.mjSTATE_CTRL), record=())
        except SimulationError as error:
            flags[error.ids, 0] = 1.0
        out[:, : self._width] = self._state
        warnings = self._batch.warning[:, :, 1]  # (last info, count) for each kind of warning
        late = self._sensordata[
            :, self._late
        ]  # acceleration sensors speak of the last substep, as with mj_step
        flags[:, 1] = warnings[:, _FULL].sum(axis=1)
        flags[:, 0] += warnings[:, _DIVERGED].sum(axis=1)
        self._sense(None, self._stage, flags)
        sensors[:] = self._sensordata
        sensors[:, self._late] = late
        sensors[:, self._speed_columns] = self._state[:, 1 + self.model.nq + self._speed_dofs]
        flags[:, 0] += ~np.isfinite(out).all(axis=1)
        return out

    def _read(
        self, ids: Array, qpos: Array, qvel: Array, fields: ModelFields
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        wanted = np.asarray(ids)
        real = wanted < self.num_envs
        rows, nq = wanted[real], self.model.nq
        sensordata = np.zeros((len(wanted), self.model.nsensordata), np.float32)
        with self._lock:
            self._rows.put(rows, {name: np.asarray(values)[real] for name, values in fields.items()})
            self._state[rows] = 0.0
            self._state[rows, 1 : 1 + nq] = np.asarray(qpos)[real]
            self._state[rows, 1 + nq : 1 + nq + self.model.nv] = np.asarray(qvel)[real]
            if self._late.size:
                self._batch.forward(rows)
            elif rows.size:
                self._sense(rows, self._stage, np.zeros((self.num_envs, 1)))
            sensordata[real] = self._sensordata[rows]
            dofs = 1 + nq + self._speed_dofs
            sensordata[np.ix_(real, self._speed_columns)] = self._state[np.ix_(rows, dofs)]
            return sensordata, self._rows.derived(fields, np.minimum(wanted, self.num_envs - 1))

    def _sense(self, ids: np.ndarray | None, stage: int, flags: np.ndarray) -> None:
        """Compute position and velocity sensors at the state now, with nothing else switched on."""
        usual = self._flags.copy()
        self._flags |= self._lean
        try:
            self._batch.forward(ids, stage=stage)
        except SimulationError as error:
            flags[error.ids, 0] = 1.0
        finally:
            self._flags[:] = usual


_DIVERGED = [
    int(w)
    for w in (
        mujoco.mjtWarning.mjWARN_BADQPOS,
        mujoco.mjtWarning.mjWARN_BADQVEL,
        mujoco.mjtWarning.mjWARN_BADQACC,
        mujoco.mjtWarning.mjWARN_BADCTRL,
    )
]
_FULL = [int(w) for w in (mujoco.mjtWarning.mjWARN_CONTACTFULL, mujoco.mjtWarning.mjWARN_CNSTRFULL)]


def _joint_speeds(model: mujoco.MjModel, stage: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Columns of plain joint speed sensors, their degrees of freedom, and whether no other sensor needs speeds."""
    plain = [
        i
        for i in range(model.nsensor)
        if model.sensor_type[i] == mujoco.mjtSensor.mjSENS_JOINTVEL and model.sensor_cutoff[i] == 0
    ]
    columns = model.sensor_adr[plain]
    dofs = model.jnt_dofadr[model.sensor_objid[plain]]
    return columns, dofs, set(np.flatnonzero(stage == _Stage.mjSTAGE_VEL)) == set(columns)

"""The `native` engine: MuJoCo's C engine on a thread pool, called from inside the jitted program.

The callback is pure: it writes the JAX state into the batch's rows, steps, and reads back. The batch holds no
truth of its own. Results do not depend on the number of threads.

Sensors are read at the new state. Those that follow from positions and speeds alone are computed in JAX
(`sim/sensors.py`); where a model has others of that kind, the C engine reads them all in a second pass, with
constraints and passive forces switched off where no sensor depends on them. Sensors of accelerations and forces are
those of the last substep, as with mj_step.
"""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco.batch import Batch, SimulationError

from robolearn.errors import PhysicsError
from robolearn.sim.callback import host_call
from robolearn.sim.constants import FieldRows
from robolearn.sim.physics import Array, ModelFields, Physics, PhysicsState, needs_whole_pass, sensor_stage
from robolearn.sim.sensors import covers_early, sensors

_STATE = ("time", "qpos", "qvel", "act", "qacc_warmstart")  # the order of MuJoCo's own state rows
_OFF = mujoco.mjtDisableBit
_LEAN = int(_OFF.mjDSBL_CONSTRAINT | _OFF.mjDSBL_CONTACT | _OFF.mjDSBL_SPRING | _OFF.mjDSBL_DAMPER)


class NativePhysics(Physics):
    """MuJoCo's C engine over num_envs simulations, on every core the process may use."""

    engine = "native"

    def __init__(self, model: mujoco.MjModel, num_envs: int, threads: int | None = None):
        super().__init__(model, num_envs)
        if model.nmocap or model.nplugin or model.nhistory:
            raise PhysicsError(
                "The native engine does not support mocap bodies, plugins or actuator delays: remove them."
            )
        threads = min(num_envs, threads or len(os.sched_getaffinity(0)))
        self._batch = Batch(model, num_envs, nthread=threads)
        self._rows = FieldRows(self._batch)
        widths = [1, model.nq, model.nv, model.na, model.nv]
        self._state = self._batch.state[:, : sum(widths)]
        self._parts = np.split(self._state, np.cumsum(widths)[:-1], axis=1)
        self._ones = np.ones(self._state.shape[1])
        self._lock = threading.Lock()
        self._flags = self._batch.expand("opt.disableflags")
        self._in_jax = covers_early(model)
        self._late = np.flatnonzero(sensor_stage(model) == mujoco.mjtStage.mjSTAGE_ACC)
        self._reads = self._late.size > 0 or not self._in_jax  # whether the C engine reads any sensor
        self._compute = jax.jit(
            jax.vmap(partial(sensors, model))
        )  # traced once for each shape, not at each use
        if self._reads:
            self._sensordata = self._batch.bind("sensordata")
            self._lean = _LEAN if not needs_whole_pass(model) else 0
        else:
            self._flags |= int(_OFF.mjDSBL_SENSOR)

    def step(self, state: PhysicsState, ctrl: Array, fields: ModelFields) -> PhysicsState:
        """See `Physics.step`."""
        rows = [getattr(state, name) for name in _STATE]
        shapes = jax.eval_shape(self.blank).replace(sensordata=self._read_here(self.num_envs))
        after = host_call(self._step, shapes, rows, ctrl, fields)
        if self._in_jax:
            early = self._compute(after.qpos, after.qvel, fields)
            if self._reads:
                early = early.at[:, self._late].set(after.sensordata[:, self._late])
            after = after.replace(sensordata=early)
        return after.replace(failed=state.failed | after.failed, overflow=state.overflow + after.overflow)

    def _look(self, ids: Array, qpos: Array, qvel: Array, fields: ModelFields) -> tuple[Array, ModelFields]:
        """See `Physics._look`. The batch derives its constants itself, in the step that meets new fields."""
        if not self._reads:
            return self._compute(qpos, qvel, fields), {}
        return host_call(self._read, self._read_here(ids.shape[0]), ids, qpos, qvel, fields), {}

    def _read_here(self, count: int) -> jax.ShapeDtypeStruct:
        """Shape of the sensors that a call on the host returns for count simulations: all of them or none."""
        return jax.ShapeDtypeStruct((count, self.model.nsensordata if self._reads else 0), jnp.float32)

    def _step(
        self, after: Any, rows: list[np.ndarray], ctrl: np.ndarray, fields: dict[str, np.ndarray]
    ) -> None:
        with self._lock:
            self._rows.load(fields)
            for part, values in zip(self._parts, rows, strict=True):
                part[:] = values.reshape(part.shape)
            failed, warning = after.failed, self._batch.warning
            failed[:] = False
            warning[:] = 0
            try:
                self._batch.rollout(ctrl.shape[1], ctrl, int(mujoco.mjtState.mjSTATE_CTRL), record=())
            except SimulationError as error:
                failed[error.ids] = True
            for part, name in zip(self._parts, _STATE, strict=True):
                values = getattr(after, name)
                values[:] = part.reshape(values.shape)
            after.overflow[:] = 0
            if warning.any():  # (last info, count) for each kind of warning
                after.overflow[:] = warning[:, _FULL, 1].sum(axis=1)
                failed |= warning[:, _DIVERGED, 1].any(axis=1)
            if self._reads:
                late = self._sensordata[:, self._late]
                if not self._in_jax:
                    self._sense(None, failed)
                after.sensordata[:] = self._sensordata
                after.sensordata[:, self._late] = late
            failed |= ~np.isfinite(self._state @ self._ones)
            if self._reads:
                failed |= ~np.isfinite(after.sensordata.sum(axis=1))

    def _read(
        self,
        sensordata: np.ndarray,
        ids: np.ndarray,
        qpos: np.ndarray,
        qvel: np.ndarray,
        fields: dict[str, np.ndarray],
    ) -> None:
        real = ids < self.num_envs
        rows = ids[real]
        sensordata[:] = 0.0
        if not rows.size:
            return
        with self._lock:
            self._rows.put(rows, {name: values[real] for name, values in fields.items()})
            self._state[rows] = 0.0
            _, positions, speeds, *_ = self._parts
            positions[rows], speeds[rows] = qpos[real], qvel[real]
            if self._late.size:
                self._at_rest(rows)
            else:
                self._sense(rows, np.zeros(self.num_envs, bool))
            sensordata[real] = self._sensordata[rows]

    def _at_rest(self, ids: np.ndarray) -> None:
        """Compute every sensor where the drives do nothing yet: no commands have come that they could follow."""
        usual = self._flags.copy()
        self._flags |= int(_OFF.mjDSBL_ACTUATION)
        try:
            self._batch.forward(ids)
        finally:
            self._flags[:] = usual

    def _sense(self, ids: np.ndarray | None, failed: np.ndarray) -> None:
        """Compute position and velocity sensors at the state now, with nothing else switched on."""
        usual = self._flags.copy()
        self._flags |= self._lean
        try:
            self._batch.forward(ids, stage=int(mujoco.mjtStage.mjSTAGE_VEL))
        except SimulationError as error:
            failed[error.ids] = True
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

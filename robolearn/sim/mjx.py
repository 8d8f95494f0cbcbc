"""The `jax` and `warp` engines: MuJoCo XLA, on any XLA device or on NVIDIA GPUs (and, slowly, on a CPU).

Each step rebuilds the engine's data from `PhysicsState`, so nothing outlives the step that a checkpoint lacks. Nothing
waits for the host: sensors and the constants that follow drawn values are computed in JAX.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

from robolearn.errors import MissingDependency, PhysicsError
from robolearn.sim import contacts
from robolearn.sim.constants import derived_names
from robolearn.sim.derived import DerivedConstants
from robolearn.sim.physics import (
    Array,
    ModelFields,
    Physics,
    PhysicsState,
    Room,
    needs_whole_pass,
    sensor_stage,
)
from robolearn.sim.sensors import covers_early, sensors

# How a step of warp becomes a CUDA graph. WARP keeps one graph for each set of buffers it is called with and replays it
# with no copy; inside a jitted loop the buffers stay where they are. The staged modes have one graph, and copy every
# array in and out around it.
GRAPH_MODE = "WARP"
GRAPH_MODES = ("WARP", "WARP_STAGED", "WARP_STAGED_EX", "JAX")


class MjxPhysics(Physics):
    """MuJoCo XLA over num_envs simulations, in float32; impl is `jax` or `warp`.

    room: for warp, whose buffers do not grow; that of contacts is shared by all simulations. graph_mode: for warp on a
    GPU, one of GRAPH_MODES.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        num_envs: int,
        impl: str,
        room: Room = Room(),  # noqa: B008
        graph_mode: str = GRAPH_MODE,
    ):
        super().__init__(model, num_envs)
        self.engine = impl
        self._refuse(model)
        sizes: dict[str, Any] = {}
        put: dict[str, Any] = {}
        if impl == "warp":
            put = {"graph_mode": _warp_graph(graph_mode)}
            sizes = {"naconmax": room.contacts * num_envs, "njmax": room.rows}
        lean, moving, resting = (copy.copy(model) for _ in range(3))
        # at a start no commands have come that drives could follow
        resting.opt.disableflags |= int(_OFF.mjDSBL_ACTUATION)
        if not needs_whole_pass(model):
            lean.opt.disableflags |= int(_OFF.mjDSBL_CONSTRAINT | _OFF.mjDSBL_CONTACT)
        self._in_jax = covers_early(model)
        self._late = sensor_stage(model) == mujoco.mjtStage.mjSTAGE_ACC
        if self._in_jax and not self._late.any():
            moving.opt.disableflags |= int(_OFF.mjDSBL_SENSOR)
        self._derived = DerivedConstants(model)
        try:
            self._model = _quiet(mjx.put_model(moving, impl=impl, **put))
            self._sensing_model = None if self._in_jax else _quiet(mjx.put_model(lean, impl=impl, **put))
            self._resting_model = (
                _quiet(mjx.put_model(resting, impl=impl, **put)) if self._late.any() else None
            )
            self._data = mjx.make_data(model, impl=impl, **sizes)
        except (NotImplementedError, ValueError) as error:
            raise PhysicsError(
                f"The '{impl}' engine cannot run this model: {error}. Use the native engine."
            ) from None
        limited = model.actuator_forcelimited.astype(bool)[:, None]
        self._force_min, self._force_max = np.where(limited, model.actuator_forcerange, [-np.inf, np.inf]).T

    def step(self, state: PhysicsState, ctrl: Array, fields: ModelFields) -> PhysicsState:
        """See `Physics.step`."""
        return jax.vmap(self._step)(state, ctrl, fields)

    def _look(self, ids: Array, qpos: Array, qvel: Array, fields: ModelFields) -> tuple[Array, ModelFields]:
        """See `Physics._look`."""
        constants = jax.vmap(self._derived)(fields) if derived_names(self.model, fields) else {}
        if self._in_jax and not self._late.any():
            return jax.vmap(partial(sensors, self.model))(qpos, qvel, fields), constants
        count = ids.shape[0]
        blank = jax.tree.map(lambda x: jnp.zeros((count, *x.shape[1:]), x.dtype), self.blank())
        start = blank.replace(qpos=qpos, qvel=qvel)
        model = self._resting_model if self._late.any() else self._sensing_model
        data = jax.vmap(lambda s, f: self.forward(_with(model, f), self._load(s)))(start, fields | constants)
        return data.sensordata, constants

    def _step(self, state: PhysicsState, ctrl: Array, fields: ModelFields) -> PhysicsState:
        model = _with(self._model, fields)

        def substep(data: Any, u: Array) -> tuple[Any, Array]:
            data = self._advance(model, data.replace(ctrl=u))
            return data, self._overflow(data)

        data, overflow = jax.lax.scan(substep, self._load(state), ctrl)
        sensordata = self._sense(data, fields)
        finite = (
            jnp.isfinite(data.qpos).all() & jnp.isfinite(data.qvel).all() & jnp.isfinite(sensordata).all()
        )
        return PhysicsState(
            time=data.time,
            qpos=data.qpos,
            qvel=data.qvel,
            act=data.act,
            qacc_warmstart=data.qacc_warmstart,
            sensordata=sensordata,
            failed=state.failed | ~finite,
            overflow=state.overflow + overflow.max().astype(jnp.int32),
        )

    def forward(self, model: Any, data: Any) -> Any:
        """`mjx.forward` of one simulation; on the jax engine with each contact point once, see `sim/contacts.py`."""
        return (contacts if self.engine == "jax" else mjx).forward(model, data)

    def _advance(self, model: Any, data: Any) -> Any:
        """`mjx.step`; on the jax engine with what it leaves out of the implicit integrator.

        The force of an actuator at its limit does not change with speed. MuJoCo's other engines therefore leave such
        an actuator out of the derivative, mjx.implicit does not, and the arm would feel damping that is not there.
        """
        if self.engine != "jax":
            return mjx.step(model, data)
        data = self.forward(model, data)
        if model.opt.integrator == mujoco.mjtIntegrator.mjINT_EULER:
            return mjx.euler(model, data)
        free = (data.actuator_force > self._force_min) & (data.actuator_force < self._force_max)
        slopes = {
            name: jnp.asarray(getattr(model, name)).at[:, 2].multiply(free)
            for name in ("actuator_biasprm", "actuator_gainprm")
        }
        return mjx.implicit(model.tree_replace(slopes), data)

    def _load(self, state: PhysicsState) -> Any:
        return self._data.replace(
            time=state.time,
            qpos=state.qpos,
            qvel=state.qvel,
            act=state.act,
            qacc_warmstart=state.qacc_warmstart,
        )

    def _sense(self, data: Any, fields: ModelFields) -> Array:
        """Sensors at the state now; those of accelerations speak of the last substep, as with mj_step."""
        if self._in_jax:
            early = sensors(self.model, data.qpos, data.qvel, fields)
            return jnp.where(self._late, data.sensordata, early) if self._late.any() else early
        now = self.forward(_with(self._sensing_model, fields), data)
        return jnp.where(self._late, data.sensordata, now.sensordata)

    def _overflow(self, data: Any) -> Array:
        """Whether this substep ran out of room. The jax engine sizes its buffers for every contact there can be.

        Warp has a buffer of constraint rows for each world, and one of contacts for all worlds together: where the
        latter is full it is unknown whose contacts were lost, so every world is marked as overflowed.
        """
        if self.engine == "jax":
            return jnp.zeros((), jnp.int32)
        return ((jnp.ravel(data._impl.overflow) & _OUT_OF_ROOM) != 0).any().astype(jnp.int32)

    def _refuse(self, model: mujoco.MjModel) -> None:
        """Name what MuJoCo XLA would drop without a word."""
        if model.nhistory:
            raise PhysicsError(
                f"The '{self.engine}' engine ignores actuator and sensor delays: use the native engine."
            )
        if self.engine == "jax" and model.opt.integrator not in _INTEGRATORS:
            name = mujoco.mjtIntegrator(model.opt.integrator).name
            raise PhysicsError(
                f"The 'jax' engine does not have the integrator {name}: set implicitfast or Euler, or use the native "
                "engine."
            )
        if model.nplugin or model.nmocap:
            raise PhysicsError(
                f"The '{self.engine}' engine does not support plugins or mocap bodies: remove them."
            )


_OFF = mujoco.mjtDisableBit
_INTEGRATORS = (mujoco.mjtIntegrator.mjINT_EULER, mujoco.mjtIntegrator.mjINT_IMPLICITFAST)

# Bits of mujoco_warp's OverflowType that mean lost contacts or constraints: NEFC, NJMAX_NNZ, BROADPHASE, NARROWPHASE,
# CCD, HFIELD, CONTACT_MATCH, NVMAX, EPA_HORIZON, TACTILE. ITERATIONS and LS_ITERATIONS say that a solver stopped at
# its limit, which is its normal way to stop on some models; `native` and `jax` stop there without a word.
_OUT_OF_ROOM = 0b1001_1111_1111


def _with(model: Any, fields: ModelFields) -> Any:
    """The model with values of one simulation; what an engine has no field for, it has no use for."""
    known = {}
    for name, value in fields.items():
        own = name if name.startswith("opt.") or hasattr(model, name) else f"_impl.{name}"
        if own == name or hasattr(model._impl, name):
            known[own] = value
    return model.tree_replace(known) if known else model


def _warp_graph(mode: str) -> Any:
    """The graph mode of that name; None, which leaves it to MJX, where there is no GPU. Raises MissingDependency."""
    try:
        import warp
    except ImportError:
        raise MissingDependency(
            "The 'warp' engine needs warp-lang: pip install 'robolearn[warp]' (or use engine=native)."
        ) from None
    warp.config.log_level = max(
        warp.config.log_level, warp.LOG_WARNING
    )  # no line for each module that it loads
    return None if jax.default_backend() == "cpu" else getattr(warp.JaxCallableGraphMode, mode)


def _quiet(model: Any) -> Any:
    """The model, without warp's prints from inside its kernels: `PhysicsState.overflow` has what they would say."""
    if not hasattr(model.opt._impl, "warn_overflow"):
        return model
    return model.tree_replace({"opt._impl.warn_overflow": 0})

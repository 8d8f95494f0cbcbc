"""Domain randomisation: what differs between episodes, declared once and drawn in JAX for every engine.

    randomization:
      body_mass_scale: {"*": [0.95, 1.05], cube: [0.5, 2.0]}   # the last pattern that matches a name holds
      friction_scale: [0.7, 1.3]                                 # short for {"*": [0.7, 1.3]}
      joint_damping_scale: null                                  # none, whatever the task declares
      gravity_tilt_rad: 0.02
      sensor_noise: {joint_position: 0.0005, rad/s: 0.01}
      action_delay_ms: [5, 15]

Every draw is uniform between its two numbers, independent for each name, anew at each episode's start.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field

from robolearn.errors import TaskError, unknown
from robolearn.sim.sensing import SensingConfig

Array = jax.Array
Range = tuple[float, float]


def _as_patterns(value: Any) -> Any:
    if value is None:  # what a task declares is taken back
        return {}
    return {"*": value} if isinstance(value, list | tuple) else value


def _ordered(value: dict[str, Range]) -> dict[str, Range]:
    for name, (low, high) in value.items():
        if not (np.isfinite([low, high]).all() and low <= high):
            raise ValueError(f"the range of '{name}' must be [low, high], finite, with low <= high")
    return value


def _positive(value: dict[str, Range]) -> dict[str, Range]:
    for name, (low, _) in value.items():
        if low <= 0.0:
            raise ValueError(f"the scale of '{name}' must be above 0")
    return value


Ranges = Annotated[dict[str, Range], BeforeValidator(_as_patterns), AfterValidator(_ordered)]
Scales = Annotated[Ranges, AfterValidator(_positive)]


class Randomization(SensingConfig):
    """Ranges of the physics of one episode, by name pattern; sensor effects are in `SensingConfig`.

    body_mass_scale: of bodies; the inertia follows, and an arm's own gravity compensation stays that of the
    nominal mass, as on a real arm. body_com_offset_m: of bodies, along each axis of the body frame; gravity
    compensation follows it. body_inertia_scale: of bodies, beyond what the mass does. friction_scale: of all geoms of
    a body (`world` is the table and the floor), all coefficients; MuJoCo takes the larger of two touching geoms.
    joint_damping_scale, joint_armature_scale, joint_friction_scale: of joints; the last of their Coulomb friction,
    which only a calibrated arm has. actuator_gain_scale: of actuators, stiffness and damping together;
    actuator_damping_scale: of the damping beyond that; actuator_strength_scale: of their largest force.
    gravity_tilt_rad: largest angle of gravity from its nominal direction, about any horizontal axis.
    object_size_scale: of the bodies that the task names in
    `objects`, at constant density. pose: where the task puts its objects, its goals and the arm at the start, each
    drawn by itself; the names, which end in the unit, are the task's own.
    """

    body_mass_scale: Scales = {}
    body_com_offset_m: Ranges = {}
    body_inertia_scale: Scales = {}
    friction_scale: Scales = {}
    joint_damping_scale: Scales = {}
    joint_armature_scale: Scales = {}
    joint_friction_scale: Scales = {}
    actuator_damping_scale: Scales = {}
    actuator_gain_scale: Scales = {}
    actuator_strength_scale: Scales = {}
    gravity_tilt_rad: Annotated[float, Field(ge=0.0, lt=1.5)] = 0.0
    object_size_scale: Scales = {}
    pose: Ranges = {}


class Draw(NamedTuple):
    """One episode's physics. fields: {MjModel field: value}. size: {object: scale}."""

    fields: dict[str, Array]
    size: dict[str, Array]


class _Term(NamedTuple):
    """Rows [k] of a model field, and the range of each, [k] and [k]."""

    rows: np.ndarray
    low: np.ndarray
    high: np.ndarray


_TERMS = (
    "body_mass_scale", "body_com_offset_m", "body_inertia_scale", "friction_scale", "joint_damping_scale",
    "joint_armature_scale", "actuator_gain_scale", "actuator_strength_scale", "object_size_scale",
    "joint_friction_scale", "actuator_damping_scale",
)  # fmt: skip


def prepare(spec: mujoco.MjSpec, config: Randomization) -> None:
    """Keep the mass matrix general where a moved centre of mass will need it; the compiler would specialise it."""
    if config.body_com_offset_m:
        for body in spec.bodies:
            if body.name != "world":
                body.simple = False


class Randomizer:
    """Draws the physics of episodes of one compiled model.

    Raises TaskError for a pattern that matches nothing, or an object that cannot be resized.
    """

    def __init__(self, model: mujoco.MjModel, config: Randomization, objects: tuple[str, ...] = ()):
        self._model = model
        self._tilt = config.gravity_tilt_rad
        self._objects = {name: model.body(name).id for name in objects}
        bodies = {model.body(i).name: i for i in range(1, model.nbody)}
        joints = {model.joint(i).name: i for i in range(model.njnt)}
        actuators = {model.actuator(i).name: i for i in range(model.nu)}
        massive = {name: i for name, i in bodies.items() if model.body_mass[i] > 0}
        solid = {model.body(i).name: i for i in range(model.nbody) if model.body_geomnum[i] > 0}
        moving = {name: i for name, i in joints.items() if model.jnt_type[i] in _ONE_AXIS}
        named = {
            "body_mass_scale": massive, "body_com_offset_m": massive, "body_inertia_scale": massive,
            "friction_scale": solid, "joint_damping_scale": moving, "joint_armature_scale": moving,
            "joint_friction_scale": moving, "actuator_damping_scale": actuators,
            "actuator_gain_scale": actuators, "actuator_strength_scale": actuators,
            "object_size_scale": self._objects,
        }  # fmt: skip
        self._terms = {
            name: _match(name, getattr(config, name), named[name]) for name in _TERMS if getattr(config, name)
        }
        self._check()
        self._underside = {name: _underside(model, i) for name, i in self._objects.items()}

    @property
    def active(self) -> bool:
        """Whether any of the physics is drawn."""
        return bool(self._terms) or self._tilt > 0.0

    def draw(self, key: Array) -> Draw:
        """The physics of one episode."""
        keys = {name: jax.random.fold_in(key, i) for i, name in enumerate((*_TERMS, "gravity"))}
        drawn = {name: self._uniform(name, keys[name]) for name in self._terms if name != "body_com_offset_m"}
        fields: dict[str, Array] = {}
        size = self._bodies(drawn, "object_size_scale")
        fields |= self._inertial(drawn, size, keys["body_com_offset_m"])
        fields |= self._contact(drawn, size)
        fields |= self._drive(drawn)
        if self._tilt > 0.0:
            fields["opt.gravity"] = self._gravity(keys["gravity"])
        resized = "object_size_scale" in self._terms
        return Draw(fields, {name: size[i] for name, i in self._objects.items()} if resized else {})

    def lift(self, name: str, size: Array) -> Array:
        """How far up, m, an object of this size starts so that its underside is where the nominal one's would be."""
        return (1.0 - size) * self._underside[name]

    def _uniform(self, name: str, key: Array, *more: int) -> Array:
        term = self._terms[name]
        low, high = (x.reshape(-1, *[1] * len(more)) for x in (term.low, term.high))
        return jax.random.uniform(key, (len(term.rows), *more), minval=low, maxval=high)

    def _bodies(self, drawn: Mapping[str, Array], name: str) -> Array:
        """A factor for every body, [nbody]: as drawn, 1 elsewhere."""
        ones = jnp.ones(self._model.nbody)
        return ones.at[self._terms[name].rows].set(drawn[name]) if name in drawn else ones

    def _inertial(self, drawn: Mapping[str, Array], size: Array, key: Array) -> dict[str, Array]:
        model, fields = self._model, {}
        heavier = {"body_mass_scale", "object_size_scale"} & set(drawn)
        mass = self._bodies(drawn, "body_mass_scale") * size**3
        if heavier:
            fields["body_mass"] = _float(model.body_mass) * mass
            if model.body_gravcomp.any():
                fields["body_gravcomp"] = _float(model.body_gravcomp) / mass
        if heavier or "body_inertia_scale" in drawn:
            scale = mass * size**2 * self._bodies(drawn, "body_inertia_scale")
            fields["body_inertia"] = _float(model.body_inertia) * scale[:, None]
        if "object_size_scale" in drawn:
            fields["body_ipos"] = _float(model.body_ipos) * size[:, None]
        if "body_com_offset_m" in self._terms:
            rows = self._terms["body_com_offset_m"].rows
            place = fields.get("body_ipos", _float(model.body_ipos))
            fields["body_ipos"] = place.at[rows].add(self._uniform("body_com_offset_m", key, 3))
        return fields

    def _contact(self, drawn: Mapping[str, Array], size: Array) -> dict[str, Array]:
        model, fields = self._model, {}
        if "friction_scale" in drawn:
            scale = self._bodies(drawn, "friction_scale")[model.geom_bodyid]
            fields["geom_friction"] = _float(model.geom_friction) * scale[:, None]
        if "object_size_scale" in drawn:
            fields["geom_size"] = _float(model.geom_size) * size[model.geom_bodyid][:, None]
            fields["geom_pos"] = _float(model.geom_pos) * size[model.geom_bodyid][:, None]
            if model.nsite:
                fields["site_pos"] = _float(model.site_pos) * size[model.site_bodyid][:, None]
        return fields

    def _drive(self, drawn: Mapping[str, Array]) -> dict[str, Array]:
        model, fields = self._model, {}
        for term, field in (
            ("joint_damping_scale", "dof_damping"),
            ("joint_armature_scale", "dof_armature"),
            ("joint_friction_scale", "dof_frictionloss"),
        ):
            if term in drawn:
                joint = jnp.ones(model.njnt).at[self._terms[term].rows].set(drawn[term])
                fields[field] = _float(getattr(model, field)) * joint[model.dof_jntid]
        for term, names in (
            ("actuator_gain_scale", ("actuator_gainprm", "actuator_biasprm")),
            ("actuator_strength_scale", ("actuator_forcerange",)),
        ):
            if term in drawn:
                scale = jnp.ones(model.nu).at[self._terms[term].rows].set(drawn[term])
                fields |= {name: _float(getattr(model, name)) * scale[:, None] for name in names}
        if "actuator_damping_scale" in drawn:
            scale = (
                jnp.ones(model.nu)
                .at[self._terms["actuator_damping_scale"].rows]
                .set(drawn["actuator_damping_scale"])
            )
            bias = fields.get("actuator_biasprm", _float(model.actuator_biasprm))
            fields["actuator_biasprm"] = bias.at[:, 2].multiply(scale)
        return fields

    def _gravity(self, key: Array) -> Array:
        tilt, azimuth = jax.random.uniform(key, (2,), maxval=jnp.array([self._tilt, 2 * np.pi], jnp.float32))
        across = jnp.sin(tilt) * jnp.stack([jnp.cos(azimuth), jnp.sin(azimuth)])
        down = jnp.concatenate([across, -jnp.cos(tilt)[None]])
        return float(np.linalg.norm(self._model.opt.gravity)) * down

    def _check(self) -> None:
        model = self._model
        if self._tilt > 0.0 and (model.opt.gravity[:2].any() or model.opt.gravity[2] >= 0.0):
            raise TaskError("gravity_tilt_rad needs a scene whose gravity points down the z axis.")
        if "friction_scale" in self._terms and model.npair:
            raise TaskError(
                "friction_scale does not apply to explicit contact pairs: use contype and conaffinity instead."
            )
        if "actuator_strength_scale" in self._terms:
            rows = self._terms["actuator_strength_scale"].rows
            free = [model.actuator(i).name for i in rows if not model.actuator_forcelimited[i]]
            if free:
                raise TaskError(f"actuator_strength_scale: {', '.join(free)} have no force range to scale.")
        resized = self._terms.get("object_size_scale")
        for body in () if resized is None else resized.rows:
            start = model.body_geomadr[body]
            kinds = model.geom_type[start : start + model.body_geomnum[body]]
            if not np.isin(kinds, _RESIZABLE).all():
                raise TaskError(
                    f"object_size_scale: '{model.body(body).name}' has a geom that is not a sphere, capsule, "
                    "ellipsoid, cylinder or box; only these are resized."
                )


_ONE_AXIS = (int(mujoco.mjtJoint.mjJNT_SLIDE), int(mujoco.mjtJoint.mjJNT_HINGE))
_RESIZABLE = list(range(int(mujoco.mjtGeom.mjGEOM_SPHERE), int(mujoco.mjtGeom.mjGEOM_BOX) + 1))


def _match(term: str, patterns: Mapping[str, Range], named: Mapping[str, int]) -> _Term:
    chosen: dict[int, Range] = {}
    for pattern, limits in patterns.items():
        hits = [row for name, row in named.items() if fnmatchcase(name, pattern)]
        if not hits:
            raise TaskError(f"randomization.{term}: " + unknown("name or pattern", pattern, named))
        chosen |= dict.fromkeys(hits, limits)
    rows = np.array(sorted(chosen), np.int32)
    low, high = np.array([chosen[row] for row in rows], np.float32).T
    return _Term(rows, low, high)


def _underside(model: mujoco.MjModel, body: int) -> float:
    """Height of a body's lowest point in its own frame, m."""
    lowest = []
    for geom in range(model.body_geomadr[body], model.body_geomadr[body] + model.body_geomnum[body]):
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
        up = turn.reshape(3, 3)[2]
        centre, half = model.geom_aabb[geom].reshape(2, 3)
        lowest.append(model.geom_pos[geom, 2] + up @ centre - np.abs(up) @ half)
    return float(min(lowest, default=0.0))


def _float(values: Any) -> Array:
    return jnp.asarray(values, jnp.float32)

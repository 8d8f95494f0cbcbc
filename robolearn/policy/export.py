"""From a trained actor to a bundle: observation, network and action scaling become one ONNX graph.

The graph takes each slot by name, float32, without a batch axis, and returns joint targets in rad. What is written
is checked: on random inputs across the arm's ranges it must agree with JAX, or no bundle is written.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jax2onnx import to_onnx
from jax2onnx.plugins import jax as jax_plugins
from jax2onnx.plugins import plugin_system

from robolearn import __version__
from robolearn.errors import BundleError
from robolearn.files.utc import utc_now
from robolearn.policy.bundle import SCHEMA, Code, Manifest, Ood, PolicyBundle, write_bundle
from robolearn.policy.card import model_card
from robolearn.policy.ood import DEVIATIONS_MAX, OUTPUT, OodModel
from robolearn.policy.runtime import MEMORY_IN, MEMORY_OUT, PolicyRuntime
from robolearn.policy.slots import Slot
from robolearn.robots.kinematics import few_operations

if TYPE_CHECKING:
    from robolearn.env.task import Task
    from robolearn.robots import Robot

Actor = Callable[[jax.Array], jax.Array]

AGREEMENT_RAD = 1e-5
SCORE_AGREEMENT = 1e-3
CHECKED_INPUTS = 1000
OPSET = 21
_PLUGINS_WHOLE = "_already_imported_plugins"


def export_policy(
    task: Task[Any],
    actor: Actor,
    path: str | Path,
    *,
    name: str,
    training: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    signing_key: Ed25519PrivateKey,
    ood: OodModel | None = None,
) -> PolicyBundle:
    """Write a signed bundle of `actor` on `task`.

    actor: observation [D] -> action [A] in [-1, 1], deterministic, normaliser included, a JAX function.
    training, evaluation: what the manifest and the model card are to say of them; plain JSON values.
    ood: the out-of-distribution score that the graph is to return beside its targets.
    Raises BundleError where the graph cannot be made or disagrees with JAX by more than 1e-5 rad, or rad per period.
    """
    graph = PolicyGraph(task, actor, ood)
    manifest = Manifest(
        schema=SCHEMA,
        name=name,
        robot=task.robot.name,
        robot_digest=task.robot.digest,
        task=task.full_name,
        joint_names=tuple(task.robot.joint_names),
        control_hz=task.config.control_hz,
        slots=tuple(task.slots),
        goal_slots=tuple(task.goal_slots),
        memory_slots=tuple(task.memory_slots),
        outputs=graph.outputs,
        limits_assumed=_limits(task),
        training=_plain(training),
        evaluation=_plain(evaluation),
        code=Code(version=__version__, git_commit=_git_commit()),
        created_utc=utc_now(),
        digests={},
        calibration=None if task.robot.calibration is None else task.robot.calibration.summary(),
        ood=None if ood is None else Ood(**ood.summary()),
    )
    onnx = graph.to_onnx(name)
    card = model_card(manifest, summary=task.summary, success=task.success_text)
    draft = PolicyBundle(manifest, onnx, card, key_id="", public_key="", digest="")
    check_agreement(graph, PolicyRuntime(draft), task.robot)
    return write_bundle(path, manifest, onnx, card, signing_key)


@contextmanager
def plugins_of_jax() -> Iterator[None]:
    """Within it, jax2onnx knows the operations of JAX alone.

    A graph here is of nothing else. jax2onnx would also import what it knows of Flax and Equinox, and its examples,
    which build networks as they are imported: many times as long as the conversion itself takes, in every process.
    This rests on names of jax2onnx that are not public; with a version that lacks them, all is imported.
    """
    known = vars(plugin_system)
    import_tree = known.get("_import_tree")
    if import_tree is None or known.get(_PLUGINS_WHOLE, True):
        yield
        return
    import_tree(Path(next(iter(jax_plugins.__path__))), jax_plugins.__name__)
    setattr(plugin_system, _PLUGINS_WHOLE, True)
    try:
        yield
    finally:  # whoever else converts in this process finds them all
        setattr(plugin_system, _PLUGINS_WHOLE, False)


class PolicyGraph:
    """observe -> actor -> act as one function of named inputs, with its names in order."""

    def __init__(self, task: Task[Any], actor: Actor, ood: OodModel | None = None):
        self._task, self._actor, self._ood = task, actor, ood
        self._measured = tuple(task.slots)
        self._goal = tuple(task.goal_slots)
        self._kept = tuple(task.memory_slots)
        self._memory_type = type(task.action.start(jnp.zeros(task.robot.dof), jnp.zeros(1)))
        if set(self._memory_type._fields) != {slot.name for slot in self._kept}:
            raise BundleError(
                f"Task {task.full_name}: memory fields {list(self._memory_type._fields)} and memory slots "
                f"{[slot.name for slot in self._kept]} differ. Declare one slot per field."
            )
        self.inputs = (
            *self._measured,
            *self._goal,
            *(Slot(MEMORY_IN + s.name, s.shape, s.unit, s.source) for s in self._kept),
        )
        if ood is not None and jax.eval_shape(self._observe, self._examples()).shape != ood.mean.shape:
            raise BundleError(
                f"Task {task.full_name}: the out-of-distribution score is of observations with {len(ood.mean)} "
                "entries, the task has another number of them. Evaluate again."
            )
        self._target_names = tuple(sorted(jax.eval_shape(self._step, self._examples())[0]))
        self._score_names = () if ood is None else (OUTPUT,)
        self._function = jax.jit(self._flat)

    @property
    def outputs(self) -> tuple[Slot, ...]:
        """The targets, as slots."""
        units = {
            "joint_position_target": "rad",
            "joint_velocity_target": "rad/s",
            "gripper_width_target": "m",
        }
        shapes = jax.eval_shape(self._step, self._examples())[0]
        unknown = set(shapes) - set(units)
        if unknown:
            raise BundleError(f"act() returned {sorted(unknown)}; a policy's targets are {sorted(units)}.")
        return tuple(Slot(n, tuple(shapes[n].shape), units[n], "policy") for n in self._target_names)

    def __call__(self, values: Mapping[str, Any]) -> dict[str, jax.Array]:
        """Targets and next memory, by the graph's output names, computed in JAX."""
        arguments = [jnp.asarray(values[slot.name], jnp.float32) for slot in self.inputs]
        return dict(zip(self._output_names, self._function(*arguments), strict=True))

    def to_onnx(self, name: str) -> bytes:
        """The graph as ONNX bytes."""
        with few_operations(), plugins_of_jax():
            model = to_onnx(
                self._flat,
                [jax.ShapeDtypeStruct(slot.shape, jnp.float32) for slot in self.inputs],
                model_name=name,
                opset=OPSET,
                input_names=[slot.name for slot in self.inputs],
                output_names=list(self._output_names),
                return_mode="proto",
            )
        return model.SerializeToString(deterministic=True)  # pyright: ignore[reportCallIssue]

    @property
    def _output_names(self) -> tuple[str, ...]:
        return (*self._target_names, *(MEMORY_OUT + slot.name for slot in self._kept), *self._score_names)

    def _examples(self) -> dict[str, jax.ShapeDtypeStruct]:
        return {slot.name: jax.ShapeDtypeStruct(slot.shape, jnp.float32) for slot in self.inputs}

    def _memory(self, values: dict[str, jax.Array]) -> Any:
        """What is remembered, the present measurements included."""
        memory = self._memory_type(**{slot.name: values[MEMORY_IN + slot.name] for slot in self._kept})
        return self._task.remember({slot.name: values[slot.name] for slot in self._measured}, memory)

    def _observe(self, values: dict[str, jax.Array]) -> jax.Array:
        """The observation [D]."""
        goal = {slot.name: values[slot.name] for slot in self._goal}
        measured = {slot.name: values[slot.name] for slot in self._measured}
        return self._task.observe(measured, self._memory(values), goal)

    def _step(self, values: dict[str, jax.Array]) -> tuple[dict[str, jax.Array], Any, tuple[jax.Array, ...]]:
        """Targets, next memory, and the score [1] where there is one."""
        observation = self._observe(values)
        # As a batch of one: a product of matrices, for which ONNX Runtime has a kernel, not of a vector and a matrix.
        action = jax.vmap(self._actor)(observation[None])[0]
        score = () if self._ood is None else (_ood_score(self._ood, observation[None]),)
        return *self._task.act(action, self._memory(values)), score

    def _flat(self, *arguments: jax.Array) -> tuple[jax.Array, ...]:
        values = dict(zip((slot.name for slot in self.inputs), arguments, strict=True))
        targets, memory, score = self._step(values)
        outputs = [targets[name] for name in self._target_names]
        # The converter gives one value one name; a copy lets a target and the memory of it both be returned.
        outputs += [jnp.copy(getattr(memory, slot.name)) for slot in self._kept]
        return *outputs, *score


def _ood_score(model: OodModel, observations: jax.Array) -> jax.Array:
    """`OodModel.score` of [N, D] as few operations: [N]."""
    scale = (1.0 / model.deviation).astype(np.float32)
    shift = (-model.mean / model.deviation).astype(np.float32)
    factor = (model.factor / model.threshold).astype(np.float32)
    scaled = jnp.clip(observations * scale + shift, -DEVIATIONS_MAX, DEVIATIONS_MAX)
    return jnp.sqrt(jnp.sum(jnp.square(scaled @ factor), axis=1))


@dataclass(frozen=True)
class Agreement:
    """How far the graph was from JAX at most, over so many inputs: rad (or m), a velocity times a control period."""

    error: float
    inputs: int


def check_agreement(
    graph: PolicyGraph, runtime: PolicyRuntime, robot: Robot, *, inputs: int = CHECKED_INPUTS, seed: int = 0
) -> Agreement:
    """Run JAX and ONNX Runtime on the same random inputs; raises BundleError where any output differs by 1e-5.

    A velocity counts by what it moves in one control period.
    """
    manifest, worst = runtime.manifest, 0.0
    units = {slot.name: slot.unit for slot in manifest.outputs}
    units |= {MEMORY_OUT + slot.name: slot.unit for slot in manifest.memory_slots}
    for values in random_inputs(graph.inputs, robot, inputs, seed):
        runtime.restore({s.name: values[MEMORY_IN + s.name] for s in runtime.manifest.memory_slots})
        found = dict(runtime.step({k: v for k, v in values.items() if not k.startswith(MEMORY_IN)}))
        found |= {MEMORY_OUT + name: value for name, value in runtime.memory.items()}
        if OUTPUT in (outputs := graph(values)):
            _check_score(float(outputs.pop(OUTPUT)[0]), runtime.ood_score)
        for name, expected in outputs.items():
            period = 1.0 / manifest.control_hz if units[name] == "rad/s" else 1.0
            error = float(np.abs(np.asarray(expected) - found[name]).max()) * period
            worst = max(worst, error)
            if not error <= AGREEMENT_RAD:
                raise BundleError(
                    f"The exported graph differs from JAX by {error:.2e} in '{name}', limit {AGREEMENT_RAD:g}. "
                    "No bundle was written. Look for operations whose ONNX form differs, such as atan2 or sort."
                )
    return Agreement(worst, inputs)


def _check_score(expected: float, found: float | None) -> None:
    """Far away the distance is a large number, so the difference counts as a share of it."""
    if found is None or not abs(found - expected) <= SCORE_AGREEMENT * max(1.0, expected):
        raise BundleError(
            f"The exported graph's out-of-distribution score is {found}, in JAX {expected}: they differ by more than "
            f"{SCORE_AGREEMENT:g}. No bundle was written."
        )


def random_inputs(
    slots: tuple[Slot, ...], robot: Robot, count: int, seed: int
) -> Iterator[dict[str, np.ndarray]]:
    """Inputs across the ranges that each slot's source and unit imply: joints and speeds of the arm, its reach."""
    rng = np.random.default_rng(seed)
    limits, reach_m = robot.limits, robot.reach_m or 1.0
    for _ in range(count):
        values = {}
        for slot in slots:
            if slot.source == "joint_state.position":
                value = rng.uniform(limits.position_min_rad, limits.position_max_rad)
            elif slot.unit == "rad/s" and slot.shape == (robot.dof,):
                value = rng.uniform(-limits.velocity_rad_s, limits.velocity_rad_s)
            elif slot.source == "gripper.width":
                value = rng.uniform(0.0, 0.1, slot.shape)
            elif slot.source.endswith(".orientation"):
                value = rng.normal(size=slot.shape)
                value /= np.linalg.norm(value)
            elif slot.unit == "m":
                value = rng.uniform(-reach_m, reach_m, slot.shape)
            else:
                value = rng.uniform(-1.0, 1.0, slot.shape)
            values[slot.name] = value.astype(np.float32)
        yield values


def _limits(task: Task[Any]) -> dict[str, Any]:
    """The bounds of the targets, by construction of the action space, and the arm's own."""
    action, limits = task.action, task.robot.limits
    return _plain(
        {
            "target_position_min_rad": action.position_min_rad,
            "target_position_max_rad": action.position_max_rad,
            "target_velocity_max_rad_s": action.velocity_max_rad_s,
            "target_acceleration_max_rad_s2": action.acceleration_max_rad_s2,
            "robot_position_min_rad": limits.position_min_rad,
            "robot_position_max_rad": limits.position_max_rad,
            "robot_velocity_rad_s": limits.velocity_rad_s,
            "robot_acceleration_rad_s2": limits.acceleration_rad_s2,
            "robot_jerk_rad_s3": limits.jerk_rad_s3,
        }
    )


def _plain(value: Any) -> Any:
    """JSON types only: arrays become lists, paths text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return np.asarray(value).tolist()
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _git_commit() -> str | None:
    """The commit of the checkout that robolearn runs from; None outside one."""
    folder = Path(__file__).resolve().parent
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None

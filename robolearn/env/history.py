"""Policies with memory: a task whose observation also holds the last control periods of its arm.

    task = load_task("fr3/reach", {"history": 8})   # or: robolearn train fr3/reach env.history=8

What is kept are memory slots like the last command: the exported graph has them as inputs and outputs, so a served
policy, an evaluation and a resumed training remember alike. At rest every entry is zero, and so is a history at the
start of an episode, whose arm has stood still: nothing of the episode before is in it.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from robolearn.env.joint_action import ArmMemory, GripperMemory, JointAction, Targets
from robolearn.errors import TaskError
from robolearn.policy.slots import Slot
from robolearn.policy.sources import GRIPPER_WIDTH, JOINT_POSITION, JOINT_VELOCITY

Array = jax.Array
T = TypeVar("T")


class ArmHistory(NamedTuple):
    """`ArmMemory` and the last k control periods, newest first, each [k, n]: how far the joints are behind their
    command, rad; their measured velocity, rad/s; the commanded velocity, rad/s.
    """

    command_position: Array
    command_velocity: Array
    past_joint_error: Array
    past_joint_velocity: Array
    past_command_velocity: Array


class GripperHistory(NamedTuple):
    """`ArmHistory`, the last opening sent, [1] m, and how far the fingers are from their command, [k, 1] m."""

    command_position: Array
    command_velocity: Array
    command_width: Array
    past_joint_error: Array
    past_joint_velocity: Array
    past_command_velocity: Array
    past_gripper_error: Array


Memory = ArmHistory | GripperHistory


class HistoryAction(JointAction):
    """Another action space, whose memory also holds the last control periods."""

    def __init__(self, inner: JointAction, periods: int):
        self.__dict__.update(inner.__dict__)  # its sizes and bounds
        self._inner, self._periods = inner, periods

    @property
    def memory_slots(self) -> tuple[Slot, ...]:
        """Those of the action space, then the history."""
        return (*self._inner.memory_slots, *self.history_slots)

    @property
    def history_slots(self) -> tuple[Slot, ...]:
        """The history alone, each [periods, ...], the newest control period first."""
        shape, last = (self._periods, self.dof), f"of the last {self._periods} control periods"
        slots = (
            Slot("past_joint_error", shape, "rad", "zeros", f"last target minus measured joints, {last}"),
            Slot("past_joint_velocity", shape, "rad/s", "zeros", f"measured joint velocities {last}"),
            Slot("past_command_velocity", shape, "rad/s", "zeros", f"velocities of the joint targets {last}"),
        )
        if self.gripper:
            text = f"last gripper opening sent minus the measured one, {last}"
            slots += (Slot("past_gripper_error", (self._periods, 1), "m", "zeros", text),)
        return slots

    def start(self, joint_position: Array, width: Array) -> Any:
        """The memory of an arm that has stood still at joint_position [n] rad."""
        inner = self._inner.start(joint_position, width)
        zeros = {slot.name: jnp.zeros(slot.shape, jnp.float32) for slot in self.history_slots}
        return _with(inner, zeros)

    def __call__(self, action: Array, memory: Any) -> tuple[Targets, Any]:
        """Targets and the next memory: the history one control period older, its newest row yet to be measured."""
        inner: Any = GripperMemory if self.gripper else ArmMemory
        targets, after = self._inner(action, inner(*(getattr(memory, name) for name in inner._fields)))
        older = {slot.name: getattr(memory, slot.name) for slot in self.history_slots}
        older = {name: jnp.concatenate([rows[:1], rows[:-1]]) for name, rows in older.items()}
        return targets, _with(after, older)

    def wanted_velocity(self, action: Array, memory: Any) -> Array:
        """As the action space says."""
        return self._inner.wanted_velocity(action, memory)


def with_history(task: T, periods: int) -> T:
    """The task with the last control periods of its arm in its memory and at the end of its observation.

    periods: the present one included. Raises TaskError where the task measures no joint positions or velocities.
    """
    inner: Any = task
    plain: Any = copy.copy(task)
    plain.action = action = HistoryAction(inner.action, periods)
    position, velocity = _slot(inner, JOINT_POSITION), _slot(inner, JOINT_VELOCITY)
    width = _slot(inner, GRIPPER_WIDTH) if action.gripper else ""
    names = [slot.name for slot in action.history_slots]

    def remember(readings: dict[str, Array], memory: Any) -> Any:
        now = {
            "past_joint_error": memory.command_position - readings[position],
            "past_joint_velocity": readings[velocity],
            "past_command_velocity": memory.command_velocity,
        }
        if width:
            now["past_gripper_error"] = memory.command_width - readings[width]
        rows = {name: jnp.concatenate([now[name][None], getattr(memory, name)[1:]]) for name in names}
        return memory._replace(**rows)

    def observe(readings: dict[str, Array], memory: Any, goal: dict[str, Array]) -> Array:
        return jnp.concatenate(
            [inner.observe(readings, memory, goal), *(getattr(memory, name).ravel() for name in names)]
        )

    plain.remember, plain.observe = remember, observe
    return plain


def _with(memory: ArmMemory | GripperMemory, history: dict[str, Array]) -> Memory:
    kind: Any = GripperHistory if isinstance(memory, GripperMemory) else ArmHistory
    return kind(**memory._asdict(), **history)


def _slot(task: Any, source: str) -> str:
    """The name of the measured slot with this source."""
    name = next((slot.name for slot in task.slots if slot.source == source), None)
    if name is None:
        raise TaskError(
            f"Task '{task.full_name}' measures no '{source}', which a policy with history needs: add that slot, or "
            "set history to 0."
        )
    return name

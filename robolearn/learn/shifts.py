"""Shifts: named changes of a task beyond the ranges it is trained on, to see how far a policy holds.

    for shift in SHIFTS:
        changes = shifted(task, shift)          # None where the task has nothing that the shift changes
        env = robolearn.make(name, config=merged(config, changes))

A shift is data: one key of `randomization`, what is done to it, and by how much. It changes the ranges of the config
that is given, so a policy trained on wider ranges is asked for more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from robolearn.env.task import Task


@dataclass(frozen=True)
class Shift:
    """One change of a task's `randomization`.

    name: short, for tables and files. term: the key. change: `add` to both ends of a range, `multiply` both ends or
    the number, or `at_least`: raise the number; `add_kg`, of a scale of masses: carry so much more. amount: in the unit
    of the key. of: which entries of a key that has several: `all`; `objects`, bodies that have a range of their own, so
    not the arm's links; `poses`, measured positions of objects; `joints`, measured positions of the arm's joints;
    `tool`, the body that the TCP is on.
    """

    name: str
    text: str
    term: str
    change: Literal["add", "multiply", "at_least", "add_kg"]
    amount: float
    of: Literal["all", "objects", "poses", "joints", "tool"] = "all"


SHIFTS = (
    Shift("action_latency", "commands reach the drives 40 ms later", "action_delay_ms", "add", 40.0),
    Shift(
        "observation_latency", "readings reach the policy 40 ms later", "observation_delay_ms", "add", 40.0
    ),
    Shift("half_friction", "half the friction, of all bodies", "friction_scale", "multiply", 0.5),
    Shift("double_mass", "twice the mass of what is handled", "body_mass_scale", "multiply", 2.0, "objects"),
    Shift(
        "pose_bias",
        "poses of objects off by up to 5 mm along each axis, for the whole episode",
        "sensor_bias",
        "at_least",
        0.005,
        "poses",
    ),
    Shift("double_noise", "twice the sensor noise", "sensor_noise", "multiply", 2.0),
)
_EVERY = "*"  # the pattern of all bodies


def shifted(task: Task[Any], shift: Shift) -> dict[str, Any] | None:
    """Changes of the task's config under a shift, to be merged into it; None where it has nothing to change."""
    now = task.config.randomization.model_dump(mode="json")[shift.term]
    if shift.of == "poses":
        now = {slot: now.get(slot, now.get("m", 0.0)) for slot in _measured_positions(task)}
    elif shift.of == "joints":
        slots = [s.name for s in task.slots if s.source == "joint_state.position"]
        now = {slot: now.get(slot, now.get("rad", 0.0)) for slot in slots}
    elif shift.of == "tool":
        return {"randomization": {shift.term: _carrying(task, now, shift.amount)}}
    elif shift.of == "objects":
        now = {body: between for body, between in now.items() if body != _EVERY}
    elif shift.term == "friction_scale":
        now = now or {_EVERY: (1.0, 1.0)}
    if not now and (shift.change != "at_least" or isinstance(now, Mapping)):
        return None
    if isinstance(now, Mapping):
        changed: Any = {name: _changed(value, shift) for name, value in now.items()}
    else:
        changed = _changed(now, shift)
    return {"randomization": {shift.term: changed}}


def _measured_positions(task: Task[Any]) -> list[str]:
    return [s.name for s in task.slots if s.source.startswith("pose.") and s.source.endswith(".position")]


def _carrying(task: Task[Any], now: Mapping[str, Any], mass_kg: float) -> dict[str, Any]:
    """Scales of masses with so much more on the tool; what the arm makes up for stays the mass of its model."""
    model = task.scene().compile()
    body = model.body(int(model.site("tcp").bodyid[0]))
    between = next((now[name] for name in reversed(list(now)) if fnmatchcase(body.name, name)), (1.0, 1.0))
    return {**now, body.name: [end + mass_kg / float(body.mass[0]) for end in between]}


def _changed(value: Any, shift: Shift) -> Any:
    if isinstance(value, list | tuple):
        return [_changed(end, shift) for end in value]
    if shift.change == "add":
        return value + shift.amount
    return value * shift.amount if shift.change == "multiply" else max(value, shift.amount)

"""`robolearn tasks ...`: what can be trained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from robolearn.cli.options import Json, Task
from robolearn.cli.safety import plain_table
from robolearn.cli.terminal import Terminal

if TYPE_CHECKING:
    from robolearn.sim.randomize import Randomization

app = typer.Typer(invoke_without_command=True)
out = Terminal()


@app.callback()
def tasks(context: typer.Context, as_json: Json = False) -> None:
    """List every robot/task, or `show` one.

    Example: robolearn tasks
    """
    if context.invoked_subcommand:
        return
    from robolearn.env.task import task_classes, task_names

    classes = task_classes()
    if as_json:
        out.print_json(json.dumps(task_names()))
        return
    table = plain_table("task", "what", "success")
    for name in task_names():
        kind = classes[name.split("/")[1]]
        table.add_row(name, kind.summary, kind.success_text)
    out.print(table)


@app.command(name="show")
def tasks_show(task: Task) -> None:
    """Show slots, goal, reward terms, success and action bounds of a task.

    Example: robolearn tasks show fr3/reach
    """
    from robolearn.env import task as tasks

    shown = tasks.load_task(task)
    config = shown.config
    out.print(f"[bold]{shown.full_name}[/]: {shown.summary}")
    out.print(f"Success: {shown.success_text}. Episode {config.episode_s:g} s at {config.control_hz:g} Hz.")
    slots = plain_table("slot", "shape", "unit", "source", "what")
    for slot in (*shown.slots, *shown.goal_slots, *shown.memory_slots):
        slots.add_row(slot.name, str(list(slot.shape)), slot.unit, slot.source, slot.description)
    rewards = plain_table("reward term", "weight")
    for term, weight in config.reward.items():
        rewards.add_row(term, f"{weight:g}")
    drawn = plain_table("drawn for each episode", "of", "between")
    for what, of, between in _randomization(config.randomization):
        drawn.add_row(what, of, between)
    action = plain_table("action space", "")
    for key, value in config.action:
        action.add_row(key, str(value))
    for table in (slots, rewards, drawn, action):
        out.print(table)
        out.print()
    out.print(f"An expert to imitate: {'yes' if tasks.has_expert(shown) else 'no'}.")


def _randomization(config: Randomization) -> Iterator[tuple[str, str, str]]:
    """Rows of what is declared: the key, the name pattern, the range."""
    for key, value in config:
        if isinstance(value, dict):
            for of, spread in value.items():
                yield key, of, _range(spread)
        elif value not in (0.0, (0.0, 0.0)):
            yield key, "", _range(value)


def _range(value: Any) -> str:
    if value is None:
        return "as the robot's files state"
    return f"{value[0]:g} .. {value[1]:g}" if isinstance(value, tuple) else f"{value:g}"

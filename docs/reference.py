"""Writes the reference pages from the code, so that they cannot drift: `python docs/reference.py [FOLDER]`.

The documentation's build runs it (`docs/hooks.py`). What the table of events says stands here, that of rules in
`robolearn/safety/rules.py`. That every rule and event in the code has its line, and no other, is checked here.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from arms_page import arms_page
from gpu_page import gpu_page
from pydantic import BaseModel

ROOT = Path(__file__).parent.parent
NODES = ROOT / "ros2_ws" / "src" / "robolearn_ros" / "robolearn_ros"

EVENTS = {
    "session_start": "robot, profile, mode, digests, machine, versions; the first event",
    "session_end": "why and with what counts; a log without it was cut off",
    "heartbeat": "the log writer is alive, with counts so far",
    "segment": "a signature over all events so far",
    "trace_closed": "digest of a trace file that is complete",
    "start": "who started, with which answer",
    "stop": "a stop began: cycle, rules, what was commanded, sent and measured",
    "stop_cause": "a further rule acted during a stop",
    "stop_report": "how the stop went: predicted and measured time and travel",
    "stop_request": "a stop was requested, and why",
    "reset": "who reset, why, with which answer",
    "mode": "a change of mode, by whom, with which answer",
    "command_source": "the first commands, or those of a new source: its name, digest of its policy, cycle",
    "limit": "a spell of limiting: which rules, how many cycles",
    "loss": "cycles or events that did not fit the queue; the arm was held",
    "ood_score": "out-of-distribution scores of a second's decisions; above 1 beyond the bundle's threshold",
    "policy_inputs": "what the policy read in the 2 s before a stop, per decision; for `robolearn explain --log`",
    "wrench_frame": "the first wrench, or one in another frame: topic and frame",
    "finding": "something a node noticed about its surroundings",
    "clock": "the wall clock jumped",
    "problem": "the log writer could not write, or can again",
    "writer_orphaned": "the control process ended without closing its log",
}

EXITS = (
    ("0", "done"),
    (
        "1",
        "done, and the answer is no: a log that does not verify, a demo that failed, something required missing",
    ),
    ("2", "wrong input; one line on standard error says what and what to do"),
    ("130", "interrupted"),
)


def main(folder: Path) -> None:
    """Write every page."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "tasks": tasks_page,
        "robots": robots_page,
        "arms_tried": arms_page,
        "nodes": nodes_page,
        "config": config_page,
        "rules": rules_page,
        "log": log_page,
        "sources": sources_page,
        "command_line": command_line_page,
        "gpu": gpu_page,
    }
    for name, page in pages.items():
        (folder / f"{name}.md").write_text(page(), encoding="utf-8")


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(str(c).replace("|", "\\|").replace("\n", " ") for c in line) + " |"
        for line in lines
    )


def tasks_page() -> str:
    """Every task on its first robot: slots, rewards, success."""
    from robolearn.env.task import load_task, task_classes

    parts = [
        "# Tasks",
        "Each exists for every robot: `fr3/reach`, `ur5e/reach`, ... Sizes are those of an FR3.",
    ]
    for name in sorted(task_classes()):
        task = load_task(f"fr3/{name}")
        parts += [
            f"## {name}",
            f"{task.summary[0].upper()}{task.summary[1:]}.",
            (
                f"Success: {task.success_text}. Episode {task.config.episode_s:g} s at {task.config.control_hz:g} "
                f"Hz; action of {task.action_size} numbers in [-1, 1]."
            ),
            table(
                ("slot", "shape", "unit", "source", "what"),
                [
                    (f"`{s.name}`", list(s.shape), s.unit, f"`{s.source}`", s.description)
                    for s in (*task.slots, *task.goal_slots, *task.memory_slots)
                ],
            ),
            table(("reward term", "weight"), [(f"`{k}`", f"{v:g}") for k, v in task.config.reward.items()]),
        ]
    return "\n\n".join(parts) + "\n"


def sources_page() -> str:
    """The table of sources that slots come from."""
    from robolearn.policy.sources import SOURCES

    def shape(given: Any) -> str:
        return "any" if given is None else "one per joint" if given == ("n",) else str(list(given))

    rows = [
        (f"`{s.name}`", shape(s.shape), s.unit or "any", s.message, s.topic and f"`{s.topic}`", s.description)
        for s in SOURCES
    ]
    text = "Where the value of a slot comes from on the robot. A slot with another source, shape or unit is refused."
    return (
        "\n\n".join(("# Sources", text, table(("source", "shape", "unit", "message", "topic", "what"), rows)))
        + "\n"
    )


def robots_page() -> str:
    """Every robot's limits with their sources."""
    from robolearn.robots import load_robot, robot_names

    fields = {
        "position_min_rad": "min rad", "position_max_rad": "max rad", "velocity_rad_s": "rad/s",
        "acceleration_rad_s2": "rad/s²", "jerk_rad_s3": "rad/s³", "torque_nm": "Nm", "torque_rate_nm_s": "Nm/s",
    }  # fmt: skip
    parts = ["# Robots", "A dash: the manufacturer publishes no such number, so none is used."]
    for name in robot_names():
        robot = load_robot(name)
        rows = []
        for i, joint in enumerate(robot.joint_names):
            values = [getattr(robot.limits, field) for field in fields]
            rows.append([f"`{joint}`", *("-" if v is None else f"{v[i]:g}" for v in values)])
        ros = robot.ros
        sources = [
            (label, robot.limits.source(field), robot.limits.trust(field))
            for field, label in fields.items()
            if getattr(robot.limits, field) is not None
        ]
        parts += [
            f"## {robot.label} (`{name}`)",
            (
                f"ROS 2: state `{ros.state_topic}` at {ros.state_rate_hz:g} Hz, command `{ros.command_topic}` "
                f"(`{ros.command_type}`)."
            ),
            table(("joint", *fields.values()), rows),
            table(("limit", "source", "trust"), sources),
            *(f"- {line}" for line in (*ros.beware, *ros.recovery)),
        ]
    return "\n\n".join(parts) + "\n"


def nodes_page() -> str:
    """Parameters of the nodes."""
    from robolearn_ros import gripper_node, policy_node, restamp_node, safety_node, sim_node
    from robolearn_ros.parameters import table_markdown

    parts = [
        "# Node parameters",
        "An unknown name, a wrong type or a value out of range: the node refuses to start.",
    ]
    for module in (policy_node, safety_node, gripper_node, restamp_node, sim_node):
        parts += [f"## {module.__name__.split('.')[-1]}", table_markdown(module.PARAMETERS)]
    return "\n\n".join(parts) + "\n"


def config_page() -> str:
    """Keys of training, deployment and safety profile."""
    from robolearn.deploy.deployment import Deployment
    from robolearn.env.task import TaskConfig
    from robolearn.learn.acceptance import Acceptance
    from robolearn.learn.train_config import TrainConfig
    from robolearn.policy.approval import Gate
    from robolearn.safety.profile import ModeLimits

    parts = ["# Config keys", "Unknown keys are refused with the nearest known name."]
    for title, kind, prefix in (
        ("Training: `configs/train/*.yaml` and `key=value`", TrainConfig, ""),
        ("Thresholds: `configs/acceptance/*.yaml`", Acceptance, ""),
        ("Gates: `gates.train`, `gates.promote`, `gates.export` of a training", Gate, ""),
        ("Every task: `env.` of a training", TaskConfig, "env."),
        ("Deployment: `configs/deploy/*.yaml`", Deployment, ""),
        ("Safety profile: `configs/safety/*.yaml`, per mode", ModeLimits, ""),
    ):
        parts += [f"## {title}", table(("key", "type", "default", "what"), list(_keys(kind, prefix)))]
    return "\n\n".join(parts) + "\n"


def _keys(kind: type[BaseModel], prefix: str) -> Iterable[tuple[str, str, str, str]]:
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and not field.is_required():
            yield from _keys(inner, f"{prefix}{name}.")
            continue
        default = "required" if field.is_required() else f"`{field.get_default(call_default_factory=True)}`"
        yield f"`{prefix}{name}`", f"`{_type_text(inner)}`", default, field.description or ""


def _type_text(kind: Any) -> str:
    """A type to read: bare names, bounds left out."""
    if get_origin(kind) is Annotated:
        return _type_text(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    if get_origin(kind) in (Union, UnionType):
        return " or ".join("null" if part is NoneType else _type_text(part) for part in get_args(kind))
    if get_args(kind):
        parts = [_type_text(part) for part in get_args(kind) if part is not Ellipsis]
        return f"{get_origin(kind).__name__}[{', '.join(parts)}]"
    return getattr(kind, "__name__", str(kind))


def rules_page() -> str:
    """Every rule of the monitor, in the order in which they are asked."""
    from robolearn.safety.rules import RULES

    _same("rules", {rule.name for rule in RULES}, found_rules())
    rows = [
        (
            f"`{rule.name}`",
            rule.description,
            "; ".join(f"{stage}: {effect}" for stage, effect in rule.effects.items()),
            f"`{rule.limit}`" if rule.limit else "",
            rule.unit,
        )
        for rule in RULES
    ]
    return "\n\n".join(
        [
            "# Safety rules",
            ("In the order in which they are asked; of several violations the first is said. A record of a rule "
            "has its value, limit, margin, unit and source."),
            ("A `stop` sends the braking motion that was kept ready, and is latched until a reset. A `limit` sends "
            "as much of the command as the rule allows. `wait`: nothing new goes out, and nothing is latched. "
            "`note`: it is recorded."),
            table(("rule", "holds that", "asked of, and effect", "key of the limit", "unit"), rows),
        ]
    ) + "\n"  # fmt: skip


LOG_FOLDER = """\
A folder: `events.jsonl`, `trace-*.mcap`, `head.json`, and copies of the robot file and the profile; after a purge also
`tombstones.jsonl`. `session_start` has `chain`: the number of the session in its log folder, and the one before it."""

AUDIT_FOLDER = """\
`audit.jsonl` and `audit_head.json` in a run folder: the same chain, kept for ten years (AI Act, Art. 18). `cycle` is
the training's iteration; `monotonic_us` starts anew with each process. Checked by `robolearn verify`."""

LOG_CYCLE = """\
ROS 2 message definition inside the MCAP file, for an arm of seven joints. Topic `/robolearn/cycle` has one cycle a
second as it is, which Foxglove plots; `/robolearn/cycle_block` has the others, packed without loss
(`robolearn/recorder/cycle_blocks.py`). `robolearn log export` writes a file with every cycle as it is."""

LOG_MEASURED = """\
The safety node puts measurements on a grid before the monitor judges them, so that what is judged is what is recorded.
Efforts and the wrench are recorded and not judged: those of the newest message of each cycle."""

EFFORT = """\
`JointState.effort`; bit 1 of `also_present` says whether it came: NaN with the bit set is a NaN of the driver. Of
another length than the joints: in `odd_json`""".replace("\n", " ")

WRENCH = """\
`WrenchStamped` on `wrench_topic`; bit 2 of `also_present`; its frame is in the event `wrench_frame`, its stamp in
`wrench_stamp_s`""".replace("\n", " ")


def log_page() -> str:
    """Every kind of event, and the fields of a cycle in the trace."""
    from robolearn.recorder.audit_trail import AUDIT_EVENTS
    from robolearn.recorder.cycle_codec import Layout
    from robolearn.robots import load_robot

    _same("events", set(EVENTS), found_events())
    schema = Layout(tuple(load_robot("fr3").joint_names)).schema
    return "\n\n".join(
        [
            "# Safety log",
            LOG_FOLDER,
            "## Kinds of events",
            "Each line has `seq`, `monotonic_ns`, `utc`, `kind`, `fields`, `prev` and `hash`.",
            table(("kind", "what"), [(f"`{name}`", what) for name, what in EVENTS.items()]),
            "## One cycle of the trace",
            LOG_CYCLE,
            f"```text\n{schema}```",
            "## Measurements, efforts and wrench",
            LOG_MEASURED,
            table(("column", "unit", "step", "what"), _measurements()),
            "## Audit trail of a run",
            AUDIT_FOLDER,
            table(("kind", "what"), [(f"`{name}`", what) for name, what in AUDIT_EVENTS.items()]),
        ]
    ) + "\n"  # fmt: skip


def _measurements() -> list[tuple[str, str, str, str]]:
    from robolearn.recorder.resolution import STEPS

    rows = (
        ("measured_position_rad", "position_rad", "rad", "`JointState.position`, the robot's joints by name"),
        ("measured_velocity_rad_s", "velocity_rad_s", "rad/s", "`JointState.velocity`"),
        ("measured_effort_nm", "effort_nm", "Nm", EFFORT),
        ("wrench_force_n", "force_n", "N", WRENCH),
        ("wrench_torque_nm", "torque_nm", "Nm", "of the same message"),
    )
    return [(f"`{name}`", unit, f"{STEPS[step]:.3g}", what) for name, step, unit, what in rows]


def command_line_page() -> str:
    """Every command with its help, and the exit codes."""
    import typer

    from robolearn.cli.app import app

    group = typer.main.get_command(app)
    parts = ["# Command line", table(("exit status", "meaning"), EXITS)]
    for name, command in _commands(group, "robolearn"):
        doc = (command.help or "").strip()
        rows = [
            (
                ", ".join(f"`{o}`" for o in p.opts)
                if p.param_type_name == "option"
                else f"`{p.name.upper()}`",
                getattr(p, "help", "") or "",
            )
            for p in command.params
            if p.name not in ("help", "install_completion", "show_completion")
        ]
        parts += [f"## {name}", doc.replace("Example: ", "```sh\n") + ("\n```" if "Example: " in doc else "")]
        parts += [table(("argument or option", "what"), rows)] if rows else []
    return "\n\n".join(parts) + "\n"


def _commands(group: Any, path: str) -> Iterable[tuple[str, Any]]:
    for name, command in sorted(group.commands.items()):
        yield f"{path} {name}", command
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")


def found_rules() -> set[str]:
    """Names of rules in the code: first arguments of the functions that make a Record."""
    functions = {"over", "under", "within", "magnitude", "age", "Record", "_missing"}
    return _first_arguments((ROOT / "robolearn" / "safety").glob("*.py"), functions)


def found_events() -> set[str]:
    """Kinds of events in the code."""
    files = [*(ROOT / "robolearn" / "recorder").glob("*.py"), *NODES.glob("*.py")]
    episodes = ast.parse((ROOT / "robolearn" / "recorder" / "episodes.py").read_text(encoding="utf-8"))
    pairs = [node.value for node in ast.walk(episodes) if isinstance(node, ast.Yield)]
    kinds = [pair.elts[0] for pair in pairs if isinstance(pair, ast.Tuple)]
    yielded = {str(kind.value) for kind in kinds if isinstance(kind, ast.Constant)}
    return _first_arguments(files, {"event", "_event"}) | yielded


def _first_arguments(files: Iterable[Path], functions: set[str]) -> set[str]:
    found = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in functions and isinstance(node.args[0].value, str):
                found.add(node.args[0].value)
    return found


def _same(what: str, described: set[str], found: set[str]) -> None:
    if described != found:
        raise SystemExit(
            f"docs/reference.py: {what} without a line: {sorted(found - described)}; not in the code: "
            f"{sorted(described - found)}."
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "reference")

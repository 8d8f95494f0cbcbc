"""What stands between the safety node and the arm: a ros2_control controller, and whether the live one is as stated.

| kind | controller | message | joints |
|---|---|---|---|
| forward | forward_command_controller, JointGroupPositionController | Float64MultiArray | the same, in order |
| trajectory | joint_trajectory_controller | JointTrajectory, overlapping points with stamps | the same, in any order |
| robolearn | robolearn_controller | JointState, each sample | the same, in any order |

A Float64MultiArray has no names: where the controller has its joints in another order, the arm moves as soon as the
first message comes. So the controller's own parameters are read first, and compared with the deployment here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robolearn.deploy.controller import INTERFACES, NAME, SENT_TOPIC

FORWARD, TRAJECTORY, ROBOLEARN = KINDS = ("forward", "trajectory", "robolearn")
FORWARD_POSITION_CONTROLLER = "forward_position_controller"
JOINT_TRAJECTORY_CONTROLLER = "joint_trajectory_controller"
ACTIVE = "active"
_SAME_RATE = 1e-6  # relative


@dataclass(frozen=True)
class ExpectedController:
    """The controller as the deployment has it. node: full name; joints: as its driver calls them, in order.

    rate_hz: at which it takes commands; 0 where any rate will do. stream_rate_hz, profile_digest, topic: of
    robolearn's controller only. sim_time: whether this side follows /clock.
    """

    kind: str
    node: str
    topic: str
    joints: tuple[str, ...]
    rate_hz: float = 0.0
    stream_rate_hz: float = 0.0
    profile_digest: str = ""
    sim_time: bool = False

    @property
    def name(self) -> str:
        """Without its namespace, as its controller manager calls it."""
        return self.node.rpartition("/")[2]

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters that are compared."""
        if self.kind == TRAJECTORY:
            return ("joints", "command_interfaces", "update_rate", "use_sim_time")
        own = ("topic", "stream_rate_hz", "profile_digest") if self.kind == ROBOLEARN else ()
        return ("joints", "interface_name", "update_rate", "use_sim_time", *own)


def controller_topic(kind: str, command_topic: str, sent_topic: str = SENT_TOPIC) -> str:
    """Where a kind of controller takes commands. command_topic: the arm's forward controller's."""
    if kind == ROBOLEARN:
        return sent_topic
    if kind == TRAJECTORY:
        return f"{_above(_above(command_topic))}/{JOINT_TRAJECTORY_CONTROLLER}/joint_trajectory"
    return command_topic


def controller_node(kind: str, command_topic: str) -> str:
    """The full name of the controller's node, by the topic of the arm's forward controller, `<node>/commands`."""
    if kind == FORWARD:
        return _above(command_topic) or f"/{FORWARD_POSITION_CONTROLLER}"
    name = NAME if kind == ROBOLEARN else JOINT_TRAJECTORY_CONTROLLER
    return f"{_above(_above(command_topic))}/{name}"


def controller_problems(expected: ExpectedController, found: Mapping[str, Any]) -> list[str]:
    """What of a live controller is not as expected, each in words. found: its parameters; None is one that it lacks."""
    problems = [
        _joints(expected, found.get("joints")),
        _interface(expected, found),
        _rate(expected, found),
        _clock(expected, bool(found.get("use_sim_time"))),
    ]
    if expected.kind == ROBOLEARN:
        problems += _stream(expected, found)
    return [problem for problem in problems if problem]


def state_problem(expected: ExpectedController, state: str | None) -> str:
    """Why a controller in this lifecycle state takes no commands; None: its state is unknown."""
    if state == ACTIVE:
        return ""
    if state is None:
        return (
            f"it is unknown whether {expected.node} is active: no controller manager reports it on /diagnostics. "
            "Is it loaded?"
        )
    return f"{expected.node} is {state}, expected active. Activate it: ros2 control switch_controllers"


def _joints(expected: ExpectedController, found: Sequence[str] | None) -> str:
    if not found:
        return "it has no joints"
    stated, live = list(expected.joints), list(found)
    missing = [name for name in stated if name not in live]
    extra = [name for name in live if name not in stated]
    parts = [f"lacks {', '.join(missing)}"] if missing else []
    parts += [f"has {', '.join(extra)} too"] if extra else []
    if len(set(live)) < len(live):
        parts.append("has a joint twice")
    if not parts and expected.kind == FORWARD and live != stated:
        pairs = enumerate(zip(live, stated, strict=True), 1)
        swapped = [f"{k} is {is_}, expected {should}" for k, (is_, should) in pairs if is_ != should]
        parts.append(f"has them in another order ({'; '.join(swapped)})")
    return f"joints: it {' and '.join(parts)}" if parts else ""


def _interface(expected: ExpectedController, found: Mapping[str, Any]) -> str:
    if expected.kind == TRAJECTORY:
        live = found.get("command_interfaces")
        live = list(live) if live else live
        return "" if live == ["position"] else f"command_interfaces is {live}, expected ['position']"
    live, taken = found.get("interface_name"), INTERFACES if expected.kind == ROBOLEARN else ("position",)
    return "" if live in taken else f"interface_name is '{live}', expected '{' or '.join(taken)}'"


def _rate(expected: ExpectedController, found: Mapping[str, Any]) -> str:
    live = found.get("update_rate")
    if not expected.rate_hz:
        return ""
    if not live:
        return f"update_rate is not known, expected {expected.rate_hz:g} Hz"
    if abs(float(live) - expected.rate_hz) <= _SAME_RATE * expected.rate_hz:
        return ""
    return f"update_rate is {live:g} Hz, expected {expected.rate_hz:g} Hz"


def _clock(expected: ExpectedController, sim_time: bool) -> str:
    """Commands of a forward controller have no stamps: a simulator's may come from nodes on system time."""
    if expected.sim_time and not sim_time:
        return (
            "use_sim_time is false, so it is not a simulator's: a real arm is never driven on simulated time. Take "
            "use_sim_time out of the deployment"
        )
    if sim_time and not expected.sim_time and expected.kind != FORWARD:
        return "use_sim_time is true, and these nodes are on system time: set use_sim_time in the deployment"
    return ""


def _stream(expected: ExpectedController, found: Mapping[str, Any]) -> list[str]:
    problems = []
    rate = found.get("stream_rate_hz")
    if rate is None or abs(rate - expected.stream_rate_hz) > _SAME_RATE * expected.stream_rate_hz:
        problems.append(f"stream_rate_hz is {rate}, expected {expected.stream_rate_hz:g}")
    if found.get("topic") != expected.topic:
        problems.append(f"topic is '{found.get('topic')}', expected '{expected.topic}'")
    digest = found.get("profile_digest") or ""
    if digest != expected.profile_digest:
        problems.append(
            f"profile_digest is {digest[:12] or 'empty'}, expected {expected.profile_digest[:12]}: write its "
            "parameters again with `robolearn controller`"
        )
    return problems


def _above(name: str) -> str:
    return name.rpartition("/")[0]

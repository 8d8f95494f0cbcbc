"""Node parameters: declared in one table with type, range, unit and meaning; anything else refuses to start."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter as Given
from rclpy.parameter import parameter_value_to_python

from robolearn.errors import ConfigError, unknown

_NOTHING = [""]
_OWN = ("use_sim_time", "start_type_description_service")  # declared by rclpy itself


@dataclass(frozen=True)
class Parameter:
    """One parameter. Its type is that of its default; low and high bound numbers; choices bound text."""

    name: str
    default: bool | int | float | str | list[str]
    meaning: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = True

    @property
    def type(self) -> str:
        """bool, int, double, string or string list."""
        names = {bool: "bool", int: "int", float: "double", str: "string", list: "string list"}
        return names[type(self.default)]

    @property
    def range(self) -> str:
        """The range or the choices, to read."""
        if self.choices:
            return ", ".join(self.choices)
        return "" if self.low is None else f"{self.low:g} to {self.high:g}"


def declare(node: Node, table: Sequence[Parameter], real_time: str = "") -> dict[str, Any]:
    """Declare the table on a node and return its values by name.

    real_time: why this node refuses use_sim_time; empty where it takes it, and has the clock of `node_clock`.
    Raises ConfigError for a parameter that is unknown, of a wrong type or out of range.
    """
    known = [parameter.name for parameter in table]
    # rclpy ignores undeclared overrides; they are read here so that a misspelt name is an error.
    given = {name: parameter_value_to_python(value.get_parameter_value()) for name, value in _overrides(node)}
    for name in given:
        if name not in known and name not in _OWN and not name.startswith("qos_overrides."):
            raise ConfigError(f"{node.get_name()}: {unknown('parameter', name, known)}")
    sim_time = given.get("use_sim_time", False)
    if not isinstance(sim_time, bool):
        raise ConfigError(f"{node.get_name()}: parameter 'use_sim_time' must be a bool.")
    if sim_time and real_time:
        raise ConfigError(f"{node.get_name()}: use_sim_time is refused: {real_time}.")
    fix_clock(node)
    values = {}
    for parameter in table:
        values[parameter.name] = _declare_one(node, parameter)
    return values


def table_markdown(table: Sequence[Parameter]) -> str:
    """The table as it stands in the documentation."""
    rows = [
        f"| `{p.name}` | {p.type} | `{p.default}` | {p.unit} | {p.range} | {p.meaning} |".replace(
            "``", "empty"
        )
        for p in table
    ]
    return "\n".join(
        ["| parameter | type | default | unit | range | meaning |", "|---|---|---|---|---|---|", *rows]
    )


def fix_clock(node: Node) -> None:
    """Let use_sim_time stay as it is, and keep rclpy from following /clock as well: `node_clock` does.

    rclpy's subscription would cost the executor a call for each message, a thousand in a second, and its timers would
    stand together with the simulator, so that nobody could be told why.
    """
    node._time_source.ros_time_is_active = False

    def fixed(parameters: list[Given]) -> SetParametersResult:
        changed = any(one.name == "use_sim_time" for one in parameters)
        reason = "use_sim_time is decided when the node starts" if changed else ""
        return SetParametersResult(successful=not changed, reason=reason)

    node.add_on_set_parameters_callback(fixed)


def _declare_one(node: Node, parameter: Parameter) -> Any:
    text = parameter.meaning + (f" [{parameter.unit}]" if parameter.unit else "")
    descriptor = ParameterDescriptor(description=text, read_only=parameter.read_only)
    if parameter.low is not None and parameter.high is not None:
        if isinstance(parameter.default, int):
            descriptor.integer_range = [
                IntegerRange(from_value=int(parameter.low), to_value=int(parameter.high), step=1)
            ]
        else:
            # An integer in a float field is sent as its bits: 5 arrives as 2.5e-323.
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(parameter.low), to_value=float(parameter.high))
            ]
    try:
        # Of an empty list rclpy cannot tell the type, and where one parameter is not set it leaves the reply to
        # `ros2 param dump` empty. A list with one empty text can also be read back from a file.
        default = _NOTHING if parameter.default == [] else parameter.default
        value = node.declare_parameter(parameter.name, default, descriptor).value
    except InvalidParameterTypeException as error:
        hint = " Write a decimal point, such as 500.0." if parameter.type == "double" else ""
        raise ConfigError(
            f"{node.get_name()}: parameter '{parameter.name}' must be a {parameter.type}.{hint}"
        ) from error
    except InvalidParameterValueException as error:
        raise ConfigError(
            f"{node.get_name()}: parameter '{parameter.name}' must lie in {parameter.range} {parameter.unit}".rstrip()
            + "."
        ) from error
    if parameter.type == "double" and not _finite(value):
        raise ConfigError(
            f"{node.get_name()}: parameter '{parameter.name}' is {value}, expected a finite number."
        )
    if parameter.choices and value not in parameter.choices:
        raise ConfigError(f"{node.get_name()}: " + unknown(parameter.name, str(value), parameter.choices))
    return [text for text in value or () if text] if isinstance(parameter.default, list) else value


def _overrides(node: Node) -> Any:
    return ((name, value) for name, value in node._parameter_overrides.items())


def _finite(value: Any) -> bool:
    """rclpy finds NaN inside every range."""
    return math.isfinite(value)

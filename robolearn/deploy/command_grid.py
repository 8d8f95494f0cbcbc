"""Whether the monitor's limits hold on the grid on which the arm's controller takes commands.

`check_command_grid` compares rates; `check_shipped_controller` also what a shipped controller makes of the stream.
"""

from __future__ import annotations

from robolearn.deploy import shipped_controllers as shipped
from robolearn.deploy.arm_controller import FORWARD, ROBOLEARN, TRAJECTORY
from robolearn.errors import ConfigError
from robolearn.robots import Robot
from robolearn.safety.profile import SafetyProfile

_SAME = 1e-6  # relative, of two rates


def check_command_grid(
    robot: Robot, rate_hz: float, controller: str, controller_rate_hz: float = 0.0
) -> None:
    """Raise ConfigError where a forward controller would repeat or drop the samples that the monitor sends.

    It passes each one on as it comes: at another rate than the sender's, speed comes in steps, and neither
    acceleration nor jerk is within its limit. controller_rate_hz: at which it takes commands; 0 for the rate in the
    robot file.
    """
    if controller != FORWARD or robot.ros is None:  # the others interpolate between the samples that are sent
        return
    rate = controller_rate_hz or robot.ros.command_rate_hz
    if abs(rate - rate_hz) <= _SAME * rate:
        return
    stated = "controller_rate_hz" if controller_rate_hz else f"the robot file of {robot.name}"
    raise ConfigError(
        f"Commands would be sent at {rate_hz:g} Hz to a forward controller that takes them at {rate:g} Hz "
        f"({stated}): it repeats or drops samples, so that acceleration and jerk are not within their limits. "
        f"Set rate_hz to {rate:g}, or use robolearn's controller, which interpolates (controller: robolearn), or set "
        "controller_rate_hz to what the controller manager runs at."
    )


def check_shipped_controller(
    robot: Robot, profile: SafetyProfile, rate_hz: float, controller: str, controller_rate_hz: float = 0.0
) -> None:
    """Raise ConfigError where a controller that arms ship with breaks a limit that the arm's manufacturer publishes.

    By emulation: what the hardware would see of a smooth motion. controller_rate_hz: of the controller manager; 0 for
    the rate in the robot file.
    """
    if controller == ROBOLEARN or robot.ros is None:
        return
    kind, known = robot.ros.controller_type, shipped.FORWARD
    if controller == TRAJECTORY:
        kind, known = shipped.TRAJECTORY[0], shipped.TRAJECTORY
    rate = controller_rate_hz or robot.ros.command_rate_hz
    problem = shipped.shipped_controller_problem(
        robot, profile, kind if kind in known else known[0], rate_hz, rate
    )
    if problem:
        raise ConfigError(f"controller is '{controller}', but {problem}")

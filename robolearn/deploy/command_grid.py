"""Whether the monitor's limits hold on the grid on which the arm's controller takes commands."""

from __future__ import annotations

from robolearn.errors import ConfigError
from robolearn.robots import Robot

CONTROLLERS = ("forward", "robolearn")  # robolearn_controller interpolates between the samples that are sent
_SAME = 1e-6  # relative, of two rates


def check_command_grid(
    robot: Robot, rate_hz: float, controller: str, controller_rate_hz: float = 0.0
) -> None:
    """Raise ConfigError where a forward controller would repeat or drop the samples that the monitor sends.

    It passes each one on as it comes: at another rate than the sender's, speed comes in steps, and neither
    acceleration nor jerk is within its limit. controller_rate_hz: at which it takes commands; 0 for the rate in the
    robot file.
    """
    if controller == "robolearn" or robot.ros is None:
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

"""`check_robot`: everything that is missing or contradictory in a robot file, found in one go."""

from __future__ import annotations

from pathlib import Path

from robolearn.errors import RobotError
from robolearn.robots.consistency import contradictions, missing
from robolearn.robots.drives import questioned_torques
from robolearn.robots.model_limits import wider_than_model
from robolearn.robots.robot import read_robot_file, robot_from_file
from robolearn.robots.watched import unwatched_advice, unwatched_links


def check_robot(path: str | Path) -> list[str]:
    """Findings, one sentence each; an empty list means that the robot loads, compiles and lacks nothing.

    A limit wider than that of the arm's own MJCF or URDF file is one.
    Limits that are `null` with a note are declared as unpublished, and are no finding.
    """
    path = Path(path).expanduser()
    try:
        file = read_robot_file(path)
    except RobotError as error:
        return [str(error)]
    problems = contradictions(file)
    if not problems:
        try:
            robot = robot_from_file(path)
            model = robot.spec().compile()
            if unwatched := unwatched_links(model):
                problems.append(unwatched_advice(unwatched, path.name))
            problems += questioned_torques(file, model, robot.limits)
            problems += wider_than_model(file, path.parent)
        except (RobotError, ValueError) as error:
            problems.append(str(error))
    return problems + missing(file)

"""Names of tasks: `robot/task`, where robot is the name of a packaged arm or the path of a robot file.

    fr3/reach    my_arm.yaml/reach    /home/ada/arms/my_arm.yaml/reach

The part before the last slash is the robot.
"""

from __future__ import annotations

from pathlib import Path

from robolearn.errors import RobotError
from robolearn.robots import is_robot_path
from robolearn.robots.robot import read_robot_file


def split_task(name: str) -> tuple[str, str]:
    """The robot, a name or a path, and the task's own name."""
    robot, _, task = name.rpartition("/")
    return robot, task


def short_name(name: str) -> str:
    """`robot/task` with the robot's name in place of its file's path; the file's own name where it cannot be read."""
    robot, task = split_task(name)
    if not is_robot_path(robot):
        return name
    path = Path(robot).expanduser()
    try:
        return f"{read_robot_file(path).name}/{task}"
    except RobotError:  # who builds the task will say what is wrong with it
        return f"{path.stem}/{task}"


def file_stem(name: str) -> str:
    """`robot-task`: how folders and files of this task are called by default."""
    return short_name(name).replace("/", "-")


def absolute(name: str) -> str:
    """The name with the path of a robot file made absolute, so that it means the same in every folder."""
    robot, task = split_task(name)
    return f"{Path(robot).expanduser().absolute()}/{task}" if is_robot_path(robot) else name

"""`robolearn init-cell`: a few questions, and a cell's deployment file, profile and keys."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from robolearn.cli.terminal import Terminal

out = Terminal()


def init_cell(
    folder: Annotated[Path, typer.Argument(help="New folder for the cell's files.")],
    robot: Annotated[str, typer.Option(help="The arm: fr3, ur5e, iiwa14, or a robot YAML.")] = "",
    gripper: Annotated[
        str,
        typer.Option(help="Gripper of a packaged arm, such as franka_hand (default: the generic one)."),
    ] = "",
    name: Annotated[str, typer.Option(help="Name of the cell in the log.")] = "",
    controller: Annotated[
        str, typer.Option(help="forward, trajectory or robolearn (default: the arm's packaged one).")
    ] = "",
    operator: Annotated[
        str, typer.Option(help="Your pseudonym; allows this account's key to operate the arm.")
    ] = "",
    approver: Annotated[
        bool | None,
        typer.Option("--approver/--no-approver", help="Allow this account's key to approve bundles."),
    ] = None,
    person_topic: Annotated[str, typer.Option(help="Topic of the person sensor, sensor_msgs/Range.")] = "",
    wrench_topic: Annotated[str, typer.Option(help="Topic of a force-torque sensor, not checked.")] = "",
    namespace: Annotated[
        str, typer.Option(help="Namespace of this arm's topics and nodes, such as left.")
    ] = "",
    joint_prefix: Annotated[str, typer.Option(help="Prefix of the driver's joint names.")] = "",
    workspace: Annotated[
        str, typer.Option(help="Box that the arm stays in: two corners 'x y z x y z', m, base frame.")
    ] = "",
    tcp_speed: Annotated[
        float | None,
        typer.Option(help="Highest TCP speed in mode automatic, m/s.", min=0.01, max=10.0),
    ] = None,
    ask: Annotated[bool, typer.Option("--ask/--no-ask", help="Ask for missing values.")] = True,
) -> None:
    """Write the deployment file and safety profile of a cell, and make its keys. Asks for what is missing.

    Example: robolearn init-cell my_cell --robot fr3 --name "cell 7" --operator anna --no-ask
    """
    from robolearn.deploy.new_cell import Cell, with_gripper, write_cell
    from robolearn.deploy.operators import operator_key_path
    from robolearn.errors import ConfigError
    from robolearn.keys import load_or_create_key, public_text
    from robolearn.robots import is_robot_path, robot_names
    from robolearn.robots.gripper_files import gripper_names

    if ask and sys.stdin.isatty():
        robot = robot or typer.prompt(f"Arm ({', '.join(robot_names())}, or a robot YAML)", default="fr3")
        if not gripper and "+" not in robot and not is_robot_path(robot):
            gripper = typer.prompt(f"Gripper ({', '.join(gripper_names())})", default="parallel")
        name = name or typer.prompt("Name of this cell in the log")
        operator = operator or typer.prompt(
            "Your pseudonym as operator; empty for none", default="", show_default=False
        )
        if approver is None:
            approver = typer.confirm("May this account's key approve bundles?", default=False)
        person_topic = person_topic or typer.prompt(
            "Topic of the person sensor", default="robolearn/person_range"
        )
        wrench_topic = wrench_topic or typer.prompt(
            "Topic of a force-torque sensor; empty for the arm's own, or none", default="", show_default=False
        )
        workspace = workspace or typer.prompt(
            "Box that the arm stays in, m: x y z x y z; empty for the packaged one",
            default="",
            show_default=False,
        )
        if tcp_speed is None:
            speed = typer.prompt(
                "Highest TCP speed in mode automatic, m/s; 0 for the packaged one", default=0.0
            )
            tcp_speed = speed or None
    if not robot or not name:
        raise ConfigError("--robot and --name are required with --no-ask.")
    try:
        box = tuple(float(word) for word in workspace.split())
    except ValueError:
        raise ConfigError(f"--workspace is '{workspace}', expected six numbers: x y z x y z, in m.") from None
    cell = Cell(
        robot=with_gripper(robot, gripper), name=name, controller=controller, namespace=namespace,
        joint_prefix=joint_prefix, person_topic=person_topic, wrench_topic=wrench_topic, workspace_m=box,
        tcp_speed_max_m_s=tcp_speed,
        operators={operator: public_text(load_or_create_key(operator_key_path()))} if operator else {},
        approver_keys=(public_text(load_or_create_key()),) if approver else (),
    )  # fmt: skip
    deployment, profile = write_cell(folder, cell)
    lines = [
        f"{deployment}: the deployment file. Review topics, rates, operators and approvers.",
        f"{profile}: the safety profile. Replace every number with trust: integrator, which is for demonstration only.",
        f"Try it: robolearn serve BUNDLE --deploy {deployment} --sim",
        f"Approve it for the arm: robolearn approve BUNDLE --who {operator or 'NAME'}",
        f"Serve it there: robolearn serve BUNDLE --deploy {deployment}",
    ]
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)

"""`robolearn controller`: parameters and source of the ros2_control controller for one arm."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def controller(
    robot: Annotated[
        str,
        typer.Argument(
            metavar="[ROBOT]", help="The arm: a name, or a robot YAML (default: the file's, or fr3)."
        ),
    ] = "",
    deploy: Annotated[str, typer.Option(help="Deployment file (default: the packaged one of the arm).")] = "",
    profile: Annotated[
        str | None, typer.Option(help="Safety profile (default: the deployment file's, or the arm's own).")
    ] = None,
    interface: Annotated[str, typer.Option(help="Command interface: position or effort.")] = "position",
    update_rate: Annotated[
        int,
        typer.Option(
            min=0, max=10000, help="Update rate of this controller, Hz (default: the controller manager's)."
        ),
    ] = 0,
    out: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write (default: standard output).")
    ] = None,
    copy_to: Annotated[
        Path | None, typer.Option(help="src folder of a colcon workspace to copy the package into.")
    ] = None,
) -> None:
    """Write the parameters of robolearn's ros2_control controller from a safety profile.

    Example: robolearn controller fr3 -o robolearn_controller.yaml --copy-to ~/arm_ws/src
    """
    from robolearn.deploy.controller import controller_parameters, controller_yaml, copy_source
    from robolearn.deploy.deployment import deployment_for
    from robolearn.files.writing import replace_file
    from robolearn.robots import load_robot
    from robolearn.safety.profile import SafetyProfile

    deployment = deployment_for(robot, deploy, {} if profile is None else {"profile": profile})
    arm = load_robot(deployment.robot)
    limits = SafetyProfile.load(deployment.profile or arm.arm)
    parameters = controller_parameters(
        arm,
        limits,
        interface=interface,
        stream_rate_hz=deployment.rate_hz,
        namespace=deployment.namespace,
        joint_prefix=deployment.joint_prefix,
    )
    text = controller_yaml(parameters, update_rate, deployment.namespace)
    if copy_to is not None:
        sys.stderr.write(f"Copied to {copy_source(copy_to.expanduser())}\n")
    if out is None:
        sys.stdout.write(text)
    else:
        replace_file(out, text)
        sys.stderr.write(f"{out}: limits of profile {limits.name}, sha256 {limits.digest}\n")

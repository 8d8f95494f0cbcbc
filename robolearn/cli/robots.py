"""`robolearn robots ...`: the arms that are here, and robot files of your own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from robolearn.cli.options import Json
from robolearn.cli.safety import plain_table
from robolearn.cli.terminal import Terminal
from robolearn.errors import RobotError
from robolearn.files.writing import replace_file

app = typer.Typer(invoke_without_command=True)
out = Terminal()


@app.callback()
def robots(context: typer.Context, as_json: Json = False) -> None:
    """List the robots, `show` one, `draft` your own robot file, or `check` it.

    Example: robolearn robots
    """
    if context.invoked_subcommand:
        return
    from robolearn.robots import load_robot, robot_names

    loaded = [load_robot(name) for name in robot_names()]
    if as_json:
        out.print_json(
            json.dumps([{"name": r.name, "label": r.label, "joints": r.joint_names} for r in loaded])
        )
        return
    table = plain_table("robot", "label", "joints", "payload kg", "reach m", "digest")
    for robot in loaded:
        table.add_row(robot.name, robot.label, str(robot.dof), _number(robot.payload_kg), _number(robot.reach_m),
                      robot.digest[:12])  # fmt: skip
    out.print(table)


@app.command(name="show")
def robots_show(name: Annotated[str, typer.Argument(help="A robot's name or file.")]) -> None:
    """Show the limits of a robot, each with its source.

    Example: robolearn robots show fr3
    """
    from robolearn.robots import load_robot

    robot = load_robot(name)
    limits = robot.limits
    out.print(f"[bold]{robot.label}[/] ({robot.name}), file digest {robot.digest[:12]}")
    table = plain_table("joint", *(heading for heading, _ in _LIMIT_COLUMNS.values()))
    for i, joint in enumerate(robot.joint_names):
        values = [getattr(limits, field) for field in _LIMIT_COLUMNS]
        table.add_row(joint, *("-" if value is None else f"{value[i]:g}" for value in values))
    out.print(table)
    for field, (_, what) in _LIMIT_COLUMNS.items():
        out.print(f"{what}: {limits.source(field)} [{limits.trust(field)}]", markup=False, highlight=False)


_LIMIT_COLUMNS = {
    "position_min_rad": ("min rad", "Lowest position"),
    "position_max_rad": ("max rad", "Highest position"),
    "velocity_rad_s": ("rad/s", "Speed"),
    "acceleration_rad_s2": ("rad/s²", "Acceleration"),
    "jerk_rad_s3": ("rad/s³", "Jerk"),
    "torque_nm": ("Nm", "Torque"),
    "torque_rate_nm_s": ("Nm/s", "Torque rate"),
}


@app.command(name="check")
def robots_check(path: Annotated[Path, typer.Argument(help="A robot YAML.")]) -> None:
    """Check a robot file for missing and contradictory entries.

    Example: robolearn robots check my_arm.yaml
    """
    from robolearn.robots.check import check_robot

    if not path.is_file():
        raise RobotError(f"No robot file '{path}'.")
    findings = check_robot(path)
    for finding in findings:
        out.print(f"- {finding}", markup=False)
    if not findings:
        out.print(f"{path}: complete and consistent.")
    raise typer.Exit(1 if findings else 0)


@app.command(name="draft")
def robots_draft(
    model: Annotated[Path, typer.Argument(help="A URDF, xacro or MJCF file.")],
    flange: Annotated[str, typer.Option(help="Body that carries the gripper, such as tool0.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The robot file to write.")],
    base: Annotated[
        str, typer.Option(help="Body that stands at the origin (default: the first joint's).")
    ] = "",
    flange_rpy: Annotated[
        str, typer.Option(help="'r p y' rad: turns the body's frame so that its z axis points out.")
    ] = "0 0 0",
    package_dir: Annotated[list[Path] | None, typer.Option(help="Folder that holds ROS packages.")] = None,
    xacro_arg: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Of a xacro file.")
    ] = None,
    cut: Annotated[
        list[str] | None, typer.Option(help="A body to leave out, with all that hangs on it.")
    ] = None,
    short: Annotated[
        bool, typer.Option("--short", help="Leave out what loading takes from the model file anyway.")
    ] = False,
) -> None:
    """Write a first robot file for a model file as published: joints, limits, a home posture, what is cut.

    Example: robolearn robots draft my_arm.urdf --flange tool0 -o my_arm.yaml
    """
    from robolearn.robots.draft import draft_robot, model_of

    if output.exists():
        raise RobotError(f"'{output}' is there already: name a new file, or remove it.")
    if output.suffix not in (".yaml", ".yml"):
        raise RobotError(f"A robot file ends in .yaml, not '{output.name}'.")
    given = model_of(
        model, flange, output.parent, base, flange_rpy, package_dir or [], xacro_arg or [], cut or []
    )
    draft = draft_robot(given, output.parent, output.stem, short)
    replace_file(output, draft.text.encode())
    for remark in draft.remarks:
        out.print(f"- {remark}", markup=False, soft_wrap=True)
    out.print(
        f"Written to {output}. Compare it with the arm, then: robolearn robots check {output}", markup=False
    )


@app.command(name="hulls")
def robots_hulls(
    path: Annotated[Path, typer.Argument(help="A robot YAML; hulls are written into it.")],
    mesh: Annotated[
        list[str] | None,
        typer.Option(metavar="LINK=FILE", help="Additional mesh of a link, in the link's frame, m."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Fit every link, not only those that need a hull.")
    ] = False,
    margin_m: Annotated[
        float, typer.Option(min=0.0, max=0.1, help="Distance from the mesh to the hull, m.")
    ] = 0.002,
) -> None:
    """Fit boxes and capsules to the link meshes, for the safety monitor's distance checks.

    Example: robolearn robots hulls my_arm.yaml
    """
    from robolearn.robots.hulls_file import fit_hulls, write_hulls

    pairs = [given.partition("=") for given in mesh or ()]
    if wrong := ["=".join(filter(None, (a, b))) for a, _, b in pairs if not a or not b]:
        raise RobotError(f"--mesh takes LINK=FILE, not '{wrong[0]}'.")
    fitted = fit_hulls(path, margin_m, meshes={link: Path(file) for link, _, file in pairs}, every=every)
    for sentence in fitted.left_out:
        out.print(f"- {sentence}", markup=False)
    if not fitted.hulls:
        out.print(
            f"{path}: every link has a hull; use --all to fit new ones.",
            markup=False,
            soft_wrap=True,
        )
        return
    write_hulls(path, fitted.hulls)
    for name, hull in fitted.hulls.items():
        kinds = ", ".join(shape.type for shape in hull.shapes)
        out.print(f"{name}: {kinds}, every corner at least {margin_m * 1e3:g} mm inside", markup=False)
    out.print(
        f"Written to {path}. Look at them: robolearn view {path}/reach, geometry group 3.", markup=False
    )


def _number(value: Any) -> str:
    return "unknown" if value is None else f"{value:g}"

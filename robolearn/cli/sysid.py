"""`robolearn sysid ...`: a motion to identify an arm by, and the fit of its drives to the log of it."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from robolearn.cli.options import Json
from robolearn.errors import DataError, LogError, unknown

if TYPE_CHECKING:
    from robolearn.data.motion import Motion
    from robolearn.robots import Robot
    from robolearn.sysid.fit import FitResult

app = typer.Typer(
    no_args_is_help=True,
    help="System identification: make an excitation motion, and fit the arm's model to the log.",
)
out = Console()
err = Console(stderr=True)
_UNITS = ("Nm", "A", "none")


@app.command()
def excite(
    robot: Annotated[str, typer.Argument(metavar="[ROBOT]", help="The arm: a name or a robot file.")] = "fr3",
    profile: Annotated[str | None, typer.Option(help="Safety profile (default: the arm's own).")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Motion file to write, MCAP.")] = Path(
        "excite.mcap"
    ),
    duration: Annotated[float, typer.Option(help="Duration, s.")] = 30.0,
    rate: Annotated[float, typer.Option(help="Sample rate, Hz.")] = 500.0,
    margin: Annotated[float, typer.Option(help="Margin to every limit, as a fraction of it.")] = 0.2,
    mode: Annotated[str, typer.Option(help="Mode of the profile.")] = "automatic",
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
) -> None:
    """Compute an excitation motion for system identification, within the limits of the safety monitor.

    Example: robolearn sysid excite fr3 --profile configs/safety/fr3.yaml -o excite.mcap
    """
    from robolearn.data.motion_file import write_motion
    from robolearn.robots import load_robot
    from robolearn.safety.profile import SafetyProfile
    from robolearn.sysid.excite import excite as compute

    arm = load_robot(robot)
    limits = SafetyProfile.load(profile or arm.arm)
    with err.status("Searching, and checking with the monitor ..."):
        found = compute(arm, limits, duration_s=duration, rate_hz=rate, margin=margin, mode=mode, seed=seed)
        write_motion(output, found.motion)
    _say(
        f"wrote {output}: {found.motion.duration_s:g} s at {rate:g} Hz. The monitor passed all "
        f"{found.checked_cycles:,} samples unchanged, also with every limit of {limits.name} {100 * margin:.0f} % "
        "closer."
    )
    _say(f"Record it: robolearn serve --motion {output} --robot {robot} --sim")


@app.command()
def fit(
    logs: Annotated[
        list[Path],
        typer.Argument(
            metavar="LOG...", help="Safety logs (folders), rosbag2 MCAP files, LeRobotDatasets v3."
        ),
    ],
    robot: Annotated[str, typer.Option(help="The arm: a name or a robot file.")] = "fr3",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Calibration to write (default: ROBOT.calibration.yaml)."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Report to write (default: beside the calibration, .html).")
    ] = None,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Accept a safety log that does not verify.")
    ] = False,
    effort_unit: Annotated[
        str | None, typer.Option(help="Unit of effort in a bag or dataset: Nm, A or none (ignore it).")
    ] = None,
    position_unit: Annotated[
        str | None, typer.Option(help="Unit of positions in a LeRobotDataset: rad or deg.")
    ] = None,
    state_topic: Annotated[str | None, typer.Option(help="Joint state topic, if a bag has several.")] = None,
    command_topic: Annotated[str | None, typer.Option(help="Command topic, if a bag has several.")] = None,
    as_json: Json = False,
) -> None:
    """Fit the drives of an arm to its logs: calibration, intervals, and a report of the residual.

    Exit status 1 if the model does not explain the log.

    Example: robolearn sysid fit runs/serve/LATEST/safety --robot fr3 -o fr3.calibration.yaml
    """
    from robolearn.robots import load_robot
    from robolearn.robots.calibration import line, write_calibration
    from robolearn.sysid.fit import fit as run
    from robolearn.sysid.gap_report import report_data, write_report

    if effort_unit is not None and effort_unit not in _UNITS:
        raise DataError(unknown("effort unit", effort_unit, _UNITS))
    arm = load_robot(robot)
    motions = [
        _read(
            log, arm, unverified=unverified, effort_unit=effort_unit, position_unit=position_unit,
            state_topic=state_topic, command_topic=command_topic,
        )
        for log in logs
    ]  # fmt: skip
    for motion in motions:
        for fault in motion.faults:
            err.print(f"{motion.source}: {fault.text}", markup=False, highlight=False, soft_wrap=True)
    target = output or Path(f"{arm.name}.calibration.yaml")
    with nullcontext() if as_json else err.status("Fitting ..."):
        result = run(motions, arm, use_effort=effort_unit != "none")
    page = write_report(result, report or target.with_suffix(".html"))
    calibration = None if not result.estimated else write_calibration(result.calibration(), target)
    if as_json:
        out.print_json(json.dumps(report_data(result)))
    else:
        _print(result, line)
        _say(f"Report: {page}")
        said = f"Calibration: {target}" if calibration else "No calibration: nothing was identified."
        _say(said)
    raise typer.Exit(0 if result.explained else 1)


def _read(
    log: Path,
    arm: Robot,
    *,
    unverified: bool,
    effort_unit: str | None,
    position_unit: str | None,
    state_topic: str | None,
    command_topic: str | None,
) -> Motion:
    """A recording by what it is: the folder of a safety log or of a LeRobotDataset, or a bag."""
    from robolearn.data.lerobot import is_lerobot, read_lerobot
    from robolearn.recorder.hash_chain import EVENTS_FILE

    unit = None if effort_unit in (None, "none") else effort_unit
    if (log / EVENTS_FILE).is_file():
        return _verified(log, unverified)
    if is_lerobot(log):
        return read_lerobot(log, arm.joint_names, position_unit=position_unit, effort_unit=unit)
    if log.suffix == ".mcap" or (log.is_dir() and list(log.glob("*.mcap"))):
        from robolearn.data.rosbag import read_rosbag

        return read_rosbag(
            log, arm.joint_names, state_topic=state_topic, command_topic=command_topic,
            effort_unit=unit,
        )  # fmt: skip
    raise DataError(
        f"'{log}' is not a safety log (events.jsonl), MCAP file or LeRobotDataset (meta/info.json)."
    )


def _verified(log: Path, unverified: bool) -> Motion:
    """A safety log, verified first. Raises LogError where it does not verify, unless that is put up with."""
    from dataclasses import replace

    from robolearn.data.safety_log import read_safety_log
    from robolearn.review.verify import verify

    verdict = verify(log)
    if verdict.status == "altered" and not unverified:
        first = next((f"{f.where}: {f.text}" for f in verdict.findings), verdict.summary)
        raise LogError(
            f"The safety log in {log} does not verify: {first}. Look at it with `robolearn review {log}`; "
            "--unverified fits it all the same, and the calibration says so."
        )
    motion = read_safety_log(log)
    notes = (*motion.notes, *(() if verdict.intact else (f"verification: {verdict.summary}",)))
    return replace(motion, verified=verdict.status != "altered", notes=notes)


def _print(result: FitResult, line) -> None:
    held = result.held_out
    nominal, fitted = held.rmse("nominal"), held.rmse("fitted")
    for j, name in enumerate(result.robot.joint_names):
        _say(f"{name}: held-out error {1e3 * nominal[j]:.3f} mrad nominal, {1e3 * fitted[j]:.3f} mrad fitted")
    for quantity in result.judged.quantities:
        _say(line(quantity))
    for joint in result.joints:
        for reason in joint.reasons:
            _say(f"The model does not explain {joint.joint}: {reason}.")
    _say(f"Fitted in {result.seconds:.1f} s.")


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)

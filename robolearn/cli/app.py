"""The `robolearn` command: parsing and printing only; the work is done by the library.

Exit status: 0 done, 1 done and the answer is no (a log that does not verify), 2 wrong input, 130 interrupted.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from robolearn import __version__
from robolearn.cli import dossier as cli_dossier
from robolearn.cli import federate as cli_federate
from robolearn.cli import log as cli_log
from robolearn.cli import operate as cli_operate
from robolearn.cli import robots as cli_robots
from robolearn.cli import safety as cli_safety
from robolearn.cli import security as cli_security
from robolearn.cli import sysid as cli_sysid
from robolearn.cli import tasks as cli_tasks
from robolearn.cli.cell import init_cell
from robolearn.cli.controller import controller
from robolearn.cli.evaluate import evaluate, sweep
from robolearn.cli.help_pages import tidy
from robolearn.cli.options import Json, NewKey, Overrides, Task
from robolearn.cli.plot import plot
from robolearn.cli.terminal import Terminal
from robolearn.errors import ConfigError, LogError, RobolearnError

START, RESEARCHER, INTEGRATOR, SAFETY = "Start here", "Researcher", "Robot integrator", "Safety engineer"

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.add_typer(cli_tasks.app, name="tasks", rich_help_panel=RESEARCHER)
app.add_typer(cli_robots.app, name="robots", rich_help_panel=RESEARCHER)
app.add_typer(cli_safety.app, name="safety", rich_help_panel=SAFETY)
app.add_typer(cli_log.app, name="log", rich_help_panel=SAFETY)
app.add_typer(cli_operate.app, name="operate", rich_help_panel=INTEGRATOR)
app.add_typer(cli_sysid.app, name="sysid", rich_help_panel=RESEARCHER)
app.add_typer(cli_security.app, name="security", rich_help_panel=INTEGRATOR)
app.add_typer(cli_federate.app, name="federate", rich_help_panel=RESEARCHER)

out = Terminal()
err = Terminal(stderr=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train policies for robot arms, serve them over ROS 2 behind a safety monitor, and review the logs."""


def _folder(text: str) -> Path:
    """The path of a folder. An empty one is an unset variable in a script, and no folder."""
    if not text.strip():
        raise ConfigError("--run is empty. Give a folder, or leave it out for runs/ROBOT-TASK.")
    return Path(text)


def command_line() -> Any:
    """The whole command as click sees it."""
    return tidy(typer.main.get_command(app))


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry point: a user's mistake is one line on stderr and status 2, never a traceback."""
    _trace_faster()
    try:
        command_line()(args=arguments, prog_name="robolearn", standalone_mode=True)
    except RobolearnError as error:
        err.print(f"robolearn: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _EXTRAS:
            raise
        extra = _EXTRAS[(error.name or "").split(".")[0]]
        err.print(
            f"robolearn: '{error.name}' is not installed: pip install 'robolearn\\[{extra}]'", style="red"
        )
        sys.exit(2)
    except OSError as error:
        if error.filename is None:  # of no file that a user named
            raise
        text = f"robolearn: '{error.filename}': {error.strerror}."
        err.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("robolearn: interrupted")
        sys.exit(130)
    sys.exit(0)


def _trace_faster() -> None:
    """A tenth of the time that a training takes to start, which is spent in JAX's Python code.

    A trace makes very many small objects that stay; to look for garbage after every 700 of them finds none. And every
    operation of a program would name the lines of Python that it comes from.
    """
    gc.set_threshold(10_000)
    os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")


_EXTRAS = {
    **dict.fromkeys(("jax", "jaxlib", "flax", "optax", "orbax", "jax2onnx", "gymnasium", "imageio"), "train"),
    **dict.fromkeys(("rclpy", "sensor_msgs"), "ros"),
    "mcap_ros2": "sysid",
    "cyclonedx": "dossier",
    **dict.fromkeys(("flwr", "dp_accounting"), "fleet"),
    "scipy": "train",
    **dict.fromkeys(("torch", "stable_baselines3"), "sb3"),
}


@app.command(rich_help_panel=START)
def demo(
    run: Annotated[Path, typer.Option(help="Folder for everything the demo writes.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Seed of training, evaluation and goals.")] = 0,
    goals: Annotated[int, typer.Option(help="Goals sent to the arm over ROS 2.")] = 10,
    episodes: Annotated[int, typer.Option(help="Evaluation episodes.")] = 1000,
    steps: Annotated[
        int | None, typer.Option(help="Control steps of training (default: the config's).")
    ] = None,
) -> None:
    """Run everything once: train fr3/reach, serve it on a simulated FR3, inject four faults, write the report.

    Example: robolearn demo
    """
    from robolearn.cli.demo import run_demo

    summary = run_demo(run, seed=seed, goals=goals, episodes=episodes, total_steps=steps, console=out)
    raise typer.Exit(0 if summary.passed else 1)


@app.command(rich_help_panel=RESEARCHER)
def train(
    task: Task,
    overrides: Overrides = None,
    config: Annotated[str | None, typer.Option(help="YAML of the run (default: the task's own).")] = None,
    run: Annotated[
        Path | None,
        typer.Option(parser=_folder, metavar="PATH", help="Run folder (default: runs/ROBOT-TASK)."),
    ] = None,
    bundle: Annotated[bool, typer.Option(help="When done, evaluate and export the policy.")] = True,
) -> None:
    """Train a policy, or resume the training in the run folder.

    Example: robolearn train fr3/reach seed=1 num_envs=512
    """
    from robolearn.cli.train import train_command

    train_command(task, config, overrides or [], run, out, bundle=bundle)


@app.command(rich_help_panel=RESEARCHER)
def slurm(
    task: Task,
    overrides: Overrides = None,
    site: Annotated[str, typer.Option(help="A site in configs/cluster, or the path of a YAML.")] = "generic",
    nodes: Annotated[int, typer.Option(help="Nodes of the job.")] = 1,
    config: Annotated[str | None, typer.Option(help="YAML of the run (default: the task's own).")] = None,
    run: Annotated[Path | None, typer.Option(help="Run folder (default: runs/ROBOT-TASK).")] = None,
) -> None:
    """Print a SLURM script for a training that survives preemption and requeueing.

    Example: robolearn slurm fr3/reach --site leonardo --nodes 2 > reach.sbatch
    """
    from robolearn.env.naming import file_stem
    from robolearn.fleet.cluster import slurm_script

    target = run or Path("runs") / file_stem(task)
    script = slurm_script(task, target, site=site, nodes=nodes, config=config, overrides=overrides or [])
    sys.stdout.write(script)


app.command(name="eval", rich_help_panel=RESEARCHER)(evaluate)
app.command(rich_help_panel=RESEARCHER)(plot)
app.command(rich_help_panel=RESEARCHER)(sweep)


@app.command(rich_help_panel=RESEARCHER)
def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Bundle to write (default: in the run folder).")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Ed25519 key (default: this account's, created on first use).")
    ] = None,
    new_key: NewKey = False,
) -> None:
    """Export the trained policy as one signed file, ready to serve.

    Example: robolearn export runs/fr3-reach -o fr3-reach.robolearn
    """
    from robolearn.keys import named_key
    from robolearn.show.results import open_run

    opened = open_run(run)
    named_key(key, new_key)
    err.print(opened.which, markup=False, highlight=False, soft_wrap=True)
    bundle = opened.export(output, key_path=key)
    out.print(bundle.inspect(), markup=False, highlight=False, soft_wrap=True)
    said = f"Thresholds: {cli_dossier.acceptance_text(bundle.manifest.evaluation)}"
    out.print(said, markup=False, highlight=False, soft_wrap=True)


@app.command(rich_help_panel=INTEGRATOR)
def inspect(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE|CALIBRATION", help="A .robolearn file, or a calibration.")
    ],
    as_json: Json = False,
) -> None:
    """Check a bundle, and show its interface, results, digests, signature and approvals.

    Of a calibration: its logs, and every number with its interval, after a check against its robot file.

    Example: robolearn inspect fr3-reach.robolearn
    """
    from robolearn.policy.approval import approvals_json, approvals_text
    from robolearn.policy.bundle import PolicyBundle
    from robolearn.robots import is_robot_path, load_robot

    if is_robot_path(bundle):
        calibration = load_robot(bundle).calibration
        if calibration is None:
            raise ConfigError(
                f"'{bundle}' is a robot file, not a bundle or calibration. Check it with `robolearn robots check`."
            )
        if as_json:
            about = {"calibration_digest": calibration.digest}
            out.print_json(json.dumps({**calibration.model_dump(mode="json", by_alias=True), **about}))
        else:
            out.print(calibration.inspect(), markup=False, highlight=False, soft_wrap=True)
        return
    loaded = PolicyBundle.load(bundle)
    if as_json:
        about = {"bundle_digest": loaded.digest, "key_id": loaded.key_id, "public_key": loaded.public_key}
        approvals = {"approvals": approvals_json(loaded, bundle)}
        out.print_json(
            json.dumps({**loaded.manifest.model_dump(mode="json", by_alias=True), **about, **approvals})
        )
        return
    out.print(loaded.inspect(), markup=False, highlight=False, soft_wrap=True)
    out.print(approvals_text(loaded, bundle), markup=False, highlight=False, soft_wrap=True)


for _command in cli_dossier.COMMANDS:
    app.command(rich_help_panel=SAFETY)(_command)


@app.command(rich_help_panel=INTEGRATOR)
def serve(
    bundle: Annotated[
        Path | None, typer.Argument(help="A .robolearn file (leave out with --motion).")
    ] = None,
    robot: Annotated[
        str, typer.Option(help="The arm: a name, or a robot YAML (default: the deployment file's, or fr3).")
    ] = "",
    deploy: Annotated[str, typer.Option(help="Deployment file (default: the packaged one of the arm).")] = "",
    sim: Annotated[bool, typer.Option("--sim", help="Also start a simulated arm.")] = False,
    profile: Annotated[
        str | None, typer.Option(help="Safety profile (default: the deployment file's, or the arm's own).")
    ] = None,
    log: Annotated[Path, typer.Option(help="Folder of the safety log.")] = Path("runs/serve"),
    rate: Annotated[float | None, typer.Option(help="Command rate in Hz (default: the file's).")] = None,
    motion: Annotated[
        Path | None,
        typer.Option(help="Play a motion from `robolearn sysid excite` once, instead of a policy."),
    ] = None,
    plant: Annotated[
        str,
        typer.Option(help="With --motion and --sim: simulated arm, a name in configs/plants."),
    ] = "",
) -> None:
    """Serve a policy on an arm over ROS 2, behind the safety monitor. Ctrl-C ends it.

    Example: robolearn serve fr3-reach.robolearn --robot fr3 --sim
    """
    from robolearn.deploy.deployment import deployment_for
    from robolearn.deploy.serve_command import serve_motion, serve_until_stopped

    if (bundle is None) == (motion is None):
        raise ConfigError("Give either a bundle or --motion FILE.")
    if plant and (motion is None or not sim):
        raise ConfigError("--plant needs --motion and --sim.")
    changes = {"profile": profile, "rate_hz": rate}
    deployment = deployment_for(robot, deploy, {k: v for k, v in changes.items() if v is not None})
    if motion is not None:
        serve_motion(motion, deployment, sim=sim, plant=plant, log_dir=log, deploy=deploy, console=out)
        return
    assert bundle is not None
    serve_until_stopped(bundle, deployment, sim=sim, log_dir=log, deploy=deploy, console=out)


app.command(rich_help_panel=INTEGRATOR)(controller)
app.command(rich_help_panel=INTEGRATOR)(init_cell)


@app.command(rich_help_panel=SAFETY)
def review(
    log: Annotated[Path, typer.Argument(help="A safety log, or a folder with several of them.")],
    report: Annotated[
        Path | None, typer.Option("--output", "-o", help="Report to write (default: LOG/report.html).")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="Replay with another safety profile, to see what it would have done.")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Public key (.pub) of the log writer, kept outside the log."),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(metavar="FILE|HEX", help="An earlier head.json kept elsewhere, or its hash."),
    ] = None,
    robot: Annotated[
        str | None,
        typer.Option(help="Your copy of the recorded robot file, if it uses files outside the log."),
    ] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Time limit of replay and report (default: 2 min + 20 x the recorded time).",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify a safety log, replay it through the monitor, and write the report.

    Exit status 1 if the log does not verify, does not match --key or --head, cannot be replayed, or if a replayed
    decision differs.

    Given a log folder, reviews every session and reports missing ones.

    Example: robolearn review runs/demo/safety
    """
    from robolearn.review.review import review_log, verdict_text
    from robolearn.review.sessions import is_log_folder, review_sessions, session_line

    if is_log_folder(log):
        if report is not None or profile is not None:
            raise LogError("--output and --profile are for one session: name its folder.")
        sessions = review_sessions(
            log,
            public_key=key,
            expected_head=head,
            robot=robot,
            time_limit_s=time_limit,
            on_session=None if as_json else lambda session: out.print(session_line(session), soft_wrap=True),
        )
        out.print_json(json.dumps(sessions.to_json())) if as_json else out.print(sessions, soft_wrap=True)
        raise typer.Exit(0 if sessions.passed else 1)
    outcome = review_log(
        log,
        report,
        profile,
        public_key=key,
        expected_head=head,
        robot=robot,
        time_limit_s=time_limit,
        on_verdict=None if as_json else lambda verdict: out.print(verdict_text(verdict)),
    )
    out.print_json(json.dumps(outcome.to_json())) if as_json else out.print(outcome.rest_text())
    raise typer.Exit(0 if outcome.passed else 1)


@app.command(rich_help_panel=RESEARCHER)
def view(
    task: Task,
    policy: Annotated[str, typer.Option(help="zero, random, expert, or a .robolearn file.")] = "zero",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write an mp4 instead of opening the viewer.")
    ] = None,
    episodes: Annotated[int, typer.Option(help="Episodes to play.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the episodes.")] = 0,
    browser: Annotated[
        bool, typer.Option("--browser", help="Show it on a page of this machine instead.")
    ] = False,
    port: Annotated[int, typer.Option(help="Port of that page.")] = 8080,
) -> None:
    """Show a task in the viewer, in a browser, or write an mp4 if there is no display.

    Example: robolearn view fr3/pick_cube --policy random
    """
    from robolearn.show.console import EvaluationBar
    from robolearn.show.view import view as show
    from robolearn.sim.render import has_display

    window = browser or (output is None and has_display())
    with nullcontext() if window else EvaluationBar(err) as progress:
        written = show(
            task, policy, output, episodes=episodes, seed=seed, progress=progress,
            browser=port if browser else None, say=lambda text: err.print(text, highlight=False),
        )  # fmt: skip
    if written is not None:
        out.print(f"wrote {written}", highlight=False)


@app.command(rich_help_panel=START)
def doctor(
    folder: Annotated[Path, typer.Option(help="Folder whose free disk space is checked.")] = Path("."),
    deploy: Annotated[str, typer.Option(help="Also check the requirements of this deployment file.")] = "",
    as_json: Json = False,
) -> None:
    """Check this machine, and say how to fix what is missing.

    Exit status 1 if something required is missing.

    Example: robolearn doctor
    """
    from robolearn.cli import doctor as checks

    with err.status("Checking this machine ..."):
        found = checks.diagnose(folder, deploy)
    out.print_json(json.dumps(found.to_json())) if as_json else out.print(found, found.summary, sep="\n\n")
    raise typer.Exit(0 if found.fit else 1)

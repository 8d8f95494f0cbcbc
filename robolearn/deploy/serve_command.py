"""What `robolearn serve` does: checks a bundle or motion and its deployment, starts the nodes, watches them."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console

from robolearn.data.motion_file import read_motion
from robolearn.deploy.deployment import (
    Deployment,
    motion_parameters,
    node_environment,
    node_parameters,
    profile_line,
    require_operators,
)
from robolearn.deploy.discovery import describe, not_followed
from robolearn.deploy.ending import Ending, SignalsHeld
from robolearn.deploy.security import enabled, require_security
from robolearn.deploy.serving import EndAsked, Serving, ros_environment
from robolearn.errors import DataError
from robolearn.policy.approval import require_approval, require_not_revoked
from robolearn.policy.bundle import PolicyBundle
from robolearn.policy.interpolate import ticks_per_period
from robolearn.robots import load_robot
from robolearn.safety.profile import SafetyProfile
from robolearn.sim.plant import load_plant


def serve_until_stopped(
    bundle: str | Path,
    deployment: Deployment,
    *,
    sim: bool = False,
    log_dir: str | Path = "runs/serve",
    deploy: str = "",
    console: Console,
) -> None:
    """Serve a bundle until a signal asks for the end, such as Ctrl-C. Each call logs into a new folder of log_dir.

    The folder is named by the time. On a simulated arm no approval is asked for, and this account may operate it.
    deploy: the deployment's file, which the commands that are shown then name.
    This process ends last: whatever signal comes, and however often, the nodes have ended in order before it returns.
    Raises BundleError, ProfileError or ConfigError before anything is started, ServingError where a node ends by
    itself.
    """
    ending = Ending()
    with SignalsHeld(ending.ask):
        loaded = PolicyBundle.load(bundle, deployment.trusted_keys or None)
        require_not_revoked(loaded, bundle)
        if deployment.require_approval and not sim:
            require_approval(loaded, bundle, deployment.approver_keys, deployment.approvals_needed)
        if not sim:
            require_operators(deployment)
        ticks_per_period(deployment.rate_hz, loaded.manifest.control_hz)
        profile = SafetyProfile.load(deployment.profile or load_robot(deployment.robot).arm)
        folder = Path(log_dir) / datetime.now().strftime("%Y%m%d-%H%M%S")
        changes = node_environment(deployment)
        nodes = node_parameters(deployment, bundle, sim=sim, log_dir=folder / "safety")
        require_security(ros_environment(None, changes), nodes)
        lines = [profile_line(profile, deployment.mode), *_graph_lines(deployment, changes)]
        with Serving(folder, changes=changes, namespace=deployment.namespace, ending=ending) as serving:
            try:
                for name, parameters in nodes.items():
                    serving.start(name, **parameters)
                _serve(serving, loaded, lines, deploy, console)
            except EndAsked:
                pass
            except OSError:  # the terminal went away together with its signal
                if not ending:
                    raise
        _say(console, f"Stopped by {ending.reason}; all nodes ended in order.")
        _say(console, f"Review the log: robolearn review {folder / 'safety'}")


def _serve(
    serving: Serving, bundle: PolicyBundle, lines: Sequence[str], deploy: str, console: Console
) -> None:
    """Say when the nodes are up, and watch them. lines: to be said first, that on the limits before the others.

    Raises EndAsked at the end, ServingError where a node ends by itself.
    """
    began, log = time.monotonic(), serving.run_dir / "safety"
    for line in lines:
        _say(console, line)
    with console.status("Waiting for the arm ..."):
        # The node then has the same limits, and its log is open.
        serving.wait_for_output("safety_node", lines[0], timeout_s=60.0)
        serving.wait_until_active(timeout_s=60.0)
    name, took_s = bundle.manifest.name, time.monotonic() - began
    _say(console, f"{name} is active after {took_s:.1f} s; the arm is held.")
    _say(console, "Start it, and send goals, from another terminal:")
    for verb in ("start", "goal 0.5 0.2 0.4", "stop", "reset"):
        _say(console, f"  {_operate(verb, deploy)}")
    _say(console, f"Safety log: {log}. Ctrl-C stops everything.")
    while True:
        serving.check()
        serving.wait(0.2)


def _operate(verb: str, deploy: str) -> str:
    """The command of an operator, who needs the namespace, network and keys of the deployment's file."""
    return f"robolearn operate {verb}" + (f" --deploy {shlex.quote(deploy)}" if deploy else "")


def _say(console: Console, text: str) -> None:
    """A line, unless the terminal is gone: the nodes still need this process."""
    with contextlib.suppress(OSError):
        console.print(text, highlight=False, soft_wrap=True, markup=False)


def serve_motion(
    motion: str | Path,
    deployment: Deployment,
    *,
    sim: bool = False,
    plant: str = "",
    log_dir: str | Path = "runs/serve",
    deploy: str = "",
    console: Console,
) -> Path:
    """Play a motion file through the safety node once, after a person's start; the folder of the safety log.

    It ends by itself when the motion has been played, or with Ctrl-C or SIGTERM before. plant: see `motion_parameters`;
    deploy: `serve_until_stopped`.
    Raises DataError, ProfileError or ConfigError before anything is started, ServingError where a node ends by
    itself.
    """
    ending = Ending()
    with SignalsHeld(ending.ask):
        planned, robot = read_motion(motion), load_robot(deployment.robot)
        if planned.about.get("robot_digest", robot.digest) != robot.digest:
            raise DataError(
                f"The motion '{motion}' was made for '{planned.about.get('robot')}' with another robot file than "
                f"'{deployment.robot}'. Make one for this arm: robolearn sysid excite {deployment.robot}"
            )
        if not sim:
            require_operators(deployment)
        if plant:
            load_plant(plant, robot)
        profile = SafetyProfile.load(deployment.profile or robot.arm)
        folder = Path(log_dir) / datetime.now().strftime("%Y%m%d-%H%M%S")
        changes = node_environment(deployment)
        nodes = motion_parameters(deployment, motion, sim=sim, log_dir=folder / "safety", plant=plant)
        require_security(ros_environment(None, changes), nodes)
        limits = profile_line(profile, deployment.mode)
        with (
            Serving(folder, changes=changes, namespace=deployment.namespace, ending=ending) as serving,
            contextlib.suppress(EndAsked),
        ):
            for name, parameters in nodes.items():
                serving.start(name, **parameters)
            _say(console, limits)
            with console.status("Waiting for the arm ..."):
                serving.wait_for_output("safety_node", limits, timeout_s=60.0)
                serving.wait_for_output("motion_node", "active: ", timeout_s=60.0)
            length = f"The motion takes {planned.duration_s:g} s."
            _say(console, f"{length} Start it from another terminal: {_operate('start', deploy)}")
            while not _played(serving):
                serving.check()
                serving.wait(0.2)
        _say(console, f"Safety log: {folder / 'safety'}")
        _say(console, f"Fit it: robolearn sysid fit {folder / 'safety'} --robot {deployment.robot}")
    return folder / "safety"


def _played(serving: Serving) -> bool:
    output = serving.nodes["motion_node"].output.read_text(encoding="utf-8", errors="replace")
    return "done: " in output


def _graph_lines(deployment: Deployment, changes: Mapping[str, str]) -> Iterator[str]:
    """With whom the nodes speak, and how that is protected."""
    d = deployment
    if d.use_sim_time:
        yield "Simulated time: every time is that of /clock. The log is no evidence about a real arm."
    yield f"ROS 2: {describe(d.discovery_range, d.static_peers, d.interface)}; " + (
        "SROS 2 enforced" if enabled(changes) else "SROS 2 off: every process in this ROS domain may publish"
    )
    for stated in not_followed(changes):
        yield f"Environment variables that are ignored: {stated}. The deployment file decides."

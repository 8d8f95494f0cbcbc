"""`robolearn operate ...`: what an operator asks of an arm that is served."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from robolearn.cli.terminal import Terminal
from robolearn.deploy.deployment import Deployment, deployment_for, node_environment
from robolearn.deploy.operators import operator_key_path
from robolearn.deploy.security import enclave_environment, require_security
from robolearn.deploy.serving import require_ros, ros_environment
from robolearn.keys import key_id, load_or_create_key, named_key, public_text

app = typer.Typer(
    no_args_is_help=True,
    help="Operate a served arm: start, goal, status, stop, reset, mode. A start, reset or mode needs an operator key.",
)
out = Terminal()

Deploy = Annotated[
    str,
    typer.Option(help="Deployment file of the running nodes (default: this machine only)."),
]
Key = Annotated[
    Path | None, typer.Option(help="Your operator key (default: this account's, created on first use).")
]
Operator = Annotated[str, typer.Option("--as", help="Your pseudonym (default: that of your key).")]
Reason = Annotated[str, typer.Option(help="Reason, recorded in the safety log.")]


@app.command()
def start(deploy: Deploy = "", key: Key = None, operator: Operator = "", reason: Reason = "") -> None:
    """Start: let the policy's commands through to the arm.

    Example: robolearn operate start
    """
    _ask(deploy, ["start"], key, operator, reason)


@app.command()
def stop(deploy: Deploy = "") -> None:
    """Stop the arm, and latch the stop. Needs no key.

    Example: robolearn operate stop
    """
    _ask(deploy, ["stop"])


@app.command()
def reset(deploy: Deploy = "", key: Key = None, operator: Operator = "", reason: Reason = "") -> None:
    """Clear a latched stop. The arm keeps holding until a start.

    Example: robolearn operate reset --reason "goal was out of reach, cell checked"
    """
    _ask(deploy, ["reset"], key, operator, reason)


@app.command()
def mode(
    name: Annotated[str, typer.Argument(help="manual_reduced, automatic or collaborative.")],
    deploy: Deploy = "",
    key: Key = None,
    operator: Operator = "",
    reason: Reason = "",
) -> None:
    """Switch to another mode of the safety profile, at rest. Needs a start afterwards.

    Example: robolearn operate mode manual_reduced
    """
    _ask(deploy, ["mode", name], key, operator, reason)


@app.command(context_settings={"ignore_unknown_options": True})  # a negative number is no option
def goal(
    x: Annotated[float, typer.Argument(help="m, base frame")],
    y: Annotated[float, typer.Argument(help="m, base frame")],
    z: Annotated[float, typer.Argument(help="m, base frame")],
    deploy: Deploy = "",
) -> None:
    """Send a goal for the tool centre point (TCP).

    Example: robolearn operate goal 0.5 0.2 0.4
    """
    _ask(deploy, ["goal", "--", str(x), str(y), str(z)])


@app.command()
def status(deploy: Deploy = "") -> None:
    """Show the monitor's newest decision and its reason.

    Example: robolearn operate status
    """
    _ask(deploy, ["status"])


@app.command()
def watch(
    deploy: Deploy = "",
    robot: Annotated[str, typer.Option(help="Robot name or robot YAML (default: the deployment's).")] = "",
    port: Annotated[int, typer.Option(help="Port of the page, on this machine only.")] = 8080,
) -> None:
    """Show a served arm in the browser: posture, goal, decisions. Reads only.

    Example: robolearn operate watch
    """
    served = _served(deploy)
    words = ["--port", str(port)]
    if served is not None:
        words += ["--robot", served.robot, f"--joint-prefix={served.joint_prefix}"]
    if robot:
        words += ["--robot", robot]
    _run("watch", "viewer", served, words)


@app.command(name="key")
def show_key(
    key: Key = None,
    new_key: Annotated[bool, typer.Option("--new-key", help="Create the key file given by --key.")] = False,
) -> None:
    """Print your operator key as a line for `operators` in a deployment file. Creates the default key if needed.

    Example: robolearn operate key
    """
    own = load_or_create_key(operator_key_path()) if key is None else named_key(key, new_key)
    out.print(f'NAME: "{public_text(own)}"', markup=False, highlight=False, soft_wrap=True)
    where = key or operator_key_path()
    text = f"Public key of {where}, key id {key_id(own)}; replace NAME with your pseudonym."
    Terminal(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def _ask(
    deploy: str, words: list[str], key: Path | None = None, operator: str = "", reason: str = ""
) -> None:
    options = [] if key is None else ["--key", str(key.absolute())]
    options += ["--operator", operator] if operator else []
    options += ["--reason", reason] if reason else []
    _run("operate", "operator", _served(deploy), [*options, *words])


def _served(deploy: str) -> Deployment | None:
    """The deployment of a file; None without one."""
    require_ros()
    return deployment_for(deploy=deploy) if deploy else None


def _run(module: str, enclave: str, deployment: Deployment | None, words: list[str]) -> None:
    """Run a module as a ROS 2 process in the deployment's environment; its exit status is this command's."""
    changes = None if deployment is None else node_environment(deployment)
    environment = ros_environment(None, changes)
    require_security(environment, [enclave])
    options = []
    if deployment is not None and deployment.namespace:
        options += ["--namespace", deployment.namespace]
    done = subprocess.run(
        [sys.executable, "-m", f"robolearn_ros.{module}", *options, *words],
        env={**environment, **enclave_environment(enclave, environment)},
        check=False,
    )
    raise typer.Exit(done.returncode)

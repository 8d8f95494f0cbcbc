"""`robolearn operate ...`: what an operator asks of an arm that is served."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from robolearn.cli.terminal import Terminal
from robolearn.deploy.deployment import deployment_for, node_environment
from robolearn.deploy.operators import operator_key_path
from robolearn.deploy.security import enclave_environment, require_security
from robolearn.deploy.serving import require_ros, ros_environment
from robolearn.keys import key_id, load_or_create_key, named_key, public_text

app = typer.Typer(
    no_args_is_help=True,
    help="Operate an arm that is served: start, goal, status, stop, reset, mode. A stop needs no key.",
)
out = Terminal()

Deploy = Annotated[
    str,
    typer.Option(help="The deployment file that the nodes were started with (default: this machine only)."),
]
Key = Annotated[Path | None, typer.Option(help="Your operator's key (default: this account's, made once).")]
Operator = Annotated[
    str, typer.Option("--as", help="Your pseudonym (default: the one your key is known by).")
]
Reason = Annotated[str, typer.Option(help="Recorded in the safety log.")]


@app.command()
def start(deploy: Deploy = "", key: Key = None, operator: Operator = "", reason: Reason = "") -> None:
    """Let the policy's commands through to the arm.

    Example: robolearn operate start
    """
    _ask(deploy, ["start"], key, operator, reason)


@app.command()
def stop(deploy: Deploy = "") -> None:
    """Bring the arm to rest and latch it there. Anybody may; it needs no key.

    Example: robolearn operate stop
    """
    _ask(deploy, ["stop"])


@app.command()
def reset(deploy: Deploy = "", key: Key = None, operator: Operator = "", reason: Reason = "") -> None:
    """End a latched stop. This is no start: the arm goes on holding.

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
    """Change the mode of the safety profile, at rest. A start is needed afterwards.

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
    """Send a goal for the tool's centre point.

    Example: robolearn operate goal 0.5 0.2 0.4
    """
    _ask(deploy, ["goal", "--", str(x), str(y), str(z)])


@app.command()
def status(deploy: Deploy = "") -> None:
    """The monitor's newest decision, and why.

    Example: robolearn operate status
    """
    _ask(deploy, ["status"])


@app.command(name="key")
def show_key(
    key: Key = None,
    new_key: Annotated[bool, typer.Option("--new-key", help="Make the key that --key names.")] = False,
) -> None:
    """Your operator's key: the line for `operators` in a deployment file. The default key is made if there is none.

    Example: robolearn operate key
    """
    own = load_or_create_key(operator_key_path()) if key is None else named_key(key, new_key)
    out.print(f'NAME: "{public_text(own)}"', markup=False, highlight=False, soft_wrap=True)
    where = key or operator_key_path()
    text = f"The public half of {where}, key id {key_id(own)}; replace NAME by your pseudonym."
    Terminal(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def _ask(
    deploy: str, words: list[str], key: Path | None = None, operator: str = "", reason: str = ""
) -> None:
    """Run the request as a ROS 2 process in the deployment's environment; its exit status is this command's."""
    require_ros()
    deployment = deployment_for(deploy=deploy) if deploy else None
    changes = None if deployment is None else node_environment(deployment)
    environment = ros_environment(None, changes)
    require_security(environment, ["operator"])
    options = [] if key is None else ["--key", str(key.absolute())]
    options += ["--operator", operator] if operator else []
    options += ["--reason", reason] if reason else []
    options += (
        ["--namespace", deployment.namespace] if deployment is not None and deployment.namespace else []
    )
    done = subprocess.run(
        [sys.executable, "-m", "robolearn_ros.operate", *options, *words],
        env={**environment, **enclave_environment("operator", environment)},
        check=False,
    )
    raise typer.Exit(done.returncode)

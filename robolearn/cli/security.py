"""`robolearn security ...`: an SROS 2 keystore for a cell, made and checked."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from robolearn.cli.safety import plain_table
from robolearn.cli.terminal import Terminal
from robolearn.deploy.deployment import deployment_for
from robolearn.deploy.keystore import DAYS, check_keystore, create_keystore, enclave_names, expires
from robolearn.deploy.ros_policies import rights
from robolearn.deploy.security import (
    enclave_environment,
    middleware_problem,
    own_domain,
    security_environment,
)
from robolearn.deploy.serving import require_ros, ros_environment

app = typer.Typer(
    no_args_is_help=True,
    help="SROS 2: make and check the keys and permissions of every process in a cell.",
)
out = Terminal()

Keystore = Annotated[Path, typer.Argument(metavar="KEYSTORE", help="Folder of the keystore.")]


@app.command()
def init(
    keystore: Keystore,
    robot: Annotated[str, typer.Option(help="The arm (default: the deployment file's, or fr3).")] = "",
    deploy: Annotated[str, typer.Option(help="Deployment file with the topics to permit.")] = "",
    domain: Annotated[
        int | None, typer.Option(help="ROS_DOMAIN_ID of the cell (default: this environment's, or 0).")
    ] = None,
    days: Annotated[int, typer.Option(help="Validity of the keys, days.", min=1, max=36500)] = DAYS,
    renew: Annotated[
        bool,
        typer.Option("--renew", help="Reissue all keys of an existing keystore."),
    ] = False,
) -> None:
    """Create a keystore: an authority, keys and permissions for every process, and the domain's governance.

    Example: robolearn security init cell_keystore --robot fr3
    """
    deployment = deployment_for(robot, deploy)
    chosen = own_domain() if domain is None else domain
    made = rights(deployment)
    create_keystore(keystore, made, chosen, days=days, renew=renew)
    table = plain_table("enclave", "for")
    for one in made:
        table.add_row(one.enclave, one.meaning)
    out.print(table)
    text = (
        f"{keystore}: keys for ROS_DOMAIN_ID {chosen}, {days} days. Set security_keystore in the deployment file, "
        f"give each process its own enclave only, and keep {keystore / 'private'} off the robot."
    )
    out.print(text, markup=False, highlight=False, soft_wrap=True)


@app.command()
def check(keystore: Keystore) -> None:
    """Check a keystore, and whether the installed ROS 2 can enforce it.

    Exit status 1 if an enclave is wrong, or if no node can join with it.

    Example: robolearn security check cell_keystore
    """
    names = enclave_names(keystore)
    problems = (
        check_keystore(keystore, names) if names else [f"{keystore} is not a keystore, or holds no enclave"]
    )
    table = plain_table("enclave", "until")
    for name in names:
        table.add_row(f"/robolearn/{name}", f"{expires(keystore, name):%Y-%m-%d}")
    out.print(table)
    if not problems:
        require_ros()
        environment = ros_environment() | security_environment(keystore)
        problem = middleware_problem(environment | enclave_environment(names[0], environment))
        problems = [problem] if problem else []
    for problem in problems:
        out.print(f"wrong: {problem}", markup=False, highlight=False, soft_wrap=True)
    if not problems:
        out.print(f"In order on {datetime.now(UTC):%Y-%m-%d}: a node joined with security enforced.")
    raise typer.Exit(1 if problems else 0)

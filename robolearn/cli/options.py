"""Arguments and options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NewKey = Annotated[bool, typer.Option("--new-key", help="Create the key file given by --key.")]
Task = Annotated[
    str,
    typer.Argument(
        metavar="ROBOT/TASK",
        help="Such as fr3/reach (see `robolearn tasks`), or my_arm.yaml/reach for your own arm.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Config overrides, such as seed=3 num_envs=256."),
]

"""Arguments and options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
NewKey = Annotated[bool, typer.Option("--new-key", help="Make the key that --key names.")]
Task = Annotated[
    str,
    typer.Argument(
        metavar="ROBOT/TASK",
        help="Such as fr3/reach; `robolearn tasks` lists them. An arm of your own: my_arm.yaml/reach.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Config overrides, such as seed=3 num_envs=256."),
]

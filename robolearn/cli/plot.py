"""`robolearn plot`: learning curves of several runs in one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robolearn.cli.terminal import Terminal
from robolearn.errors import ConfigError


def plot(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="A key of metrics.jsonl; several times for several (default: success, episode_return)."
        ),
    ] = None,
    over: Annotated[str, typer.Option(help="steps, or wall: seconds.")] = "steps",
    smooth: Annotated[int, typer.Option(help="Iterations of a running mean.")] = 1,
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture.")] = Path("curves.png"),
) -> None:
    """Draw the learning curves of runs, also of ones that are going on, as one picture.

    Runs that differ in nothing but the seed are one line, their median, with a band from the lowest to the highest.
    The legend names the folders, and the config keys in which they differ.

    Example: robolearn plot runs/reach-0 runs/reach-1 runs/reach-wide -o curves.png
    """
    from robolearn.show.curves import METRICS, curves_figure, read_curve

    if over not in ("steps", "wall"):
        raise ConfigError(f"--over is '{over}', expected steps or wall.")
    curves = [read_curve(run) for run in runs]
    picture = curves_figure(curves, metric or METRICS, "wall" if over == "wall" else "steps", smooth)
    picture.write(output)
    Terminal().print(f"wrote {output}", highlight=False, markup=False, soft_wrap=True)

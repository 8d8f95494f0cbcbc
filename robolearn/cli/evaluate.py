"""`robolearn eval` and `sweep`: a policy over fresh episodes, under shifts, against another, and in sweeps."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robolearn.cli.options import Json
from robolearn.cli.terminal import Terminal

if TYPE_CHECKING:
    from robolearn.show.evaluated import Evaluated

out = Terminal()
err = Terminal(stderr=True)


def evaluate(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|BUNDLE|TASK",
            help="A run folder or a .robolearn file; with --policy expert also a task.",
        ),
    ],
    policy: Annotated[
        str | None,
        typer.Option(
            help="`expert`: the task's hand-written policy on measured slots; `privileged_expert`: on true ones."
        ),
    ] = None,
    episodes: Annotated[int, typer.Option(help="Number of episodes.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the episodes.")] = 1_000_000,
    video: Annotated[
        bool, typer.Option("--video", help="Also film the first successes and failures.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the results (default: beside the policy)."),
    ] = None,
    robot: Annotated[
        str | None,
        typer.Option(help="Robot YAML or calibration for a bundle, if not that of the training."),
    ] = None,
    plant: Annotated[
        str | None,
        typer.Option(help="Evaluate on another arm than the model: a name in configs/plants, or a YAML."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="RUN|BUNDLE", help="Compare with this policy on the same episodes."),
    ] = None,
    shifts: Annotated[
        bool, typer.Option(help="Also evaluate it, and the expert, beyond the trained ranges.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Evaluate a policy: success rate with its 95 % Wilson interval, and the strata where it is lowest.

    Then repeats the episodes under shifts beyond the trained ranges (latency, friction, mass, bias, noise), with the
    task's expert beside the policy. Not with --no-shifts, --plant, --policy or --against.

    Writes evaluation.json, robustness.json and evaluation.png, with --video also success.mp4 and failure.mp4, into the
    run folder; for a bundle, NAME-evaluation.json and so on beside it. A bundle is evaluated with its exported graph,
    as on the robot.

    With --against, compares two policies on the same episodes: McNemar's exact test, interval of the difference.

    Example: robolearn eval runs/fr3-reach --episodes 1000

    Example: robolearn eval fr3/pick_cube --policy expert
    """
    from robolearn.show.compared import check_comparable
    from robolearn.show.console import EvaluationBar
    from robolearn.show.evaluated import evaluate_path

    if against is not None:
        check_comparable(episodes, policy, video)

    def play(which: Path) -> Evaluated:
        with EvaluationBar(err) as progress:
            return evaluate_path(
                which,
                episodes,
                seed,
                policy=policy,
                robot=robot,
                plant=plant,
                video=video,
                output=output,
                progress=progress,
            )

    done = play(path)
    if against is not None:
        _print_pair(done, play(against), path, against, as_json)
    else:
        _print_one(done, shifts, video, as_json)


def _print_pair(done: Evaluated, other: Evaluated, path: Path, against: Path, as_json: bool) -> None:
    """Two policies over the same episodes."""
    from robolearn.show.compared import compare
    from robolearn.show.console import evaluation_table

    compared = compare(done, other, path, against)
    if as_json:
        found = {
            "a": done.result.to_json(),
            "b": other.result.to_json(),
            "paired": compared.found.to_json(),
        }
        out.print_json(json.dumps(found))
    else:
        out.print(evaluation_table(done.result), evaluation_table(other.result), compared.text)
    err.print(f"wrote {compared.file}", markup=False, highlight=False, soft_wrap=True)


def _print_one(done: Evaluated, shifts: bool, video: bool, as_json: bool) -> None:
    """One policy, then the same under shifts, then its films."""
    from robolearn.show.compared import disparity_text
    from robolearn.show.console import EvaluationBar, evaluation_table, robustness_table

    if not as_json:
        out.print(evaluation_table(done.result))
        out.print(disparity_text(done.result), markup=False, highlight=False, soft_wrap=True)
    notes, shifted = list(done.notes), None
    if shifts:
        with EvaluationBar(err) as progress:
            shifted = done.write_robustness(progress)
    if shifted is not None:
        notes.append(f"wrote {shifted[1]}")
    if as_json:
        found = done.result.to_json()
        out.print_json(json.dumps(found if shifted is None else found | {"robustness": shifted[0].to_json()}))
    elif shifted is not None:
        out.print(robustness_table(shifted[0]))
    with EvaluationBar(err) if video else nullcontext() as progress:
        notes += done.write_films(progress)
    for note in notes:
        err.print(note, markup=False, highlight=False, soft_wrap=True)


def sweep(
    path: Annotated[Path, typer.Argument(metavar="RUN|BUNDLE", help="A run folder, or a .robolearn file.")],
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="NAME", help="One sweep, such as payload; may be given again (default: all)."
        ),
    ] = None,
    episodes: Annotated[int, typer.Option(help="Fresh episodes at each amount.")] = 500,
    seed: Annotated[int, typer.Option(help="Seed of the episodes.")] = 1_000_000,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Success that must hold, lower end of the 95 % interval (default: as stated before the training)."
        ),
    ] = None,
    robot: Annotated[
        str | None,
        typer.Option(help="A bundle's robot YAML, or a calibration, where it is not that of the training."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the file (default: beside the policy).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Robustness sweeps: success as a function of one quantity at a time, beyond its trained range.

    Noise, latency, lost messages, payload, mass, friction, drives, calibration errors. Each sweep ends once success is
    below the threshold. Writes sweep.json; the dossier plots it. `robolearn eval` evaluates one amount of some of them.

    Example: robolearn sweep runs/fr3-reach --only payload --only observation_latency
    """
    from robolearn.show.swept import sweep_path, sweep_table

    found, file = sweep_path(
        path,
        episodes,
        seed,
        names=names or (),
        threshold=threshold,
        robot=robot,
        output=output,
        progress=lambda text: err.print(f"playing {text}", markup=False, highlight=False),
    )
    out.print_json(json.dumps(found.to_json())) if as_json else out.print(sweep_table(found))
    err.print(f"wrote {file}", markup=False, highlight=False, soft_wrap=True)

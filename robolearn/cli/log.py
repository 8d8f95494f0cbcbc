"""`robolearn log ...`: what is in a log folder, what may be removed from it, and traces for other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from robolearn import keys
from robolearn.cli.options import Json
from robolearn.cli.safety import plain_table
from robolearn.cli.terminal import Terminal
from robolearn.errors import LogError
from robolearn.files.printable import printable
from robolearn.recorder.mcap_file import export_cycles
from robolearn.recorder.purge import Due, due
from robolearn.recorder.purge import purge as purge_files
from robolearn.recorder.session_chain import entries
from robolearn.review.ood_scores import ood_scores
from robolearn.review.recorded_log import RecordedLog
from robolearn.review.verify import verify

app = typer.Typer(no_args_is_help=True, help="List, purge and export safety logs.")
out = Terminal()

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="A log folder, such as runs/serve.")]


@app.command("list")
def list_sessions(folder: Folder, as_json: Json = False) -> None:
    """List the sessions in a log folder, in order, without checking them.

    Example: robolearn log list runs/serve
    """
    found = entries(folder)
    if not found:
        raise LogError(f"No safety log in a folder inside {folder}.")
    if as_json:
        rows = [
            {**vars(entry), "directory": str(entry.directory), "bytes": _size(entry.directory)}
            for entry in found
        ]
        out.print_json(json.dumps(rows))
        return
    table = plain_table("deployment", "no.", "began (UTC)", "folder", "MB", "state")
    for entry in found:
        state = "purged" if entry.purged else "ended" if entry.ended else "not ended"
        name, size = entry.directory.relative_to(folder).as_posix(), f"{_size(entry.directory) / 1e6:.1f}"
        row = (entry.deployment_id, str(entry.number), entry.began_utc[:19], name, size, state)
        table.add_row(*(escape(printable(text)) for text in row))
    out.print(table)


@app.command()
def purge(
    folder: Annotated[Path, typer.Argument(help="A log folder, or the folder of one session.")],
    who: Annotated[str, typer.Option(help="Your pseudonym.")] = "",
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Private key of the log (default: the log writer's).")
    ] = None,
    reason: Annotated[str, typer.Option(help="Reason, for the tombstone.")] = "retention period over",
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove the records. Without it they are only listed.")
    ] = False,
) -> None:
    """Remove records past their retention time, leaving a signed tombstone.

    Traces are data of safety decisions (366 days), events are kept for the longer time of interventions and versions
    (1826 days). A log that was altered is not purged.

    Example: robolearn log purge runs/serve --who op-7 --yes
    """
    items = due(folder)
    if not items:
        out.print("No records are past their retention time.")
    signing = keys.load_key(key or keys.key_directory() / "log.pem") if yes and items else None
    for item in items:
        size = sum((item.directory / name).stat().st_size for name in item.files)
        what = f"{item.directory}: {', '.join(item.files)} ({size / 1e6:.1f} MB)"
        why = f"{item.retention}, newest record {item.newest:%Y-%m-%d}, kept {item.days} days"
        if signing is not None:
            purge_files(item, who=who, key=signing, reason=reason, verified=_verified(item))
        _plain(f"{'Removed' if yes else 'Would remove'} {what}: {why}")
    if items and not yes:
        _plain("Nothing was removed. To remove them, add --yes and --who PSEUDONYM.")


@app.command()
def export(
    log: Annotated[Path, typer.Argument(help="Folder of one safety log.")],
    output: Annotated[Path, typer.Argument(metavar="FILE", help="The .mcap file to write.")],
) -> None:
    """Write every cycle of a log to a plain MCAP file, for Foxglove. The log is not verified.

    The out-of-distribution scores of the policy stand under a topic of their own.

    Example: robolearn log export runs/demo/safety cycles.mcap
    """
    recorded = RecordedLog(log)
    offset_ns = int(float(recorded.start.get("clock", {}).get("boot_to_utc_s", 0.0)) * 1e9)
    try:
        count = export_cycles(log, output, recorded.layout, offset_ns, scores=ood_scores(recorded.events))
    except FileExistsError:
        raise LogError(f"{output} already exists. Choose another file.") from None
    except OSError as error:
        raise LogError(f"Cannot write {output}: {error.strerror}.") from error
    _plain(f"{count:,} cycles: {output}")


def _verified(item: Due) -> str:
    """What the verification says, for the tombstone. Raises LogError for an altered log."""
    verdict = verify(item.directory)
    if verdict.status == "altered":
        raise LogError(f"{item.directory} is not purged: {verdict.summary} Keep altered logs as evidence.")
    return verdict.status


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir() if path.is_file())


def _plain(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)

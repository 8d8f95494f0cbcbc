"""`robolearn verify`, `gate`, `revoke`, `lineage` and `dossier`: evidence of a training, and decisions about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from robolearn.cli.options import Json, NewKey
from robolearn.cli.terminal import Terminal

out = Terminal()

Who = Annotated[str, typer.Option(help="Pseudonym under which your key is known.")]
Role = Annotated[str, typer.Option(help="In which role you decide.")]
Days = Annotated[float | None, typer.Option(help="How many days it holds (default: no end).")]
Key = Annotated[Path | None, typer.Option(help="Your Ed25519 key (default: your own, made once).")]


def verify(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    key: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Public key (.pub) of who may have signed; may be given again."),
    ] = None,
    head: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An earlier audit_head.json kept elsewhere.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a run's audit trail, and its files against it; every change, gap or cut is named.

    Exit status 1 if anything was changed, or is missing. A safety log is checked by `robolearn review`.

    Example: robolearn verify runs/fr3-reach
    """
    from robolearn.dossier.verify_run import verify_run

    verdict = verify_run(run, key or (), head)
    if as_json:
        out.print_json(json.dumps(verdict.to_json()))
    else:
        signers = ", ".join(f"key {name} ({count})" for name, count in verdict.signers.items())
        counted = f"{len(verdict.records)} records of run {verdict.run_id}"
        _say(f"{verdict.status.capitalize()}: {counted}, signed by {signers}")
        for finding in verdict.findings:
            _say(f"  {finding.weight}: {finding.where}: {finding.text}")
        for text in verdict.not_shown:
            _say(f"  not shown: {text}")
    raise typer.Exit(0 if verdict.status == "intact" else 1)


def gate(
    name: Annotated[str, typer.Argument(metavar="GATE", help="train, promote or export.")],
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    who: Who,
    reason: Annotated[
        str, typer.Option(help="Why; what you looked at.")
    ] = "I have reviewed what this gate is about.",
    role: Role = "reviewer",
    days: Days = None,
    revoke: Annotated[bool, typer.Option("--revoke", help="Take it back, for good.")] = False,
    key: Key = None,
    new_key: NewKey = False,
) -> None:
    """Sign a decision at a gate of a run: start of training, promotion of a checkpoint, export.

    It goes into the run's audit trail. Which gates a run has, its config says (`gates`).

    Example: robolearn gate train runs/fr3-reach --who engineer-7 --reason 'Data sheet read.'
    """
    from robolearn.keys import named_key
    from robolearn.learn.gates import decide_gate, subject_of

    subject_of(run, name)  # before a key is made for nothing
    signing = named_key(key, new_key)
    if revoke:
        given = decide_gate(run, name, signing, who, role=role, reason=reason, decision="revoke", days=days)
    else:
        given = decide_gate(run, name, signing, who, role=role, reason=reason, days=days)
    _say(f"Gate {name}: {given.decision} of {given.digest[:12]} by {given.text}")


def approve(
    bundle: Annotated[Path, typer.Argument(help="A .robolearn file.")],
    who: Who,
    role: Role = "reviewer",
    reason: Annotated[str | None, typer.Option(help="Why; what you looked at.")] = None,
    days: Days = None,
    key: Key = None,
    new_key: NewKey = False,
) -> None:
    """Sign that you have reviewed the evaluation of exactly this bundle; kept beside it.

    Says first whether the policy met the thresholds that were stated before it was trained.

    Example: robolearn approve fr3-reach.robolearn --who engineer-7 --days 180
    """
    from robolearn.dossier.decisions import note_decision
    from robolearn.keys import named_key
    from robolearn.policy.approval import STATEMENT, approvals_path
    from robolearn.policy.approval import approve as sign
    from robolearn.policy.bundle import PolicyBundle

    loaded = PolicyBundle.load(bundle)  # before a key is made for nothing
    signing = named_key(key, new_key)
    _say(f"Thresholds: {acceptance_text(loaded.manifest.evaluation)}")
    signed = sign(bundle, signing, who, reason or STATEMENT, role=role, days=days)
    _say(f"Approved {signed.digest[:12]} as {signed.text}: {approvals_path(bundle)}")
    for text in note_decision(bundle, signed):
        _say(text)


def revoke(
    bundle: Annotated[Path, typer.Argument(help="A .robolearn file.")],
    who: Who,
    reason: Annotated[str, typer.Option(help="Why: it is shown to whoever tries to serve it.")],
    role: Role = "reviewer",
    key: Key = None,
    new_key: NewKey = False,
) -> None:
    """Revoke a bundle for good: it is not served any more, and a policy node that runs it brakes and holds.

    Kept beside the bundle and in this account's own list; on another computer revoke it there as well.

    Example: robolearn revoke fr3-reach.robolearn --who engineer-7 --reason 'Drops parts above 1 kg.'
    """
    from robolearn.dossier.decisions import note_decision
    from robolearn.keys import named_key
    from robolearn.policy.approval import revocations_path
    from robolearn.policy.approval import revoke as sign
    from robolearn.policy.bundle import PolicyBundle

    PolicyBundle.load(bundle)
    signed = sign(bundle, named_key(key, new_key), who, reason, role=role)
    _say(f"Revoked {signed.digest[:12]} by {signed.text}: beside the bundle and in {revocations_path()}")
    for text in note_decision(bundle, signed):
        _say(text)


def acceptance_text(evaluation: dict) -> str:
    """Whether thresholds were met, from a bundle's manifest."""
    found = evaluation.get("acceptance")
    if not isinstance(found, dict) or not found.get("rows"):
        return "not stated"
    wrong = [_unmet(row) for row in found["rows"] if row.get("status") != "passed"]
    what = "; ".join(wrong) or f"{len(found['rows'])} thresholds"
    stated = f"stated {found.get('stated_utc')}, sha256 {str(found.get('digest'))[:12]}"
    count = found.get("evaluations")
    tried = (
        f"; the newest of {count} evaluations of this policy" if isinstance(count, int) and count > 1 else ""
    )
    return f"{found.get('status')}: {what}; {stated}{tried}"


def _unmet(row: dict) -> str:
    value = row.get("found")
    shown = f"{value:.4g}" if isinstance(value, float | int) else "not evaluated"
    return f"{row.get('name')} {shown} (asked {row.get('threshold')})"


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def lineage(
    path: Annotated[
        Path, typer.Argument(help="A bundle, a safety log, a run folder, a data set or a calibration.")
    ],
    root: Annotated[
        list[Path] | None,
        typer.Option(help="Folder to search for runs, bundles and logs; may be given again (default: runs)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Follow a bundle or a safety log back to run, data and people; a data set or calibration on to all it reached.

    Links are digests. A calibration or a log that was fitted leads to every run, bundle and session that used it.

    Example: robolearn lineage fr3-reach.robolearn --root runs
    """
    from robolearn.dossier.lineage import lineage as follow

    found = follow(path, root if root is not None else [Path("runs")])
    if as_json:
        out.print_json(json.dumps(found.to_json()))
        return
    for line in found.lines():
        _say(line)


def dossier(
    path: Annotated[Path, typer.Argument(metavar="RUN|BUNDLE", help="A run folder or a .robolearn file.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page (default: dossier.html beside it).")
    ] = None,
    statements: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YAML of what only people can say, by point: `5a: text`."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the dossier of a policy: the points of Annex IV, each from evidence, or OPEN with what is missing.

    One page that loads nothing, the same as JSON, and a CycloneDX bill of materials beside it. For machinery it is
    anticipatory, and says so.

    Example: robolearn dossier runs/fr3-reach
    """
    from robolearn.dossier.evidence import collect
    from robolearn.dossier.page import dossier_data, write_dossier

    if as_json:
        out.print_json(json.dumps(dossier_data(collect(path), path, statements), default=str))
        return
    folder = path if path.is_dir() else path.parent
    page, beside, *more = write_dossier(path, output or folder / "dossier.html", statements)
    found = json.loads(beside.read_bytes())
    waiting = ", ".join(found["partly_open"]) or "none"
    _say(f"Open: {', '.join(found['open']) or 'none'}. Waiting for a statement: {waiting}.")
    for text in found["problems"]:
        _say(f"Could not be read: {text}")
    _say(f"Dossier: {page}; the same as JSON: {beside}")
    for parts in more:
        _say(f"Bill of materials: {parts}")


def explain(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    observations: Annotated[
        int, typer.Option(help="Decisions to explain, of episodes under the policy.")
    ] = 256,
    steps: Annotated[int, typer.Option(help="Steps of the integral.")] = 128,
    seed: Annotated[int, typer.Option(help="Seed of the episodes.")] = 0,
    failures: Annotated[
        bool,
        typer.Option(
            "--failures", help="Explain every failure of the newest evaluation instead: its last seconds."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Which slots a policy's decisions come from: integrated gradients, with the checks that they mean something.

    Kept as explanation.json, with --failures as failures.json, in the run folder, recorded in its audit trail, and
    shown in the dossier.

    Example: robolearn explain runs/fr3-reach
    """
    from robolearn.cli.safety import plain_table
    from robolearn.dossier.attribution import NOT_SHOWN
    from robolearn.dossier.explain_run import explain_run
    from robolearn.learn.run import open_run

    if failures:
        _explain_failures(run, steps, as_json)
        return
    found, file = explain_run(open_run(run), observations, steps=steps, seed=seed)
    if as_json:
        out.print_json(json.dumps(found.to_json()))
        return
    table = plain_table("slot", "share of attribution", "action change when exchanged")
    for slot in found.slots:
        table.add_row(slot.slot, f"{slot.share:.1%}", f"{slot.action_change:.1%}")
    out.print(table)
    gap = f"median {found.gap_median:.1e}, 99th percentile {found.gap_p99:.1e}"
    _say(f"Completeness gap: {gap} ({found.observations} decisions, {found.steps} steps).")
    _say(f"Rank correlation with an untrained network's attributions: {found.sanity_rank_correlation:.2f}.")
    _say(NOT_SHOWN)
    _say(f"Wrote {file}")


def _explain_failures(run: Path, steps: int, as_json: bool) -> None:
    from robolearn.dossier.attribution import NOT_SHOWN
    from robolearn.dossier.explain_failures import explain_failures
    from robolearn.dossier.failures_page import failure_items
    from robolearn.learn.run import open_run

    found, file = explain_failures(open_run(run), steps=steps)
    if as_json:
        out.print_json(json.dumps(found.to_json()))
        return
    for what, value in failure_items(found.to_json()):
        _say(f"{what.capitalize()}: {value}")
    _say(NOT_SHOWN)
    _say(f"Wrote {file}")


def condition(
    log: Annotated[list[Path], typer.Argument(help="Safety logs of one arm, oldest first, or log folders.")],
    robot: Annotated[str, typer.Option(help="The arm: a name, or its robot file.")] = "fr3",
    baseline: Annotated[int, typer.Option(help="How many of the first logs are the healthy arm.")] = 15,
    servo_known: Annotated[
        bool,
        typer.Option(
            "--servo-known", help="The drives are the robot file's (a simulated arm): changes in Nm."
        ),
    ] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = Path("condition.html"),
    as_json: Json = False,
) -> None:
    """Which joints of an arm have grown stiffer, from how far each lags behind what was sent, log by log.

    Writes a page, the same as JSON, and metrics (.prom) side by side. Exit status 1 if a joint has grown stiffer.

    Example: robolearn condition runs/serve --robot fr3
    """
    from robolearn.data.safety_log import read_safety_log
    from robolearn.dossier.condition import assess, features
    from robolearn.dossier.condition_page import joint_line, write_condition
    from robolearn.errors import DataError
    from robolearn.recorder.session_chain import entries
    from robolearn.review.sessions import is_log_folder
    from robolearn.robots import load_robot

    folders = [
        f for path in log for f in ([e.directory for e in entries(path)] if is_log_folder(path) else [path])
    ]
    arm = load_robot(robot)
    model = arm.spec(None).compile()
    read, left_out = [], []
    for folder in folders:
        try:
            read.append(features(read_safety_log(folder), arm, model))
        except DataError as error:  # a session that never moved, or was cut off, says nothing of the joints
            left_out.append(f"not counted: {error}")
    found = assess(read, arm, servo_known=servo_known, baseline=baseline, left_out=left_out)
    written = write_condition(found, output)
    if as_json:
        out.print_json(json.dumps(found.to_json()))
    else:
        for text in [*(joint_line(found, joint) for joint in found.joints), *found.notes]:
            _say(text)
        _say(f"Wrote {', '.join(map(str, written))}")
    raise typer.Exit(1 if found.alarms else 0)


def incident(
    log: Annotated[Path, typer.Argument(help="Folder of a safety log.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder.")],
    seq: Annotated[
        int | None, typer.Option(help="The event in the middle (default: the newest stop).")
    ] = None,
    seconds: Annotated[float, typer.Option(help="How much of the log, half of it before.")] = 60.0,
    key: Key = None,
    new_key: NewKey = False,
) -> None:
    """Freeze the log around one event: cycles, events, versions and digests, in a signed folder.

    Example: robolearn incident runs/demo/safety -o incident-1
    """
    from robolearn.dossier.incident import freeze
    from robolearn.keys import named_key

    found = freeze(log, output, named_key(key, new_key), seq=seq, seconds=seconds)
    event = found["event"]
    status = found["verification"]["status"]
    _say(f"{event['kind']} of {event['utc']} (seq {event['seq']}): {found['cycles']} cycles, log {status}")
    for name, date in found["report_by_utc_if_aware_now"].items():
        _say(
            f"  report by {date} ({name}), if it is a serious incident under AI Act Art. 73 and you learn of it now"
        )
    _say(f"Frozen: {output}")


COMMANDS = (verify, gate, approve, revoke, lineage, explain, dossier, condition, incident)

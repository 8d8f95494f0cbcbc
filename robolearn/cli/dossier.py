"""`robolearn verify`, `gate`, `revoke`, `lineage` and `dossier`: evidence of a training, and decisions about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from robolearn.cli.options import Json, NewKey
from robolearn.cli.terminal import Terminal

out = Terminal()

Who = Annotated[str, typer.Option(help="Your pseudonym.")]
Role = Annotated[str, typer.Option(help="Your role in this decision.")]
Days = Annotated[float | None, typer.Option(help="Days until it expires (default: never).")]
Key = Annotated[
    Path | None, typer.Option(help="Your Ed25519 key (default: this account's, created on first use).")
]


def verify(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    key: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Public key (.pub) of a permitted signer; repeatable."),
    ] = None,
    head: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An earlier audit_head.json kept elsewhere.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a run's audit trail and files; report every change, gap and truncation.

    Exit status 1 if anything was changed or is missing. To check a safety log, use `robolearn review`.

    Example: robolearn verify runs/fr3-reach
    """
    from robolearn.dossier.verify_run import verify_run

    verdict = verify_run(run, key or (), head)
    if as_json:
        out.print_json(json.dumps(verdict.to_json()))
    else:
        signers = ", ".join(f"key {name} ({count} segments)" for name, count in verdict.signers.items())
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
        str, typer.Option(help="Reason, and what you reviewed.")
    ] = "I have reviewed what this gate is about.",
    role: Role = "reviewer",
    days: Days = None,
    revoke: Annotated[bool, typer.Option("--revoke", help="Revoke the decision permanently.")] = False,
    key: Key = None,
    new_key: NewKey = False,
) -> None:
    """Sign the decision at a gate of a run: train, promote or export.

    The decision is stored in the run's audit trail. `gates` in the config of the run lists its gates.

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
    reason: Annotated[str | None, typer.Option(help="Reason, and what you reviewed.")] = None,
    days: Days = None,
    key: Key = None,
    new_key: NewKey = False,
) -> None:
    """Approve a bundle: sign that you reviewed its evaluation.

    Reports whether the policy met the thresholds set before training. The approval is stored beside the bundle.

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
    reason: Annotated[str, typer.Option(help="Reason, shown when somebody tries to serve the bundle.")],
    role: Role = "reviewer",
    key: Key = None,
    new_key: NewKey = False,
) -> None:
    """Revoke a bundle permanently: it can no longer be served, and a node running it brakes and holds.

    Stored beside the bundle and in this account's list. Revoke it on every other computer as well.

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
    return f"{row.get('name')} {shown} (threshold {row.get('threshold')})"


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def lineage(
    path: Annotated[
        Path, typer.Argument(help="A bundle, a safety log, a run folder, a data set or a calibration.")
    ],
    root: Annotated[
        list[Path] | None,
        typer.Option(help="Folder to search for runs, bundles and logs; repeatable (default: runs)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Trace a bundle or log back to run, data and people, or a data set forward to its results.

    Items are linked by digest. A calibration, or a log used for a fit, leads to every run, bundle and session using it.

    Example: robolearn lineage fr3-reach.robolearn --root runs
    """
    from robolearn.dossier.lineage import lineage as follow

    usual = [Path("runs")] if Path("runs").is_dir() else []
    found = follow(path, root if root is not None else usual)
    if as_json:
        out.print_json(json.dumps(found.to_json()))
        return
    for line in found.lines():
        _say(line)


def dossier(
    path: Annotated[Path, typer.Argument(metavar="RUN|BUNDLE", help="A run folder or a .robolearn file.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Page to write (default: dossier.html beside RUN or BUNDLE)."),
    ] = None,
    statements: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="YAML with statements for points that need a person, as `5a: text`."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the dossier of a policy: each point of Annex IV from evidence, or OPEN with what is missing.

    Writes one self-contained page, JSON, and a CycloneDX bill of materials. For machinery the dossier is anticipatory:
    no such act was in force in October 2026. Exit status 1 if the run's audit trail was altered or is incomplete.

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
    altered = found["trail"] is not None and found["trail"]["status"] != "intact"
    if altered:
        status = found["trail"]["status"]
        _say(f"WARNING: the audit trail is {status}: nothing below that rests on it is shown to be true.")
    _say(f"Open: {', '.join(found['open']) or 'none'}. Waiting for a statement: {waiting}.")
    for text in found["problems"]:
        _say(f"Could not be read: {text}")
    _say(f"Dossier: {page}; the same as JSON: {beside}")
    for parts in more:
        _say(f"Bill of materials: {parts}")
    raise typer.Exit(1 if altered else 0)


def explain(
    run: Annotated[
        Path, typer.Argument(metavar="RUN|BUNDLE", help="A run folder; with --log also a .robolearn file.")
    ],
    observations: Annotated[
        int, typer.Option(help="Decisions to explain, sampled from episodes of the policy.")
    ] = 256,
    steps: Annotated[int, typer.Option(help="Integration steps.")] = 128,
    seed: Annotated[int, typer.Option(help="Seed of the episodes.")] = 0,
    failures: Annotated[
        bool,
        typer.Option(
            "--failures", help="Explain every failure of the newest evaluation instead: its last seconds."
        ),
    ] = False,
    log: Annotated[
        Path | None,
        typer.Option(help="Explain the 2 s before each stop in this safety log instead."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Page to write, with --log.")] = Path(
        "stops.html"
    ),
    as_json: Json = False,
) -> None:
    """Attribute a policy's actions to its input slots: integrated gradients, with sanity checks.

    Writes explanation.json, with --failures failures.json, in the run folder, records it in the audit trail; the
    dossier shows it. With --log it writes a page and JSON, and needs the bundle only, not the run.

    Example: robolearn explain runs/fr3-reach
    """
    from robolearn.cli.safety import plain_table
    from robolearn.dossier.attribution import NOT_SHOWN
    from robolearn.dossier.explain_run import explain_run

    if log is not None:
        _explain_stops(run, log, steps, output, as_json)
        return
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


def _explain_stops(path: Path, log: Path, steps: int, output: Path, as_json: bool) -> None:
    from robolearn.dossier.explain_stops import STOPS_NOT_SHOWN, explain_stops
    from robolearn.dossier.stops_page import stop_line, write_stops
    from robolearn.errors import ConfigError
    from robolearn.policy.bundle import SUFFIX, PolicyBundle

    if path.is_dir():
        bundles = sorted(path.glob(f"*{SUFFIX}"))
        if len(bundles) != 1:
            names = ", ".join(bundle.name for bundle in bundles) or "none"
            raise ConfigError(
                f"'{path}' holds {len(bundles)} bundles ({names}), expected one. "
                + ("Give the bundle's own path." if bundles else f"Make it: robolearn export {path}")
            )
        path = bundles[0]
    found = explain_stops(PolicyBundle.load(path), log, steps=steps)
    if as_json:
        out.print_json(json.dumps(found.to_json()))
        return
    for stop in found.stops:
        _say(stop_line(stop))
    if found.left_out:
        _say(f"{found.left_out} more stops are not explained.")
    _say(f"Completeness gap: median {found.gap_rad[0]:.1e} rad, 99th percentile {found.gap_rad[1]:.1e} rad.")
    for text in STOPS_NOT_SHOWN:
        _say(text)
    for file in write_stops(found, output):
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
    robot: Annotated[str, typer.Option(help="The arm: a name or a robot file.")] = "fr3",
    baseline: Annotated[int, typer.Option(help="Number of first logs that show the healthy arm.")] = 15,
    servo_known: Annotated[
        bool,
        typer.Option(
            "--servo-known", help="The drives match the robot file (simulated arm): report changes in Nm."
        ),
    ] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Page to write.")] = Path("condition.html"),
    as_json: Json = False,
) -> None:
    """Find joints whose friction has grown, from the tracking lag in each log.

    Writes a page, JSON and Prometheus metrics (.prom). Exit status 1 if the friction of a joint has grown.

    Example: robolearn condition runs/serve --robot fr3
    """
    from robolearn.data.safety_log import read_safety_log
    from robolearn.dossier.condition import assess
    from robolearn.dossier.condition_page import joint_line, write_condition
    from robolearn.dossier.joint_friction import features
    from robolearn.errors import DataError
    from robolearn.recorder.session_chain import entries
    from robolearn.review.sessions import is_log_folder
    from robolearn.robots import load_robot

    if baseline < 1:
        raise DataError(f"--baseline is {baseline}, expected at least 1 log that shows the healthy arm.")
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
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to create.")],
    seq: Annotated[
        int | None, typer.Option(help="Sequence number of the event (default: the newest stop).")
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="Length of the excerpt in s, half of it before the event.")
    ] = 60.0,
    key: Key = None,
    new_key: NewKey = False,
) -> None:
    """Copy the log around one event into a signed folder, with versions and digests.

    Exit status 1 if the log was altered or is incomplete: the folder is written all the same, and says so.

    Example: robolearn incident runs/demo/safety -o incident-1
    """
    from robolearn.dossier.incident import freeze
    from robolearn.keys import named_key

    found = freeze(log, output, named_key(key, new_key), seq=seq, seconds=seconds)
    event = found["event"]
    status = found["verification"]["status"]
    if status != "intact":
        _say(
            f"WARNING: the log is {status}: {found['verification']['summary']} See `robolearn review {log}`."
        )
    _say(f"{event['kind']} of {event['utc']} (seq {event['seq']}): {found['cycles']} cycles, log {status}")
    _say("If it is a serious incident under AI Act Art. 73, and you became aware of it now, report it by")
    for name, date in found["report_by_utc_if_aware_now"].items():
        _say(f"  {date[:16].replace('T', ' ')} UTC ({name})")
    _say(f"Written: {output}")
    raise typer.Exit(0 if status == "intact" else 1)


COMMANDS = (verify, gate, approve, revoke, lineage, explain, dossier, condition, incident)

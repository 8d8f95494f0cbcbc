"""What is asked for after an incident: the log around one event, frozen, with versions and digests, signed.

A folder: `cycles.mcap` (every cycle of the window), `events.jsonl` (the session's first event and those of the
window, as they stand in the log), the robot file and the profile, and `incident.json`, which has the digest of each and
the signature. The log itself stays as it is; keep it too.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import robolearn
from robolearn import keys
from robolearn.dossier.lineage import policies_of
from robolearn.errors import LogError
from robolearn.files.digests import file_sha256
from robolearn.files.writing import create_file
from robolearn.recorder.hash_chain import canonical, plain
from robolearn.recorder.mcap_file import export_cycles
from robolearn.review.ood_scores import ood_scores
from robolearn.review.recorded_log import RecordedLog
from robolearn.review.verify import verify

SCHEMA = "robolearn.incident/1"
# Days to report a serious incident after becoming aware of it, Regulation (EU) 2024/1689, Art. 73 (2) to (4). Whether
# this is one, and whether the article applies, people decide.
SECONDS_MAX = 1e7  # a third of a year
REPORT_DAYS = {"general": 15, "death": 10, "widespread or critical infrastructure": 2}


def freeze(
    log: str | Path,
    output: str | Path,
    key: Ed25519PrivateKey,
    *,
    seq: int | None = None,
    seconds: float = 60.0,
) -> dict[str, Any]:
    """Write the folder; what incident.json says.

    seq: of the event in the middle (default: the newest stop). seconds: the window's length, half of it before.
    Raises LogError where there is no log, no such event, a length out of range, or the folder exists or cannot be
    written.
    """
    if not 0.0 < seconds <= SECONDS_MAX:
        raise LogError(
            f"seconds is {seconds:g}, expected above 0 and at most {SECONDS_MAX:g}: length of the excerpt."
        )
    recorded, out = RecordedLog(log), Path(output)
    event = _event(recorded, seq)
    half_us = int(seconds * 5e5)
    first_us, last_us = event["monotonic_us"] - half_us, event["monotonic_us"] + half_us
    wanted = [e for e in recorded.events if e["seq"] == 0 or first_us <= e["monotonic_us"] <= last_us]
    verdict = verify(recorded)
    offset_ns = int(float(recorded.start.get("clock", {}).get("boot_to_utc_s", 0.0)) * 1e9)
    try:
        out.mkdir(parents=True, exist_ok=False)
        create_file(out / "events.jsonl", b"".join(canonical(e) + b"\n" for e in wanted))
        cycles = export_cycles(
            recorded.directory, out / "cycles.mcap", recorded.layout, offset_ns,
            first_ns=1000 * first_us, last_ns=1000 * last_us, scores=ood_scores(recorded.events),
        )  # fmt: skip
        for name in recorded.start.get("files", {}):
            if Path(name).name == name and (recorded.directory / name).is_file():
                shutil.copyfile(recorded.directory / name, out / name)
        about = _about(recorded, event, verdict, cycles, seconds)
        about["files"] = {path.name: file_sha256(path) for path in sorted(out.iterdir())}
        signed = {**about, "key_id": keys.key_id(key), "public_key": keys.public_text(key)}
        signed["signature"] = keys.sign(key, canonical(signed))
        create_file(out / "incident.json", json.dumps(signed, indent=2).encode() + b"\n")
    except FileExistsError:
        raise LogError(f"'{out}' already exists. Choose a new folder.") from None
    except OSError as error:
        raise LogError(f"Cannot write '{out}': {error.strerror}.") from error
    return signed


def _event(recorded: RecordedLog, seq: int | None) -> dict[str, Any]:
    if seq is None:
        stops = [event for event in recorded.events if event["kind"] == "stop"]
        if not stops:
            raise LogError(f"The log in {recorded.directory} has no stop. Name an event with --seq.")
        return stops[-1]
    found = next((event for event in recorded.events if event["seq"] == seq), None)
    if found is None:
        raise LogError(
            f"The log in {recorded.directory} has no event with seq {seq}; the last has {len(recorded.events) - 1}."
        )
    return found


def _about(
    recorded: RecordedLog, event: dict[str, Any], verdict: Any, cycles: int, seconds: float
) -> dict[str, Any]:
    start, now = recorded.start, datetime.now(UTC)
    return plain(
        {
            "schema": SCHEMA,
            "made_utc": now.isoformat(timespec="seconds"),
            "robolearn": robolearn.__version__,
            "log": str(recorded.directory),
            "session_id": start.get("session_id"),
            "deployment_id": start.get("deployment_id"),
            "event": {name: event[name] for name in ("seq", "kind", "utc", "cycle", "hash")},
            "seconds": seconds,
            "cycles": cycles,
            "robot": start.get("robot"),
            "profile": start.get("profile"),
            "software": start.get("software"),
            "policies": policies_of(recorded.directory),
            "verification": {"status": verdict.status, "summary": verdict.summary, "head": verdict.head},
            "report_by_utc_if_aware_now": {
                name: (now + timedelta(days=days)).isoformat(timespec="seconds")
                for name, days in REPORT_DAYS.items()
            },
            "note": "The dates follow AI Act Art. 73. Whether this is a serious incident, and whether the article "
            "applies, people decide; for machinery in the EU it does not apply directly.",
        }
    )

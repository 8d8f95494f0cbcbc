"""Where a bundle or a session of an arm came from, and where a data set or a calibration went.

Backward: safety log -> bundle -> run -> config, thresholds, code, calibration, the logs it was fitted to, data, people.
Forward: data set or calibration -> runs -> bundles -> sessions. Links are digests: what a name or a place says does
not count. What a link names and no folder that was searched holds is said to be not found.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from robolearn.data.safety_log import log_digest
from robolearn.errors import BundleError, DataError, LogError
from robolearn.files.digests import file_sha256, path_sha256
from robolearn.files.reading import MIB, open_regular
from robolearn.files.strict_json import parse_json
from robolearn.policy.approval import read_approvals
from robolearn.policy.bundle import SUFFIX, PolicyBundle
from robolearn.recorder.audit_trail import AUDIT_FILE, chain_fault, read_trail
from robolearn.recorder.hash_chain import EVENTS_FILE
from robolearn.safety.command_source import policy_digest

NOT_FOUND = "not found in the searched folders"


@dataclass
class Node:
    """One thing in a lineage: its kind, a name, its digest or id, the facts, and what it leads to."""

    kind: str
    name: str
    digest: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    leads_to: list[Node] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "leads_to": [node.to_json() for node in self.leads_to]}

    def lines(self, depth: int = 0) -> Iterator[str]:
        """The tree, a line for each node."""
        facts = "; ".join(
            f"{key} {value}" for key, value in self.facts.items() if value not in (None, "", [])
        )
        head = f"{'  ' * depth}{self.kind} {self.name}" + (
            f" sha256 {self.digest[:12]}" if self.digest else ""
        )
        yield head + (f": {facts}" if facts else "")
        for node in self.leads_to:
            yield from node.lines(depth + 1)

    def walk(self) -> Iterator[Node]:
        """This node, and all below it."""
        yield self
        for node in self.leads_to:
            yield from node.walk()


class Index:
    """What lies in some folders: runs with a trail, bundles and safety logs, by what identifies them."""

    def __init__(self, roots: Iterable[Path]):
        self._roots = list(dict.fromkeys(root.absolute() for root in roots))

    def _files(self, pattern: str) -> list[Path]:
        return sorted({path for root in self._roots for path in root.rglob(pattern)})

    @cached_property
    def runs(self) -> dict[Path, list[dict[str, Any]]]:
        """The trail's records by run folder."""
        return {
            path.parent: records for path in self._files(AUDIT_FILE) if (records := read_trail(path.parent))
        }

    @cached_property
    def bundles(self) -> dict[str, Path]:
        """Files by digest."""
        return {file_sha256(path): path for path in self._files(f"*{SUFFIX}") if path.is_file()}

    @cached_property
    def sessions(self) -> dict[Path, list[str]]:
        """Digests of the bundles that commanded, by the folder of a safety log."""
        return {path.parent: policies_of(path.parent) for path in self._files(EVENTS_FILE)}

    @cached_property
    def logs(self) -> dict[str, Path]:
        """Folders of safety logs by the digest that a calibration names them by."""
        return {log_digest(folder): folder for folder in self.sessions}

    def run(self, run_id: str) -> Path | None:
        """The folder of a run."""
        found = (folder for folder, records in self.runs.items() if _run_id(records) == run_id)
        return next(found, None)


def _run_id(records: list[dict[str, Any]]) -> str:
    return str(records[0]["fields"].get("run_id"))


def policies_of(folder: Path) -> list[str]:
    """Digests of the bundles that commanded in a session, in order, as its log has them, unchecked."""
    found: dict[str, None] = {}
    for event in _events(folder):
        digest = event["fields"].get("policy_digest") or policy_digest(str(event["fields"].get("source", "")))
        if event["kind"] in ("command_source", "start") and digest:
            found[str(digest)] = None
    return list(found)


def _events(folder: Path) -> Iterator[dict[str, Any]]:
    try:
        with open_regular(folder / EVENTS_FILE) as stream:
            for line in iter(lambda: stream.readline(MIB), b""):
                event = parse_json(line)
                if isinstance(event, dict) and isinstance(event.get("fields"), dict):
                    yield event
    except (OSError, ValueError):
        return


def lineage(path: str | Path, roots: Iterable[Path] = ()) -> Node:
    """What a bundle, a safety log, a run, a data set or a calibration is connected with.

    roots: folders that are searched, besides the path's own. A bundle and a safety log are followed back, everything
    else that is not a run is followed forward; a run both ways. Raises DataError where there is nothing at path,
    LogError for a run whose trail cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(
            f"'{path}' does not exist. Give a bundle, a safety log, a run, a data set or calibration."
        )
    roots = list(roots)
    for root in roots:
        if not root.is_dir():
            raise DataError(f"'{root}' (--root) is not a folder: nothing can be searched there.")
    if path.is_dir() and not any(path.iterdir()):
        raise DataError(f"'{path}' is empty. Give a bundle, a safety log, a run, a data set or calibration.")
    index = Index([*roots, path if path.is_dir() else path.absolute().parent])
    if path.is_file() and path.suffix == SUFFIX:
        return _bundle(index, file_sha256(path), path)
    if (path / AUDIT_FILE).is_file():
        if path.absolute() not in index.runs:
            raise LogError(f"The audit trail in {path} cannot be read. See `robolearn verify {path}`.")
        run = _run(index, path.absolute())
        run.leads_to += _exports(index, index.runs[path.absolute()])
        return run
    if (path / EVENTS_FILE).is_file():
        return _session(index, path, forward=True)
    digest = path_sha256(path)
    node = Node("data", path.name, digest)
    node.leads_to = _users(index, {digest})
    if not node.leads_to:
        node.facts["used by"] = f"no run: {NOT_FOUND}"
    return node


def _session(index: Index, folder: Path, *, forward: bool = False) -> Node:
    """A safety log: the policies that commanded, the people; forward: also the runs whose calibration used it."""
    start = next(_events(folder), {"fields": {}, "utc": None})
    fields = start["fields"]
    digests = policies_of(folder)
    called = [e["fields"] for e in _events(folder) if e["kind"] in ("start", "reset", "mode")]
    people = sorted({f"{fields['who']} (key {fields.get('key')})" for fields in called if fields.get("who")})
    facts = {
        "began": start.get("utc"),
        "session": fields.get("session_id"),
        "deployment": fields.get("deployment_id"),
        "operators": ", ".join(people),
        "folder": str(folder),
    }
    node = Node("safety log", folder.name, log_digest(folder), facts)
    node.leads_to = [_bundle(index, digest, index.bundles.get(digest)) for digest in digests]
    if forward:
        node.leads_to += _users(index, {node.digest})
    return node


def _bundle(index: Index, digest: str, path: Path | None) -> Node:
    node = Node("bundle", path.name if path else "unknown", digest)
    if path is None:
        node.facts["file"] = NOT_FOUND
        run = next((f for f, records in index.runs.items() if digest in _exported(records)), None)
        node.leads_to = [_run(index, run)] if run else []
        return node
    try:
        bundle = PolicyBundle.load(path)
        given = [d for d in read_approvals(path) if d.digest == digest]
        node.leads_to = [_person(d.model_dump(mode="json")) for d in given]
    except BundleError as error:
        node.facts["problem"] = str(error)
        return node
    m = bundle.manifest
    node.facts |= {"task": m.task, "made": m.created_utc, "signed by key": bundle.key_id, "file": str(path)}
    run_id = m.run_id
    folder = index.run(run_id) if run_id else None
    if folder is not None:
        node.leads_to.insert(0, _run(index, folder))
    else:
        where = NOT_FOUND if run_id else "not named: exported by an earlier robolearn, or imported"
        node.leads_to.insert(0, Node("run", run_id or "unknown", "", {"folder": where}))
    return node


def _person(decision: dict[str, Any]) -> Node:
    """Who decided, from a signed decision."""
    shown = {
        "role": "role",
        "decided": "decision",
        "gate": "gate",
        "key": "key_id",
        "at": "utc",
        "reason": "statement",
    }
    return Node("person", str(decision["who"]), "", {name: decision[key] for name, key in shown.items()})


def _run(index: Index, folder: Path) -> Node:
    """A run, and what went into it."""
    records = index.runs[folder]
    starts = [r for r in records if r["kind"] == "start"]
    signers = sorted({r["fields"]["key_id"] for r in records if r["kind"] == "segment"})
    fault = chain_fault(folder)
    facts = {
        "id": _run_id(records),
        "trail": f"ALTERED: {fault}" if fault else "chain and signatures fit",
        "starts": len(starts),
        "first start": starts[0]["utc"] if starts else None,
        "written by keys": ", ".join(signers),
        "folder": str(folder),
    }
    node = Node("run", folder.name, "", facts)
    first = next((r["fields"] for r in records if r["kind"] == "inputs"), None)
    if first is not None:
        node.leads_to += _inputs(index, first)
    for record in records:
        if record["kind"] == "decision":
            node.leads_to.append(_person(record["fields"]))
    return node


def _inputs(index: Index, fields: dict[str, Any]) -> Iterator[Node]:
    yield Node("config", fields["config"].get("task", ""), fields["config_sha256"])
    if fields["acceptance"]:
        yield Node("thresholds", str(fields["acceptance"]["file"]), fields["acceptance"]["sha256"])
    if fields["robot"]:
        yield Node("robot", fields["robot"]["name"], fields["robot"]["sha256"])
    yield Node("task code", str(fields["task"]["file"]), str(fields["task"]["sha256"] or ""))
    yield Node("code", f"robolearn {fields['code']['robolearn']}", fields["code"]["sha256"])
    yield Node("environment", f"Python {fields['environment']['python']}", fields["environment"]["sha256"])
    calibration = fields["calibration"]
    if calibration:
        node = Node("calibration", Path(calibration["path"]).name, calibration["sha256"])
        for log in calibration["logs"]:
            found = index.logs.get(log["sha256"])
            where = str(found) if found else NOT_FOUND
            node.leads_to.append(Node("log", Path(log["source"]).name, log["sha256"], {"folder": where}))
        yield node
    for data in fields["data"]:
        yield Node("data", Path(data["path"]).name, data["sha256"])


def _exported(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Export records by the bundle's digest."""
    return {r["fields"]["bundle"]["sha256"]: r["fields"] for r in records if r["kind"] == "export"}


def _exports(index: Index, records: list[dict[str, Any]]) -> list[Node]:
    """The bundles of a run, and the sessions in which each commanded."""
    nodes = []
    for digest, fields in _exported(records).items():
        path = index.bundles.get(digest)
        facts = {"thresholds": fields["acceptance"]["status"], "file": str(path) if path else NOT_FOUND}
        node = Node("bundle", fields["bundle"]["name"], digest, facts)
        for folder, policies in index.sessions.items():
            if digest in policies:
                node.leads_to.append(
                    Node("safety log", folder.name, log_digest(folder), {"folder": str(folder)})
                )
        nodes.append(node)
    return nodes


def _users(index: Index, digests: set[str]) -> list[Node]:
    """Runs into which any of these digests went, and what came of them."""
    nodes = []
    for folder, records in index.runs.items():
        used = set()
        for record in records:
            if record["kind"] == "inputs":
                used |= digests & _named(record["fields"])
        if used:
            facts = {"id": _run_id(records), "folder": str(folder)}
            nodes.append(Node("run", folder.name, "", facts, _exports(index, records)))
    return nodes


def _named(fields: dict[str, Any]) -> set[str]:
    """Every digest that a record of inputs names."""
    text, found = json.dumps(fields), set()
    for part in text.split('"'):
        if len(part) == 64:
            found.add(part)
    return found


__all__ = ["Index", "Node", "lineage", "policies_of"]

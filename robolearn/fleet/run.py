"""A run from the coordinator's side: the first vector, the sites, the app, and the rounds as they end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from robolearn.errors import RobolearnError
from robolearn.fleet import engine
from robolearn.fleet.rounds import Rounds
from robolearn.fleet.settings import NODES_FILE, Folder
from robolearn.fleet.setup import site_keys

OUTCOME_FILE = "outcome.json"
_LOOK_S = 0.5


class SitesMissing(RobolearnError):
    """Fewer sites are connected than the run needs."""


def prepare(folder: Folder, sites: int | None = None, wait_s: float = 300.0) -> list[str]:
    """Make the first vector where there is none, and wait for the sites; their pseudonyms.

    sites: how many to wait for; all that are registered without. Raises SitesMissing after wait_s.
    """
    rounds = Rounds(folder.path)
    if not rounds.begun:
        from robolearn.fleet.work import first_vector

        rounds.begin(*first_vector(folder.federation()))
    keys = set(site_keys(folder))
    needed = len(keys) if sites is None else sites
    until = time.monotonic() + wait_s
    while len(found := _connected(folder)) < needed:
        if time.monotonic() > until:
            absent = ", ".join(sorted(keys - found))
            raise SitesMissing(
                f"{len(found)} of {needed} sites are connected after {wait_s:g} s; not {absent}. Start the server with "
                "`robolearn federate server` and them with `robolearn federate site`, or ask for fewer with --sites."
            )
        time.sleep(1.0)
    return sorted(found)


def _connected(folder: Folder) -> set[str]:
    """The sites that are connected; none while the server is still starting."""
    federation = folder.federation()
    if not engine.listens(federation.host, federation.port) or not (folder / NODES_FILE).is_file():
        return set()
    return engine.online(folder)


def follow(folder: Folder, progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Start the run and report each round; how it ended, as `server.py` wrote it.

    A run that was left unfinished is ended first: two would work on the same rounds.
    """
    rounds = Rounds(folder.path)
    seen = len(rounds.records())
    (folder / OUTCOME_FILE).unlink(missing_ok=True)
    for left in engine.unfinished_runs(folder):
        engine.stop_run(folder, left)
    run = engine.start_run(folder)
    looked_s = time.monotonic()
    try:
        while True:
            records = rounds.records()
            for record in records[seen:]:
                progress(record)
            seen = len(records)
            if (outcome := _outcome(folder)).get("run") == run:
                return outcome
            if time.monotonic() - looked_s > 10.0:  # an app that cannot start writes nothing
                looked_s = time.monotonic()
                status = engine.run_status(folder, run)
                if status.startswith("finished") and _outcome(folder).get("run") != run:
                    return {
                        "run": run,
                        "outcome": "failed",
                        "error": f"Flower says {status}. See server.log.",
                    }
            time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        engine.stop_run(folder, run)
        raise


def _outcome(folder: Folder) -> dict[str, Any]:
    """What the last run to end wrote; empty before."""
    path = folder / OUTCOME_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

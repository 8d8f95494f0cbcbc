"""A log of many cycles with fifty stops: the page stays small and is drawn without a long wait."""

from __future__ import annotations

import html
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from browser import dump_dom, needs_chromium

from robolearn import keys
from robolearn.config import config_path
from robolearn.recorder.cycle_codec import Layout
from robolearn.recorder.event_log import LogWriter, Options
from robolearn.review.report import report_data, write_page
from robolearn.review.verdict import Verdict as Integrity
from robolearn.robots import load_robot
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import Command, Decision, Measured, Record, State, Surroundings, Verdict

STOPS, PERIOD_NS = 50, 1_000_000
PAGE_MAX_BYTES = 12_000_000
DRAWN_MAX_MS = 5000.0  # generous: a busy computer draws several times slower


def write_log(directory: Path, cycles: int) -> None:
    """Cycles at 1 kHz at rest, with a stop now and then, written without monitor and processes."""
    directory.mkdir()
    robot, profile = load_robot("fr3"), SafetyProfile.load("fr3")
    (directory / "robot.yaml").write_bytes(robot.path.read_bytes())
    (directory / "profile.yaml").write_bytes(Path(config_path("safety/fr3.yaml")).read_bytes())
    genesis = {
        "session_id": "million",
        "deployment_id": "test",
        "mode": "automatic",
        "period_s": PERIOD_NS / 1e9,
        "session": {},
        "robot": {"name": robot.name, "digest": robot.digest},
        "profile": {"name": profile.name, "digest": profile.digest},
        "joint_names": list(robot.joint_names),
        "software": {},
    }
    options = Options(heartbeat_s=10.0, segment_s=60.0, segment_events=10**6)
    key = keys.load_or_create_key(directory.parent / "log.pem")
    writer = LogWriter(directory, genesis, key, options, fsync=lambda _: None)
    begin_ns = 1_800_000_000 * 10**9
    writer.start(0, begin_ns)
    layout, still, q = Layout(tuple(robot.joint_names)), np.zeros(robot.dof), robot.home_rad.copy()
    command = Command(robot.joint_names, q, 0.0, None, "policy:" + "a" * 64)
    measured, record = (
        Measured(robot.joint_names, q, still, 0.0),
        Record("finite", 1.0, 0.0, -1.0, "1", "test", "x"),
    )

    def packed(verdict: Verdict, state: State, latched: bool, records: tuple[Record, ...]) -> bytearray:
        decision = Decision(verdict, q, still, latched, state, records)
        return bytearray(layout.pack(0, 0, 0.0, [command], measured, Surroundings(2.5, 0.0), decision))

    running = packed(Verdict.PASS, State.RUNNING, False, ())
    stopped = packed(Verdict.STOP, State.STOPPED, True, (record,))
    stop_every = cycles // STOPS
    for number in range(cycles):
        now_ns = number * PERIOD_NS
        payload = stopped if number % stop_every >= stop_every - 200 else running
        # number, monotonic_ns, now_s, stamps of command and measurement; then the person's distance and stamp
        now_s = now_ns / 1e9
        struct.pack_into("<QQdddddd", payload, 4, number, now_ns, now_s, now_s, now_s, 2.5, now_s, 0.0)
        writer.cycle(bytes(payload))
        if number % 10_000 == 0:
            writer.tick(now_ns, begin_ns + now_ns)
    writer.close(cycles * PERIOD_NS, "closed", {})


@pytest.mark.parametrize("cycles", [100_000, pytest.param(1_000_000, marks=pytest.mark.proof)])
@needs_chromium
def test_a_long_log_opens_without_freezing(tmp_path, cycles):
    write_log(tmp_path / "log", cycles)
    data = report_data(tmp_path / "log", Integrity(tmp_path / "log"))
    assert data["statistics"]["cycles"] == cycles
    assert data["sources"]["listed"][0]["followed"] == cycles - STOPS * 200
    assert len(data["stops"]) == STOPS
    assert all(stop["timeline"]["n"] <= 600 for stop in data["stops"])
    assert all(len(column) <= 1200 for column in data["overview"].values())
    page = write_page(data, tmp_path / "report.html")
    assert page.stat().st_size < PAGE_MAX_BYTES
    probe = (
        "<script>{const drawn = performance.now(); document.querySelectorAll('details.stop').forEach(c => c.draw());"
        "const all = performance.now(); const pre = document.createElement('pre'); pre.id = 'result';"
        "pre.textContent = JSON.stringify({drawn, all, stops: document.querySelectorAll('details.stop').length});"
        "document.body.innerHTML = ''; document.body.append(pre);}</script></body>"
    )
    page.write_text(page.read_text("utf-8").replace("</body>", probe), "utf-8")
    done = dump_dom(page.as_uri(), tmp_path / "browser")
    found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr
    result = json.loads(html.unescape(found.group(1)))
    assert result["stops"] == STOPS
    assert result["drawn"] < DRAWN_MAX_MS
    assert result["all"] < 4 * DRAWN_MAX_MS  # every timeline at once, as for printing

"""The page: what it says, that it loads nothing, and that it works in a real browser."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import dump_dom, needs_chromium
from log_sessions import story

from robolearn.errors import LogError
from robolearn.review.limits_table import limit_rows
from robolearn.review.recorded_log import RecordedLog
from robolearn.review.replay import replay
from robolearn.review.report import report_data, write_events_csv, write_page, write_report
from robolearn.review.statistics import tcp_speeds
from robolearn.review.verify import verify
from robolearn.robots import forward, load_robot
from robolearn.safety.profile import SafetyProfile

HOSTILE = "</script><img src=x onerror=\"window.broken='yes'\"><!--"


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("log")

    def more(session):
        session.log.event("reset", who="op-8", why=HOSTILE, now_s=0.0)
        session.log.event("config", name=HOSTILE)

    story(root / "log", root / "log.pem", waves=250, at_end=more)
    return root / "log"


@pytest.fixture(scope="module")
def data(log) -> dict:
    return report_data(log, verify(log, log.parent / "log.pub"), replay(log))


@pytest.fixture(scope="module")
def page(log, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("page") / "report.html"
    return write_report(log, out, verdict=verify(log), replayed=replay(log))


def test_every_limit_has_source_trust_and_reference_or_says_that_it_is_open(data):
    rows = data["limits"][0]["rows"]
    assert data["limits"][0]["mode"] == "automatic"
    keys = {row["key"] for row in rows}
    assert {
        "position_min_rad",
        "tcp_speed_max_m_s",
        "separation.human_speed_m_s",
        "workspace.stay_in: cell",
    } <= keys
    for row in rows:
        assert (
            row["key"] == "separation.edition"
            or row.get("open")
            or (row["source"] and row["trust"] and row["ref"])
        ), row


def test_what_is_no_number_has_its_origin_too():
    limits = SafetyProfile.load("fr3").mode("collaborative")
    rows = {row["key"]: row for row in limit_rows(limits, load_robot("fr3").joint_names)}
    for key in (
        "enabling_device",
        "contact.model",
        "contact.transient_regions",
        "contact.quasi_static_regions",
    ):
        assert rows[key]["source"]
        assert rows[key]["trust"] == "integrator"
        assert rows[key]["ref"].startswith("RA-DEMO-FR3/")
    assert rows["enabling_device"]["value"] == "not used"
    assert rows["contact.payload_kg"]["source"] == limits.contact.payload_kg.source
    assert not {"contact.source", "contact.trust"} & rows.keys()


def test_worst_margins_are_those_of_the_trace(data):
    worst = {row["key"]: row["worst"] for row in data["limits"][0]["rows"] if "worst" in row}
    assert worst["velocity_max_rad_s"]["margin"] > 0
    assert 0 < worst["tcp_speed_max_m_s"]["value"] < worst["tcp_speed_max_m_s"]["limit"]
    assert worst["stopping_time_max_s"]["value"] > 0
    assert worst["command_age_max_s"]["value"] == 0
    assert data["statistics"]["nearest"]["share"] > 0


def test_every_stop_has_rule_timeline_and_performance(data):
    stops = data["stops"]
    assert [stop["fields"]["records"][0]["rule"] for stop in stops][:2] == ["finite", "separation"]
    for stop in stops[:2]:
        assert stop["timeline"]["n"] > 50
        assert stop["report"]["measured_time_s"] > 0
        assert stop["report"]["predicted_time_s"] > 0
    assert stops[1]["timeline"]["person"] is not None


def test_statistics_count_every_cycle(data):
    statistics = data["statistics"]
    assert sum(statistics["verdicts"].values()) == statistics["cycles"] == data["verdict"]["cycles"]
    assert sum(statistics["states"].values()) == statistics["cycles"]
    assert statistics["period"]["p50"] == pytest.approx(0.002, rel=0.01)
    assert statistics["late_total"] == 0
    assert len(data["overview"]["t"]) <= 1200


def test_each_clause_names_both_acts_evidence_and_what_remains_open(data):
    assert len(data["clauses"]) > 20
    for clause in data["clauses"]:
        assert clause["md"]
        assert clause["mr"]
        assert clause["asks"]
        assert clause["open"]
        assert all(isinstance(text, str) and text for text in clause["evidence"])
    assert {"1.1.9", "1.2.1", "1.2.1 first list (f)", "1.2.1 second list (b)"} <= {
        c["mr"] for c in data["clauses"]
    }


def test_integrity_is_shown_with_what_it_does_not_show(data):
    assert data["verdict"]["status"] == "intact"
    assert data["verdict"]["key_trusted"]
    assert len(data["verdict"]["not_shown"]) >= 4
    assert data["replay"]["agrees"]


def test_robolearn_claims_nothing_that_it_is_not(page, data):
    """Words of the law may be cited; none may be said of robolearn."""
    text = page.read_text("utf-8")
    for word in (
        r"\bcertified\b",
        r"\bcompliant\b",
        r"\bSIL\b",
        r"\bPL [a-e]\b",
        r"e-stop",
        r"safety function",
    ):
        assert not re.search(word, text, re.IGNORECASE), word
    assert "non-rated command filter and evidence recorder" in text


def test_the_page_is_one_file_that_refers_to_no_other(page):
    text = page.read_text("utf-8")
    code = (
        text[: text.index('<script id="data"')]
        + text[text.index("</script>", text.index('<script id="data"')) :]
    )
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", code)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(|WebSocket|sendBeacon", code)
    assert "default-src 'none'" in code
    assert "/*page" not in text
    assert "__DATA__" not in text


def test_events_as_csv(log, tmp_path):
    out = write_events_csv(log, tmp_path / "events.csv")
    with out.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["seq"]) for row in rows] == list(range(len(rows)))
    assert rows[0]["kind"] == "session_start"
    assert json.loads(rows[0]["fields"])["deployment_id"] == "test-cell"
    assert {row["retention_days"] for row in rows} == {"1826", "366"}


def test_a_report_needs_a_log_and_a_place(log, tmp_path):
    with pytest.raises(LogError, match="No safety log"):
        write_report(tmp_path, tmp_path / "out.html")
    (tmp_path / "file").write_text("x")
    with pytest.raises(LogError, match="Cannot write the report"):
        write_report(log, tmp_path / "file" / "out.html")


def test_a_robot_that_is_no_longer_the_recorded_one_is_said(log):
    assert report_data(log)["robot"]["note"] == ""
    changed = RecordedLog(log)
    changed.made_with = replace(changed.made_with, note="a file that it uses was changed since")
    assert report_data(changed)["robot"]["note"] == changed.made_with.note


def test_a_damaged_log_still_gives_a_page(log, tmp_path):
    shutil.copytree(log, tmp_path / "log")
    lines = (tmp_path / "log" / "events.jsonl").read_bytes().splitlines(keepends=True)
    lines[4] = lines[4].replace(b'"seq"', b'"sEq"')
    (tmp_path / "log" / "events.jsonl").write_bytes(b"".join(lines[:-4]))
    trace = tmp_path / "log" / "trace-0001.mcap"
    trace.write_bytes(trace.read_bytes()[:-5000])
    found = report_data(tmp_path / "log", verify(tmp_path / "log"), replay(tmp_path / "log"))
    assert found["verdict"]["status"] == "altered"
    assert len(found["verdict"]["findings"]) >= 3


def probe(name: str) -> str:
    return f"<script>{(Path(__file__).parent / name).read_text()}</script>"


@needs_chromium
def test_the_page_works_in_a_browser(page, data, tmp_path):
    probed = tmp_path / "probe.html"
    text = page.read_text("utf-8").replace("<head>", "<head>" + probe("probe_before.js"), 1)
    probed.write_text(text.replace("</body>", probe("probe_after.js") + "</body>"), "utf-8")
    done = dump_dom(probed.as_uri(), tmp_path / "browser")
    found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr
    result = json.loads(html.unescape(found.group(1)))
    assert result["problems"] == []
    assert result["requests"] == []
    assert result["broken"] == ""
    assert result["sections"] == 15
    assert result["charts"] == len(data["stops"]) + 1
    assert "TCP speed" in result["readout"]
    assert "Distance between own links" in result["readout"]
    assert "Distance to the nearest wall [m]" in result["titles"]
    assert "which names no policy" in result["policies"]
    assert result["after"] < result["before"]
    kinds = [event[3] for event in data["events"]]
    assert result["stops"] == kinds.count("stop")
    assert result["all"] == min(200, len(kinds))
    assert result["rows"] == sum(kind not in ("heartbeat", "segment") for kind in kinds)
    assert 1 <= result["found"] < result["rows"]
    assert result["shown"].endswith(f"{len(kinds)} in all")


def test_tcp_speeds_are_those_of_the_robots_own_kinematics():
    robot = load_robot("fr3")
    random = np.random.default_rng(0)
    q = random.uniform(robot.limits.position_min_rad, robot.limits.position_max_rad, (20, 7))
    qd = random.uniform(-1.0, 1.0, (20, 7))
    step_s = 1e-6
    for gripper in ("parallel", None):
        speeds = tcp_speeds(robot, q, qd, gripper)
        for i in range(20):
            ahead, behind = (
                forward(robot, q[i] + sign * step_s * qd[i], gripper=gripper)[0] for sign in (1.0, -1.0)
            )
            assert speeds[i] == pytest.approx(np.linalg.norm(ahead - behind) / (2.0 * step_s), rel=1e-5)
    assert np.isnan(tcp_speeds(robot, np.full((1, 7), np.nan), qd[:1])).all()


def test_a_log_on_simulated_time_is_no_evidence_about_a_real_arm(log, data, page, tmp_path):
    assert data["simulated_time"] is False
    assert '"simulated_time":false' in page.read_text("utf-8")
    opened = RecordedLog(log)
    opened.start["session"]["clock"] = "simulated"
    assert report_data(opened, verify(log))["simulated_time"] is True


@needs_chromium
def test_the_page_of_simulated_time_says_so_first(data, tmp_path):
    shown = dump_dom(
        write_page(data | {"simulated_time": True}, tmp_path / "r.html").as_uri(), tmp_path / "browser"
    )
    text = shown.stdout if isinstance(shown.stdout, str) else shown.stdout.decode()
    assert "The arm was a simulator. This log is no evidence about a real arm." in text
    assert text.index('id="simulated"') < text.index("Integrity</div>")

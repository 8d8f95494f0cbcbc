"""The sentences of the page, for a log in which each has a known answer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from log_sessions import Session

from robolearn.review import report
from robolearn.review.evidence import Findings, sentences
from robolearn.review.recorded_log import RecordedLog
from robolearn.review.report import report_data
from robolearn.review.review import review_log
from robolearn.safety.command_source import after_swap, policy_source
from robolearn.safety.types import Command, Surroundings

OLD, NEW = policy_source("a" * 64), policy_source("b" * 64)
ALONE = Surroundings()


def make(directory: Path, key: Path) -> None:
    """Drift while held, a reset, work of two policies in one motion, a NaN, other limits, work of the second one."""
    session = Session(directory, key)
    for _ in range(40):  # until the arm's position is known
        session.cycle()
    held = session.q.copy()
    for k in (
        *range(1, 61),
        *range(60, 0, -1),
    ):  # pushed away slowly, and let go; allowed is a drift of 0.05 rad
        session.q = held + 0.001 * k
        session.cycle()
    session.rest()
    session.start()  # refused: a stop is latched
    session.reset("it was pushed")
    session.cycle()
    session.start()
    session.source = OLD
    session.wave(200)
    session.source = after_swap(OLD, NEW)
    session.wave(100)
    session.mode("collaborative")  # refused: it moves
    session.start()  # refused: it runs
    bad = np.full(session.robot.dof, np.nan)
    session.cycle(Command(session.robot.joint_names, bad, session.now_s, None, "rogue"))
    session.rest()
    session.reset("the rogue was switched off")
    session.reset("once more")  # refused: nothing to reset
    session.mode("collaborative")
    session.cycle(None, ALONE)
    session.start()
    session.source = NEW
    session.wave(150, surroundings=ALONE)
    session.log.event("finding", about="start", text="nobody listens")  # refused by the node
    session.log.close()


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("log")
    make(root / "log", root / "log.pem")
    return root / "log"


@pytest.fixture(scope="module")
def found(log) -> tuple[dict, Findings]:
    seen = []
    patch = pytest.MonkeyPatch()
    patch.setattr(report, "sentences", lambda findings: seen.append(findings) or sentences(findings))
    data = report_data(log)
    patch.undo()
    return data, seen[0]


@pytest.fixture(scope="module")
def said(found) -> dict[str, str]:
    return sentences(found[1])


def test_calls_are_counted_by_their_answer(said):
    assert said["operator"] == (
        "Calls of operators: resets 2 accepted, 1 refused; starts 2 accepted, 3 refused; changes of mode 1 accepted, "
        "1 refused."
    )
    assert said["starts"] == (
        "Starts: 2 accepted, 3 refused. Resets: 2 accepted, 1 refused. Commands began to be followed 2 times, 2 of "
        "them right after an accepted start."
    )
    assert said["sources"] == (
        "Pseudonyms that made an operator's call: 1; calls without one: 0; signed with an operator's key: 0. "
        "Sources of commands: 4; stops because a second one spoke: 0."
    )


def test_a_call_without_an_answer_is_neither(found):
    findings = found[1]
    events = [*findings.events, {"kind": "reset", "fields": {"who": ""}, "cycle": 0, "retention": {}}]
    other = Findings(**{**vars_of(findings), "events": events})
    assert other.counted_calls("reset") == "2 accepted, 1 refused, 1 without an answer"
    assert "calls without one: 1;" in sentences(other)["sources"]


def vars_of(findings: Findings) -> dict:
    return {name: getattr(findings, name) for name in Findings.__dataclass_fields__}


def test_motion_without_a_start_would_be_said(found):
    findings = found[1]
    events = [event for event in findings.events if event["kind"] != "start"]
    other = Findings(**{**vars_of(findings), "events": events})
    assert "followed 2 times, 0 of them right after an accepted start" in sentences(other)["starts"]


def test_drift_is_counted(said):
    assert said["drift"] == (
        "Events of drift while the arm is held: 1. Allowed is automatic: 0.05 rad; collaborative: 0.05 rad."
    )


def test_every_mode_that_held_is_spoken_of(said, found):
    cycles = found[1].statistics.modes
    assert said["modes"] == (
        "Began in mode automatic. Changes of mode: 1 accepted, 1 refused. Modes that held: automatic "
        f"({cycles['automatic']} cycles), collaborative (163 cycles); each has its own limits."
    )
    assert said["contact"].startswith("Contact with persons: not checked in mode automatic (")
    assert "; checked in mode collaborative (ISO/TS 15066" in said["contact"]
    assert "Least margin of contact: " in said["contact"]
    assert "mode collaborative" in said["contact"].rpartition("Least margin")[2]
    assert said["separation"].startswith("Separation from persons: checked in mode automatic (")
    assert "; not checked in mode collaborative (" in said["separation"]
    assert "Events: 0." in said["separation"]
    assert (
        "automatic: 1 box to stay in, 0 planes, 0 boxes to keep out; collaborative: 1 box" in said["envelope"]
    )


def test_smoothness_has_margins(said, found):
    worst = found[1].statistics.worst
    for key in ("acceleration_max_rad_s2", "jerk_max_rad_s3"):
        least = min(worst[mode][key].margin for mode in worst)
        assert least >= 0.0
        assert (
            f"Least margin of {key.partition('_')[0]}: {least:.4g} {worst['automatic'][key].unit}"
            in said["smooth"]
        )
    assert said["smooth"].endswith("Events: acceleration 0, jerk 0.")


def test_stops_and_decisions_are_those_of_the_log(said, found):
    statistics = found[1].statistics
    assert said["stops"] == "Stops: 2, latched: 2. Accepted resets, which alone end a latched stop: 2."
    assert said["performance"] == (
        "Stops that came to rest: 2; measured to standstill: 2, 0 of them later than predicted."
    )
    assert (
        said["reasons"] == "Stops: 2, spells of limiting: 0; 2 of these 2 with rule, value, limit and source."
    )
    assert said["faults"] == "Events caused by faulty input: finite 1."
    assert said["ages"] == "Events caused by late or missing messages: none."
    assert said["preflight"].endswith("did not fit: 0.")
    assert f"{statistics.cycles} decisions with all inputs (PASS 450, LIMIT 0, STOP " in said["decisions"]
    assert said["losses"] == (
        f"Readable cycles: {statistics.cycles}, from 0 to {statistics.cycles - 1}; missing between them: 0. Cycles "
        "that loss records admit: 0."
    )
    assert said["person_sensor"] == (
        "Distances to persons received: yes, the smallest 2.50 m. Stops for want of one: 0."
    )


def test_policies_and_limits_are_named(said, found):
    assert said["inventory"].endswith(f"Policies that ran: {'a' * 12}, {'b' * 12}.")
    assert "of a first or new source of commands: 4." in said["changes"]
    rows = [row for table in found[0]["limits"] for row in table["rows"]]
    assert said["limits"].startswith(f"The table of limits has {len(rows)} lines, modes: 2. With source")
    unchecked = sum(row["value"][:12] == "not checked:" for row in rows)
    assert said["limits"].endswith(f"checks that the profile leaves out, saying why: {unchecked}.")


def test_every_line_of_the_table_has_a_margin_or_says_what_is_there_instead(found):
    for table in found[0]["limits"]:
        rows = {row["key"]: row for row in table["rows"]}
        assert all(("worst" in row) != bool(row.get("instead")) for row in rows.values())
        for key in (
            "jerk_max_rad_s3", "torque_max_nm", "elbow_speed_max_m_s", "link_speed_max_m_s", "self_distance_min_m",
            "stopping_distance_max_m", "workspace.stay_in: cell", "command_jump_max_rad", "cycle_gap_max_s",
            "clock_ahead_max_s",
        ):  # fmt: skip
            assert rows[key]["worst"]["margin"] > 0.0, key
        assert rows["standstill_drift_max_rad"]["instead"].endswith("by the rule drift: 1.")
    automatic, collaborative = ({row["key"]: row for row in table["rows"]} for table in found[0]["limits"])
    assert automatic["separation.edition"]["worst"]["value"] == 2.5
    assert (
        automatic["separation.human_speed_m_s"]["instead"] == "Part of the separation limit, see its edition."
    )
    assert automatic["contact"]["instead"] == "Not checked, so there is no margin."
    assert collaborative["contact.edition"]["worst"]["unit"] == "m/s"


def test_the_page_lists_every_policy_that_ran(found):
    sources = found[0]["sources"]["listed"]
    assert [(s["source"], s["policy_digest"], s["commands"], s["followed"]) for s in sources] == [
        (OLD, "a" * 64, 200, 200),
        (after_swap(OLD, NEW), "b" * 64, 100, 100),
        ("rogue", None, 1, 0),
        (NEW, "b" * 64, 150, 150),
    ]
    assert [s["in_motion"] for s in sources] == [False, True, False, False]
    events = {e["fields"]["source"]: e for e in found[1].events if e["kind"] == "command_source"}
    for source in sources:
        event = events[source["source"]]
        assert source["event_seq"] == event["seq"]
        assert event["fields"]["policy_digest"] == source["policy_digest"]
        for turn in source["turns"]:
            assert turn["first_cycle"] == event["fields"]["at_cycle"]
            assert turn["last_cycle"] == turn["first_cycle"] + source["followed"] - 1
            assert turn["from_utc"] == event["utc"]
            assert turn["to_utc"] > turn["from_utc"]


def test_the_review_says_which_policies_ran(log, tmp_path):
    found = review_log(log, tmp_path / "report.html")
    ran = found.to_json()["policies"]
    assert [(one["policy_digest"], one["cycles"]) for one in ran] == [
        ("a" * 64, 200),
        ("b" * 64, 100),
        ("b" * 64, 150),
    ]
    text = str(found.__rich__())
    assert f"Policy     {'a' * 16}: 200 cycles, {ran[0]['from_utc'][11:19]} to " in text
    assert found.passed


def test_a_log_without_the_events_has_its_policies_from_the_trace(log, found):
    old = RecordedLog(log)
    old.events = [event for event in old.events if event["kind"] != "command_source"]
    listed = report_data(old)["sources"]["listed"]
    expected = [{**source, "event_seq": None} for source in found[0]["sources"]["listed"]]
    for source in (*listed, *expected):
        for turn in source[
            "turns"
        ]:  # of the log's own clock, by the nearest event: the same to the microsecond
            turn["from_utc"], turn["to_utc"] = turn["from_utc"][:23], turn["to_utc"][:23]
    assert listed == expected


def test_without_cycles_the_sentences_say_so(tmp_path):
    session = Session(tmp_path / "log", tmp_path / "log.pem")
    session.log.close()
    data = report_data(tmp_path / "log")
    texts = {text for clause in data["clauses"] for text in clause["evidence"]}
    assert "No cycle is readable." in texts
    assert any(text.endswith("Policies that ran: none.") for text in texts)
    assert data["sources"] == {"listed": [], "total": 0}
    assert all(row.get("instead") for row in data["limits"][0]["rows"])
    assert Counter(data["statistics"]["verdicts"]) == Counter()

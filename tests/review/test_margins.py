"""What is computed again beside what the monitor said then; distances around a stop; sources in numbers."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from log_sessions import PERIOD_S, story

from robolearn.config import config_path
from robolearn.recorder.cycle_codec import Layout
from robolearn.recorder.hash_chain import Chain
from robolearn.review.command_sources import Tally, listed
from robolearn.review.margins import Again
from robolearn.review.recorded_log import RecordedLog
from robolearn.review.report import report_data
from robolearn.review.statistics import blocks
from robolearn.review.verify import read_events
from robolearn.robots import load_robot
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import Command, Decision, State, Surroundings, Verdict


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("log")
    story(root / "log", root / "log.pem", waves=250)
    return root / "log"


@pytest.fixture(scope="module")
def rows(log) -> np.ndarray:
    return np.concatenate([part for part, _ in blocks(log, Layout(load_robot("fr3").joint_names))])


@pytest.fixture(scope="module")
def separation_stop(log) -> dict:
    stops = [event["fields"] for event in read_events(log) if event["kind"] == "stop"]
    return next(stop for stop in stops if stop["records"][0]["rule"] == "separation")


def look(
    rows: np.ndarray, profile: SafetyProfile | None = None
) -> dict[str, tuple[float, float, float, str]]:
    """Value, limit, margin and place of every margin in the last of three cycles."""
    used, found = again(profile).look("automatic", rows[None])
    assert len(used) in (0, 1)
    return {m.key: (float(m.value[0]), float(m.limit[0]), float(m.margin[0]), m.where(0)) for m in found}


def again(profile: SafetyProfile | None = None) -> Again:
    return Again(load_robot("fr3"), profile or SafetyProfile.load("fr3"), PERIOD_S, "parallel")


def test_the_distance_needed_to_a_person_comes_out_as_the_monitor_had_it(rows, separation_stop):
    """The stop's record holds what was needed at the sample before it."""
    at = int(np.searchsorted(rows["cycle"], separation_stop["at_cycle"]))
    margins = look(rows[at - 3 : at])
    record = separation_stop["records"][0]
    value, limit, *_ = margins["separation"]
    assert limit == pytest.approx(record["limit"], abs=1e-9)
    assert value == pytest.approx(record["value"] + 0.022, abs=1e-9)
    value, _, _, where = margins["velocity_max_rad_s"]
    joint = load_robot("fr3").joint_names.index(where)
    assert value == abs(rows["sent_velocity_rad_s"][at - 1, joint])


def test_walls_planes_and_boxes_are_measured(rows, tmp_path):
    data = yaml.safe_load(Path(config_path("safety/fr3.yaml")).read_text())
    origin = {"source": "test", "trust": "integrator", "risk_assessment_ref": "RA"}
    workspace = data["common"]["workspace"]
    low, high = (workspace["stay_in"][key] for key in ("min_m", "max_m"))
    floor = {"name": "table", "normal": [0.0, 0.0, 1.0], "offset_m": low[2] - 0.1, **origin}
    far = {"name": "crate", "min_m": [5.0, -0.1, 0.0], "max_m": [5.2, 0.1, 1.0], **origin}
    workspace.update(planes=[floor], keep_out=[far])
    (tmp_path / "cell.yaml").write_text(yaml.safe_dump(data))
    margins = look(rows[100:103], SafetyProfile.load(tmp_path / "cell.yaml"))
    _, _, walls, where = margins["workspace.stay_in: cell"]
    assert where.endswith("z_min")
    assert margins["workspace.planes: table"][2] == pytest.approx(walls + 0.1)
    assert 5.0 - high[0] < margins["workspace.keep_out: crate"][2] < 5.0


def test_cycles_that_are_not_in_a_row_have_no_margins(rows):
    assert look(rows[[100, 101, 103]]) == {}
    blank = rows[100:103].copy()
    blank["sent_position_rad"][1] = np.nan
    assert look(blank) == {}


def test_many_cycles_together_have_the_margins_that_each_has_alone(rows):
    three = np.stack([rows[k - 2 : k + 1] for k in range(60, len(rows), 37)])
    seen, (used, together) = again(), again().look("automatic", three)
    assert 20 < len(used) <= len(three)
    for k, at in enumerate(used.tolist()):
        alone = {m.key: m for m in seen.look("automatic", three[at : at + 1])[1]}
        for margins in together:
            found = alone.get(margins.key)
            if found is None:
                assert margins.key == "separation"
                assert np.isnan(margins.value[k])
                continue
            assert found.value[0] == pytest.approx(margins.value[k], rel=1e-9, abs=1e-12, nan_ok=True)
            assert found.margin[0] == pytest.approx(margins.margin[k], rel=1e-9, abs=1e-12, nan_ok=True)
            assert found.where(0) == margins.where(k)


def test_the_least_margins_are_the_same_when_only_they_are_wanted(rows):
    three = np.stack([rows[k - 2 : k + 1] for k in range(60, len(rows), 11)])
    _, every = again().look("automatic", three)
    _, some = again().look("automatic", three, least_only=True)
    left_out = 0
    for whole, part in zip(every, some, strict=True):
        assert whole.key == part.key
        at = whole.least()
        assert at == part.least()
        assert at is None or (whole.margin[at], whole.where(at)) == (part.margin[at], part.where(at))
        left_out += int(np.isnan(part.margin).sum() - np.isnan(whole.margin).sum())
    assert left_out > len(three)


def test_the_timeline_of_a_stop_has_distances_and_their_limits(log, separation_stop):
    stop = next(s for s in report_data(log)["stops"] if s["fields"]["stop"] == separation_stop["stop"])
    timeline = stop["timeline"]
    near = timeline["near"]
    assert set(near["series"]) == {"walls", "links", "person", "way_to_rest"}

    def column(text: str) -> np.ndarray:
        values = np.frombuffer(base64.b64decode(text), "<f4")
        assert len(values) == timeline["n"]
        return values

    t = column(timeline["t"])
    zero = int(np.argmin(np.abs(t)))
    record = separation_stop["records"][0]
    person = near["series"]["person"]
    assert column(person["value"])[zero] == pytest.approx(record["value"], abs=1e-5)
    assert column(person["limit"])[zero] == pytest.approx(record["limit"], abs=0.01)
    assert person["least"]["margin"] <= 0.0
    way, rest = column(near["series"]["way_to_rest"]["value"]), column(timeline["time_to_rest"])
    assert way[zero - 5] > 1e-3
    assert np.nanmin(way[zero:]) < 1e-6 < way[zero]
    assert rest[zero:].min() == 0.0 < rest[zero]
    assert (column(near["series"]["links"]["limit"])[10:-10] == np.float32(0.01)).all()


def test_another_arm_than_the_recorded_one_gives_no_distances_and_says_why(log):
    opened = RecordedLog(log)
    opened.made_with = replace(opened.made_with, note="the gripper file was changed since")
    data = report_data(opened)
    assert data["not_again"] == "the gripper file was changed since"
    assert "near" not in data["stops"][0]["timeline"]
    limits = {row["key"]: row for row in data["limits"][0]["rows"]}
    assert limits["elbow_speed_max_m_s"]["instead"] == "Not computed: the gripper file was changed since"
    assert limits["jerk_max_rad_s3"]["worst"]["margin"] > 0.0


# -- sources --

LAYOUT = Layout(("a", "b"))


def cycle(
    number: int,
    source: str | None,
    verdict=Verdict.PASS,
    stamp_s: float | None = None,
    monotonic_ns: int | None = None,
) -> bytes:
    state = State.RUNNING if verdict is not Verdict.STOP else State.STOPPED
    stamp_s = number * 0.002 if stamp_s is None else stamp_s
    commands = [] if source is None else [Command(LAYOUT.joint_names, np.zeros(2), stamp_s, None, source)]
    decision = Decision(verdict, np.zeros(2), np.zeros(2), False, state)
    monotonic_ns = number * 2_000_000 if monotonic_ns is None else monotonic_ns
    return LAYOUT.pack(number, monotonic_ns, number * 0.002, commands, None, Surroundings(), decision)


def tally(*parts: list[bytes]) -> Tally:
    found = Tally()
    for part in parts:
        found.take(LAYOUT.columns(part), [LAYOUT.source(data) for data in part])
    return found


def test_turns_and_commands_are_counted_across_blocks():
    first = [cycle(0, None), cycle(1, "a"), cycle(2, "a", stamp_s=0.002), cycle(3, "b", Verdict.STOP)]
    second = [cycle(4, "a", stamp_s=0.002), cycle(5, "a", Verdict.LIMIT), cycle(6, "b"), cycle(7, "a")]
    a, b = tally(first, second).sources
    assert (a.name, a.commands, a.cycles, a.followed, a.turns_total) == ("a", 4, 5, 5, 2)
    assert [(turn.first_cycle, turn.last_cycle, turn.cycles) for turn in a.turns] == [(1, 5, 4), (7, 7, 1)]
    assert (b.commands, b.cycles, b.followed, b.turns_total) == (2, 2, 1, 1)
    assert vars(tally(first + second).sources[0]) == vars(a)


def test_a_flood_of_sources_or_turns_does_not_flood_the_page():
    found = tally([cycle(n, f"rogue {n}", Verdict.STOP) for n in range(300)], [cycle(300, "policy:ab")])
    assert found.total == 301
    assert len(found.sources) == 100
    assert found.sources[0].name == "policy:ab"
    turns = tally([cycle(n, "ab"[n % 2]) for n in range(600)]).sources[0]
    assert (turns.turns_total, len(turns.turns), turns.turns[-1].last_cycle) == (300, 100, 598)


@pytest.mark.parametrize("monotonic_ns", [2_000_000, 2_000_001, 2_000_500, 2_000_999])
@pytest.mark.parametrize("offset_ns", [0, 1, 500, 999])
@pytest.mark.parametrize("waited_ns", [-99, 1, 500, 999, 1700])
def test_a_turn_that_begins_with_an_event_has_the_time_of_the_event(monotonic_ns, offset_ns, waited_ns):
    chain, events = Chain(), []
    offset_ns += 1_767_225_600_000_000_000
    for at_ns in (monotonic_ns, monotonic_ns - waited_ns):  # a heartbeat that waited behind it gets its time
        line = chain.append("command_source", {}, cycle=1, monotonic_ns=at_ns, utc_ns=at_ns + offset_ns)
        events.append(json.loads(line))
    turn = listed(tally([cycle(1, "a", monotonic_ns=monotonic_ns)]), events)[0]["turns"][0]
    assert turn["from_utc"] == events[0]["utc"]


def test_a_source_that_only_an_event_names_is_listed_too():
    event = {
        "kind": "command_source",
        "seq": 3,
        "monotonic_us": 10,
        "utc": "2026-01-01T00:00:00.000010Z",
        "fields": {"source": "policy:cd", "policy_digest": "cd"},
    }
    first, second = listed(tally([cycle(1, "policy:ab")]), [event])
    assert first["turns"][0]["from_utc"] == "2026-01-01T00:00:00.002000Z"
    assert first["event_seq"] is None
    assert (second["source"], second["policy_digest"], second["followed"]) == ("policy:cd", "cd", 0)
    assert listed(tally([cycle(1, "policy:cd")]), [event, event])[0]["event_seq"] == 3

"""The policy's scores in the log: recorded, reviewed and exported; they change no decision, and old logs lack them."""

import log_sessions
import numpy as np
import pytest
from browser import dump_dom, needs_chromium
from mcap.reader import make_reader

from robolearn.cli.log import export
from robolearn.review.event_fields import malformed
from robolearn.review.ood_scores import ood_scores, ood_summary, ood_text
from robolearn.review.recorded_log import RecordedLog
from robolearn.review.review import review_log


def event(cycles, scores):
    above = sum(isinstance(score, str) or score > 1.0 for score in scores)
    fields = {"count": len(scores), "above": above, "cycles": cycles, "scores": scores}
    return {"kind": "ood_score", "fields": fields}


EVENTS = [
    {"kind": "heartbeat", "fields": {"cycles": 10}},
    event([0, 10, 20], [0.4, 0.5, 0.6]),
    event([30, 40], [2.5, 0.7]),
]


def test_what_the_page_shows_comes_from_the_events():
    found = ood_summary(EVENTS, 0.002)
    assert (found["count"], found["above"]) == (5, 1)
    assert (found["largest"], found["largest_cycle"], found["first_above"]) == (2.5, 30, 30)
    assert found["course"][3] == [30 * 0.002, 2.5]
    assert ood_text(found) == "1 of 5 above the threshold, the first in cycle 30; largest 2.5, in cycle 30"
    none_above = ood_summary(EVENTS[:2], 0.002)
    assert ood_text(none_above) == "3 scores, none above the threshold; largest 0.6, in cycle 20"
    assert ood_summary(EVENTS[:1], 0.002) is None


def test_scores_that_are_no_numbers_are_above_the_threshold():
    found = ood_summary([event([1, 2, 3], [0.1, "inf", "nan"])], 0.002)
    assert (found["above"], found["largest"], found["first_above"]) == (2, None, 2)
    assert "largest infinite" in ood_text(found)
    assert list(ood_scores([event([5], ["nan"])])) == [(5, float("inf"))]


def test_a_long_course_keeps_its_peaks():
    scores = [0.5] * 9000
    scores[4321] = 3.0
    found = ood_summary([event(list(range(9000)), scores)], 0.002)
    assert len(found["course"]) == 1000
    assert max(score for _, score in found["course"]) == 3.0


def test_fields_of_another_kind_are_refused():
    whole = {"seq": 1, "cycle": 1, "utc": "", "monotonic_us": 1}
    assert malformed(whole | event([1, 2], [0.5, "inf"])) == ""
    assert malformed(whole | event([1], ["x"])).startswith("scores")
    assert malformed(whole | event([-1], [0.5])).startswith("cycles")


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored") / "log"
    session = log_sessions.Session(folder, folder.parent / "k.pem")
    session.start()
    for k in range(4):
        session.wave(50)
        cycle = session.log.counts["cycles"] - 1
        scores = [0.5, 0.6 if k != 2 else 4.0]
        session.log.event("ood_score", count=2, above=int(k == 2), cycles=[cycle - 25, cycle], scores=scores)
    session.log.event("ood_score", count=1, above=1, cycles=[cycle], scores=[np.inf])
    session.log.close()
    return folder


def test_a_log_with_scores_verifies_and_replays_bit_for_bit(log, tmp_path):
    found = review_log(log, tmp_path / "page.html")
    assert found.passed
    assert found.replayed is not None
    assert found.replayed.rounded == 0
    assert found.to_json()["ood"]["above"] == 2
    assert "course" not in found.to_json()["ood"]
    assert "2 of 9 above the threshold" in str(found.rest_text())


def test_an_export_has_them_at_the_time_of_their_cycle(log, tmp_path):
    export(log, tmp_path / "cycles.mcap")
    with (tmp_path / "cycles.mcap").open("rb") as stream:
        topics = [channel.topic for _, channel, _ in make_reader(stream).iter_messages()]
    assert topics.count("/robolearn/ood_score") == len(list(ood_scores(RecordedLog(log).events))) == 9


@needs_chromium
def test_the_page_shows_them(log, tmp_path):
    review_log(log, tmp_path / "page.html")
    shown = dump_dom((tmp_path / "page.html").as_uri(), tmp_path / "profile").stdout
    drawn = shown[shown.index('<section id="unfamiliar-observations">') :]
    drawn = drawn[: drawn.index("</section>")]
    assert "2 above 1 (22.22 %), the first in cycle" in drawn
    assert "<svg" in drawn
    assert "could not be drawn" not in drawn

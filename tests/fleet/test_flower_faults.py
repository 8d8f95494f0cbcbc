"""A site that poisons its update, and clocks that are wrong, with real processes over TLS.

`make proofs` runs this where Flower is.
"""

import numpy as np
import pytest

pytest.importorskip("flwr", reason="make proofs runs this where Flower is")

from flower_rig import PYTHONPATH, make_federation, make_site, running, train, wait_for

from robolearn.fleet.engine import clock_refused, ended, start_site
from robolearn.fleet.rounds import Rounds

pytestmark = pytest.mark.proof

ADD = {"north": 0.01, "east": 0.02, "south": 0.03, "west": -2.5}  # west's is within norm_max, and poison
LATE_S, AHEAD_S = -120.0, 60.0  # Flower takes a signature from 305 s ago to 5 s ahead
CLOCK = """
import datetime

class Shifted(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(seconds={shift_s})

datetime.datetime = Shifted
"""


def with_clock(folder, shift_s):
    """The environment of a node whose clock is so far ahead."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(CLOCK.format(shift_s=shift_s))
    return {"PYTHONPATH": f"{folder}:{PYTHONPATH}"}


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """Two rounds of four sites with the trimmed mean: east's clock is late; a fifth node's is ahead."""
    root = tmp_path_factory.mktemp("faults")
    federation = make_federation(root / "federation", rounds=2, rule="trimmed_mean", trim=1)
    sites = [make_site(root / name, federation, env={"add": add}) for name, add in ADD.items()]
    ahead = make_site(root / "ahead", federation, env={"add": 0.01})
    more = {"east": with_clock(root / "late", LATE_S)}
    early = with_clock(root / "early", AHEAD_S)
    with running(federation, sites, more=more), ended(start_site(ahead, early, retries=1)) as node:
        outcome = train(federation, len(sites))
        wait_for(lambda: node.status is not None)
        refused = clock_refused(node)
    return {"federation": federation, "ahead": ahead, "outcome": outcome, "refused": refused}


def test_the_trimmed_mean_is_that_of_the_sites_between_the_extremes(story):
    assert story["outcome"]["outcome"] == "done", story["outcome"]
    _, vector, _ = Rounds(story["federation"].path).last()
    np.testing.assert_allclose(vector, 2 * np.mean([ADD["north"], ADD["east"]]), atol=1e-6)


def test_a_site_whose_clock_is_two_minutes_late_takes_part(story):
    records = Rounds(story["federation"].path).records()
    assert [record["answered"] for record in records] == [sorted(ADD)] * 2


def test_a_site_whose_clock_is_a_minute_ahead_is_refused_and_trains_nothing(story):
    assert story["refused"]
    assert not (story["ahead"] / "messages.jsonl").exists()
    assert Rounds(story["federation"].path).records()[0]["missing"] == ["ahead"]

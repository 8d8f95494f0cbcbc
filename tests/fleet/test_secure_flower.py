"""Secure aggregation with real processes: the sum, nothing of one site at the server, and a site that is killed.

Runs where Flower is installed: `make fleet`.
"""

import numpy as np
import pytest

pytest.importorskip("flwr", reason="make fleet runs this")

from flower_rig import make_federation, make_site, running, train
from stand_in import SIZE

from robolearn.fleet.rounds import Rounds
from robolearn.fleet.site_policy import SitePolicy, check_messages

ADD = {"north": 0.01, "east": 0.02, "south": -0.005, "west": 0.5}


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """Two rounds of four sites, of which south dies while it trains in the second."""
    root = tmp_path_factory.mktemp("secure")
    federation = make_federation(
        root / "federation", rounds=2, clip_norm=1.0, secure_aggregation=True, round_timeout_s=100.0
    )
    sites = {
        name: make_site(
            root / name, federation, env={"add": add, "faults": {"2": "killed"} if name == "south" else {}}
        )
        for name, add in ADD.items()
    }
    with running(federation, list(sites.values())):
        outcome = train(federation)
    return {"federation": federation, "sites": sites, "outcome": outcome}


def steps(names):
    """The mean of what these sites add, after clipping to norm 1."""
    return np.mean([ADD[name] * min(1.0, 1.0 / (abs(ADD[name]) * SIZE**0.5)) for name in names])


def test_every_round_is_the_mean_of_the_sites_that_lasted(story):
    assert story["outcome"]["outcome"] == "done", story["outcome"]
    rounds = Rounds(story["federation"].path)
    records = rounds.records()
    assert [record["answered"] for record in records] == [
        ["east", "north", "south", "west"],
        ["east", "north", "west"],
    ]
    vectors = [np.load(story["federation"] / "rounds" / f"{i:06d}.npz")["vector"] for i in range(3)]
    for number, record in enumerate(records, 1):
        found = vectors[number] - vectors[number - 1]
        np.testing.assert_allclose(found, steps(record["answered"]), atol=1e-5)
    assert "south" in records[1]["refused"] or "south" in records[1]["missing"]


def test_a_site_logs_four_messages_a_round_and_the_update_only_masked(story):
    north = story["sites"]["north"]
    messages = SitePolicy(north.path, [], 1).messages()
    assert [one["round"] for one in messages] == ["1"] * 4 + ["2"] * 4
    assert check_messages(north.path) == ""
    third = messages[2]["holds"]
    assert third["fitres.parameters"] == {}
    assert [name for name, told in third.items() if any("2 x bytes" in kind for kind in told.values())]
    assert messages[2]["bytes"] > 8 * SIZE

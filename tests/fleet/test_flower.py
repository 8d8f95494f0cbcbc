"""A federation of real processes over TLS: the mean, the faults, the site's veto, and that nobody is left behind.

Runs where Flower is installed: `make fleet`.
"""

import json

import numpy as np
import pytest

pytest.importorskip("flwr", reason="make fleet runs this")

from flower_rig import PYTHONPATH, make_federation, make_site, running, train, wait_for
from stand_in import SECRET, SIZE

from robolearn.fleet.engine import ended, holders, refused_by_server, start_site
from robolearn.fleet.rounds import Rounds
from robolearn.fleet.site_policy import SitePolicy, check_messages
from robolearn.fleet.vector import vector_sha256

SITES = ("north", "east", "south", "west", "center")
OLDER = "import robolearn\nrobolearn.__version__ = '0.0.9'\n"


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """Two rounds of five registered sites and one that is not; see each test for what goes wrong."""
    root = tmp_path_factory.mktemp("fleet")
    federation = make_federation(root / "federation", rounds=2, clip_norm=1.0)
    settings = {
        "north": {"env": {"add": 0.01}},
        "east": {"env": {"add": 0.1}, "rounds_max": 1},
        "south": {"env": {"add": -0.02, "faults": {"1": "nan", "2": "huge"}}},
        "west": {"env": {"add": 9.0}},
        "center": {"env": {"add": -0.5, "faults": {"1": "error"}}},
    }
    sites = {name: make_site(root / name, federation, **changes) for name, changes in settings.items()}
    rogue = make_site(root / "rogue", federation, known=False, env={"add": 9.0})
    older = root / "older"
    older.mkdir()
    (older / "sitecustomize.py").write_text(OLDER)
    more = {"west": {"PYTHONPATH": f"{older}:{PYTHONPATH}"}}
    with running(federation, list(sites.values()), more=more) as (server, nodes):
        tokens = [server.token, *(node.token for node in nodes.values())]
        with ended(start_site(rogue, {"PYTHONPATH": PYTHONPATH}, retries=1)) as intruder:
            outcome = train(federation)
            wait_for(lambda: intruder.status is not None)
            rogue_refused = refused_by_server(intruder)
    return {
        "federation": federation,
        "sites": {**sites, "rogue": rogue},
        "outcome": outcome,
        "rogue_refused": rogue_refused,
        "left": [one for token in tokens for one in holders(token)],
        "records": Rounds(federation.path).records(),
    }


def clipped(value):
    """What a site's step counts after clipping to norm 1."""
    return value * min(1.0, 1.0 / (abs(value) * SIZE**0.5))


def test_every_round_is_the_clipped_mean_within_a_millionth(story):
    assert story["outcome"]["outcome"] == "done", story["outcome"]
    vectors = [np.load(story["federation"] / "rounds" / f"{i:06d}.npz")["vector"] for i in range(3)]
    steps = {"north": clipped(0.01), "east": clipped(0.1), "center": clipped(-0.5)}
    assert [record["answered"] for record in story["records"]] == [["east", "north"], ["center", "north"]]
    for number, record in enumerate(story["records"], 1):
        expected = np.mean([steps[site] for site in record["answered"]])
        np.testing.assert_allclose(vectors[number] - vectors[number - 1], expected, atol=1e-6)
        assert record["vector_sha256"] == vector_sha256(vectors[number])


def test_a_site_with_an_older_robolearn_refuses_and_says_why(story):
    assert all("this site 0.0.9" in record["refused"]["west"] for record in story["records"])


def test_an_update_of_nan_is_refused_before_it_is_averaged(story):
    assert "1000 of 1000 numbers are not finite" in story["records"][0]["refused"]["south"]


def test_an_update_that_was_not_clipped_is_refused_by_its_norm(story):
    assert "norm 3.16e+07, at most 100" in story["records"][1]["refused"]["south"]


def test_no_exceptions_text_leaves_a_site(story):
    assert story["records"][0]["refused"]["center"] == "The work failed at the site. Its own log says why."
    coordinators = story["federation"].path
    assert SECRET not in "".join(
        p.read_text(errors="replace") for p in coordinators.rglob("*") if p.is_file()
    )
    assert SECRET in (story["sites"]["center"] / "site.log").read_text()


def test_a_site_answers_no_more_rounds_than_it_allows(story):
    assert "rounds_max in site.yaml allows 1" in story["records"][1]["refused"]["east"]


def test_an_unregistered_key_is_refused(story):
    assert story["rogue_refused"]
    assert not (story["sites"]["rogue"] / "messages.jsonl").exists()


def test_each_message_that_left_is_in_the_sites_log(story):
    north = story["sites"]["north"]
    messages = SitePolicy(north.path, [], 1).messages()
    assert [one["round"] for one in messages] == ["1", "2"]
    assert all(one["holds"] == {"update": {"update": f"float32 [{SIZE}]"}} for one in messages)
    assert all(4 * SIZE < one["bytes"] < 4 * SIZE + 2000 for one in messages)
    assert check_messages(north.path) == ""
    for number, record in enumerate(story["records"], 1):
        logs = [SitePolicy(story["sites"][name].path, [], 1).messages() for name in SITES]
        logged = [one["bytes"] for log in logs for one in log if one["round"] == str(number)]
        assert len(logged) == len(SITES)
        assert record["received_bytes"] == sum(logged)  # refusals and errors too


def test_no_process_is_left(story):
    assert story["left"] == []


def test_flower_wrote_where_it_was_told_and_nowhere_else(story):
    assert {p.name for p in story["federation"].path.iterdir()} >= {
        "flower",
        "flower.db",
        "server.log",
        "nodes.json",
    }
    assert json.loads((story["federation"] / "nodes.json").read_text()).keys()


def test_an_app_that_the_site_does_not_know_is_not_unpacked(tmp_path):
    federation = make_federation(tmp_path / "federation", rounds=1, sites_min=1)
    site = make_site(tmp_path / "north", federation, env={"add": 1.0}, allowed_apps=["0" * 64])
    with running(federation, [site]):
        outcome = train(federation)
    assert outcome["outcome"] == "failed", outcome
    assert "allowed_apps in site.yaml does not name" in outcome["error"]
    assert not list((site / "flower").rglob("robolearn_federated"))
    [message] = SitePolicy(site.path, [], 1).messages()
    assert not message["answers"]

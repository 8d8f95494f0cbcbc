"""A server that is killed in the middle of a round, and a site that is: the run goes on. `make proofs` runs this."""

import json
import threading

import numpy as np
import pytest

pytest.importorskip("flwr", reason="make proofs runs this where Flower is")

from flower_rig import PYTHONPATH, make_federation, make_site, running, train, wait_for

from robolearn.errors import RobolearnError
from robolearn.fleet.engine import LINK, ended, flwr, holders, start_server, wait_for_port
from robolearn.fleet.rounds import Rounds

pytestmark = pytest.mark.proof


def test_a_run_goes_on_after_its_server_was_killed(tmp_path):
    federation = make_federation(tmp_path / "federation", rounds=3)
    sites = [make_site(tmp_path / name, federation, env={"add": 0.01}) for name in ("north", "east")]
    with running(federation, sites) as (server, _):
        rounds = Rounds(federation.path)
        failed: list[Exception] = []

        def begin():
            try:
                train(federation)
            except RobolearnError as error:
                failed.append(error)

        first = threading.Thread(target=begin)
        first.start()
        wait_for(lambda: len(rounds.records()) >= 1, 120.0)
        server.kill()
        first.join(120.0)
        assert not first.is_alive()
        assert failed
        assert holders(server.token) == []
        done = rounds.last()[0]
        assert 1 <= done < 3
        known = (federation / "nodes.json").read_text()
        with ended(start_server(federation, {"PYTHONPATH": PYTHONPATH})) as again:
            settings = federation.federation()
            wait_for_port(again, settings.host, settings.port)
            outcome = train(federation)  # no site is registered again: the keys are in the server's database
            runs = flwr(federation, "list", LINK)["runs"]
    assert outcome["outcome"] == "done", outcome
    assert (federation / "nodes.json").read_text() == known
    statuses = {str(run["run-id"]): run["status"] for run in runs}
    assert (
        len(statuses) == 2
    )  # the database knows the run that was cut off; it was ended before the other began
    assert statuses.pop(outcome["run"]) in ("running", "finished:completed")
    assert list(statuses.values()) == ["finished:stopped"]
    assert [one["round"] for one in rounds.records() if one["outcome"] == "done"] == [1, 2, 3]
    number, vector, _ = rounds.last()
    assert number == 3
    np.testing.assert_allclose(vector, 0.03, atol=1e-6)  # no round counted twice, none lost


def test_a_site_that_dies_in_a_round_does_not_stop_the_others(tmp_path):
    federation = make_federation(tmp_path / "federation", rounds=2, round_timeout_s=40.0)
    faults = {"south": {"1": "killed"}}
    sites = [
        make_site(tmp_path / name, federation, env={"add": 0.01, "faults": faults.get(name, {})})
        for name in ("north", "east", "south")
    ]
    with running(federation, sites):
        outcome = train(federation)
    assert outcome["outcome"] == "done", outcome
    records = Rounds(federation.path).records()
    assert [record["answered"] for record in records] == [["east", "north"]] * 2
    assert all("south" in record["missing"] or "south" in record["refused"] for record in records)
    assert json.loads((federation / "nodes.json").read_text())

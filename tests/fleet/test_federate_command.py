"""`robolearn federate` where no engine runs: folders, records, and what it says when something is missing."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))
from command_line import run

from robolearn.config import load_config
from robolearn.fleet import engine
from robolearn.fleet.rounds import Rounds
from robolearn.fleet.settings import Federation, Folder
from robolearn.fleet.site_policy import MESSAGES_FILE, SitePolicy

SITE = {"schema": "robolearn.site/1", "name": "north", "allowed_apps": []}


@pytest.fixture
def federation(tmp_path, capsys):
    status, _, _ = run(
        capsys, "federate", "init", tmp_path / "fed", "--rounds", 3, "--address", "127.0.0.1:18044"
    )
    assert status == 0
    return tmp_path / "fed"


def test_init_writes_settings_that_load_and_certificates(federation):
    settings = load_config(Federation, federation / "federation.yaml")
    assert (settings.rounds, settings.port, settings.task) == (3, 18044, "fr3/reach")
    assert {"ca.crt", "ca.key", "server.crt", "server.key", "sites"} <= {p.name for p in federation.iterdir()}


def test_init_does_not_replace_a_federation(federation, capsys):
    before = (federation / "ca.key").read_bytes()
    status, _, said = run(capsys, "federate", "init", federation)
    assert status == 2
    assert "holds a federation already" in said
    assert (federation / "ca.key").read_bytes() == before


def test_a_server_without_sites_says_where_their_keys_go(federation, capsys):
    status, _, said = run(capsys, "federate", "server", federation)
    assert status == 2
    assert "Put each site's node.pub there as NAME.pub" in said


def test_without_flower_every_command_that_needs_it_says_what_to_install(
    federation, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    engine.app_digest.cache_clear()
    (federation / "sites" / "north.pub").write_text("key")
    for words in (["server", federation], ["init", tmp_path / "north", "--site", "--from", federation]):
        status, _, said = run(capsys, "federate", *words)
        assert status == 2
        assert "pip install 'robolearn[fleet]'" in said


def test_a_site_needs_what_the_coordinator_hands_out(tmp_path, capsys):
    status, _, said = run(capsys, "federate", "init", tmp_path / "north", "--site")
    assert status == 2
    assert "A site needs --from" in said
    status, _, said = run(capsys, "federate", "init", tmp_path / "north", "--site", "--from", tmp_path)
    assert status == 2
    assert "holds no federation.yaml" in said


def test_status_shows_each_round_with_refusals(federation, capsys):
    record = {
        "round": 1, "outcome": "done", "answered": ["east"], "refused": {"north": "not finite"}, "missing": ["south"],
        "sent_bytes": 1234, "received_bytes": 567, "seconds": 12.5, "epsilon": 1.25,
    }  # fmt: skip
    Rounds(federation).note(record)
    status, shown, _ = run(capsys, "federate", "status", federation)
    assert status == 0
    assert all(
        text in shown
        for text in ("12.5", "1,234", "epsilon 1.250", "refused north: not finite", "no answer: south")
    )
    _, as_json, _ = run(capsys, "federate", "status", federation, "--json")
    assert json.loads(as_json)[0]["answered"] == ["east"]


def test_status_of_a_site_shows_what_left_or_that_its_log_was_changed(tmp_path, capsys):
    (tmp_path / "site.yaml").write_text(json.dumps(SITE))
    policy = SitePolicy(tmp_path, [], 5)
    policy.sending("1", "1", b"abc", {"update": {"update": "float32 [3]"}})
    policy.sending("1", "2", b"abcd", {"update": {"update": "float32 [3]"}})
    status, shown, _ = run(capsys, "federate", "status", tmp_path)
    assert status == 0
    assert "float32 [3]" in shown
    policy.sending("1", "3", b"x", {"update": {"update": "float32 [3], 2 zeros"}}, personal=["actor/3"])
    own = {"round": 1, "success_while_training": 0.25, "episodes": 8, "build_s": 20.0, "train_s": 30.0}
    (tmp_path / "rounds.jsonl").write_text(json.dumps(own) + "\n")
    _, shown, _ = run(capsys, "federate", "status", tmp_path)
    assert "personal, sent as 0: actor/3" in " ".join(shown.split())
    assert "25.0%" in shown.partition("Of this site only, never sent:")[2]
    log = tmp_path / MESSAGES_FILE
    log.write_text(log.read_text().replace('"bytes":3', '"bytes":4', 1))
    status, shown, _ = run(capsys, "federate", "status", tmp_path)
    assert status == 1
    assert "line 2 does not follow" in shown.replace("\n", " ")


def test_a_sites_own_bundle_needs_the_vector_of_a_round(tmp_path, capsys):
    (tmp_path / "site.yaml").write_text(json.dumps(SITE))
    status, _, said = run(capsys, "federate", "bundle", tmp_path)
    assert status == 2
    assert "needs --vector: a file of the coordinator's rounds/" in said


def test_a_folder_that_is_neither_is_refused(tmp_path, capsys):
    status, _, said = run(capsys, "federate", "status", tmp_path)
    assert status == 2
    assert "holds no federation.yaml" in said
    assert not Folder(tmp_path).is_site

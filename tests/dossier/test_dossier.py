"""Lineage, and the page: from evidence or OPEN, never invented; links by digest, both ways."""

import json
import re
import shutil
import subprocess

import made_run
import policy_standin
import pytest
from browser import CHROMIUM, dump_dom, needs_chromium
from command_line import run as command
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robolearn.dossier.evidence import collect
from robolearn.dossier.lineage import lineage
from robolearn.dossier.page import annex_iv, dossier_data, write_dossier
from robolearn.dossier.points import PROVIDERS
from robolearn.errors import ConfigError, DataError
from robolearn.learn import audit
from robolearn.policy.approval import approve
from robolearn.recorder.audit_trail import AUDIT_FILE
from robolearn.recorder.hash_chain import Chain

KEY = Ed25519PrivateKey.generate()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run that used a data set, its bundle, and a session in which the bundle commanded."""
    root = tmp_path_factory.mktemp("all")
    run = made_run.make(root / "runs" / "two")
    judged = audit.judge_run(run)
    bundle = policy_standin.export(
        run,
        training={"audit": audit.anchor(run), "config": {"task": "two/reach"}},
        evaluation=made_run.EVALUATION | {"acceptance": judged.to_json()},
    )
    made_run.export(run, bundle)
    session, chain = root / "logs" / "20261128" / "safety", Chain()
    session.mkdir(parents=True)
    events = (
        ("session_start", {"session_id": "s1", "deployment_id": "cell 4"}),
        ("command_source", {"source": f"policy:{bundle.digest}", "policy_digest": bundle.digest}),
        ("start", {"who": "op-3", "key": "abcd", "answer": {"accepted": True}}),
    )
    lines = [chain.append(kind, fields, cycle=0, monotonic_ns=0, utc_ns=0) for kind, fields in events]
    (session / "events.jsonl").write_bytes(b"".join(lines))
    return root


@pytest.fixture
def all_of(made, tmp_path):
    return shutil.copytree(made, tmp_path / "all")


def kinds(node):
    return [(found.kind, found.name) for found in node.walk()]


def test_a_session_leads_back_to_bundle_run_inputs_and_people(all_of):
    bundle = all_of / "runs/two/two-reach.robolearn"
    approve(bundle, KEY, "reviewer-7", role="safety engineer")
    found = lineage(all_of / "logs/20261128/safety", [all_of / "runs"])
    assert "op-3 (key abcd)" in found.facts["operators"]
    told = kinds(found)
    for wanted in (("bundle", "two-reach.robolearn"), ("run", "two"), ("thresholds", "acceptance/reach.yaml"),
                   ("person", "reviewer-7"), ("code", "robolearn 0.1.0")):  # fmt: skip
        assert wanted in told
    run = next(node for node in found.walk() if node.kind == "run")
    assert run.facts["trail"] == "chain and signatures fit"
    assert any("reviewer-7" in line for line in found.lines())


def test_a_bundle_whose_run_is_elsewhere_says_so(all_of, tmp_path):
    (tmp_path / "apart").mkdir()
    alone = shutil.copy(all_of / "runs/two/two-reach.robolearn", tmp_path / "apart" / "alone.robolearn")
    run = next(node for node in lineage(alone).walk() if node.kind == "run")
    assert run.facts["folder"].startswith("not found")
    (all_of / "runs/two/two-reach.robolearn").unlink()
    found = lineage(all_of / "logs/20261128/safety", [all_of / "runs"])  # by the export in the trail
    assert ("run", "two") in kinds(found)


def test_a_run_leads_on_to_its_bundles_and_sessions(all_of):
    told = kinds(lineage(all_of / "runs/two", [all_of]))
    assert told[-2:] == [("bundle", "two-reach"), ("safety log", "safety")]


def test_a_data_set_leads_to_every_run_bundle_and_session_that_used_it(all_of, tmp_path, monkeypatch):
    data = tmp_path / "demonstrations"
    data.mkdir()
    (data / "episode-1").write_bytes(b"1")
    monkeypatch.setattr(audit, "data_sets", lambda config: [data])
    run = made_run.make(all_of / "runs" / "taught")
    made_run.export(run, policy_standin.export(run, training={"steps": 3}))
    told = kinds(lineage(data, [all_of]))
    assert told == [("data", "demonstrations"), ("run", "taught"), ("bundle", "two-reach")]
    (data / "episode-1").write_bytes(b"2")
    assert kinds(lineage(data, [all_of])) == [("data", "demonstrations")]


def test_an_altered_trail_is_said_in_the_lineage(all_of):
    trail = all_of / "runs/two" / AUDIT_FILE
    trail.write_bytes(trail.read_bytes().replace(b'"seed":0', b'"seed":1', 1))
    run = next(n for n in lineage(all_of / "runs/two/two-reach.robolearn").walk() if n.kind == "run")
    assert run.facts["trail"].startswith("ALTERED: line 2")
    with pytest.raises(DataError, match="does not exist. Give a bundle"):
        lineage(all_of / "none")


def data_of(path, statements=None):
    return dossier_data(collect(path), path, statements)


def test_every_point_is_filled_from_evidence_or_open_with_what_is_missing(all_of):
    data = data_of(all_of / "runs/two")
    points = {point["id"]: point for section in data["sections"] for point in section["points"]}
    assert data["problems"] == []
    assert [section["number"] for section in data["sections"]] == list(range(1, 10))
    for point in points.values():
        assert bool(point["items"]) == (point["status"] == "evidence")
        assert point["missing"] or point["status"] != "OPEN"
    assert {"1e", "5a", "7a", "8a"} <= set(data["open"])
    assert points["1d"]["items"][0]["value"].startswith("one signed file, two-reach.robolearn")
    assert ("thresholds", True) in [
        (i["what"], i["value"].startswith("passed")) for i in points["2g"]["items"]
    ]
    assert data["trail"]["status"] == "intact"
    assert "Anticipatory for machinery" in data["basis"]


def test_thresholds_that_were_stated_and_not_yet_evaluated_are_shown_as_that(tmp_path):
    made_run.begin(tmp_path / "run").end("finished", 1)
    made_run.begin(tmp_path / "without", acceptance="").end("finished", 1)
    data = data_of(tmp_path / "run")
    points = {point["id"]: point for section in data["sections"] for point in section["points"]}
    items = {item["what"]: item["value"] for item in points["2g"]["items"]}
    assert data["problems"] == []
    assert data["acceptance"]["status"] == "not evaluated"
    assert items["thresholds"].startswith("not evaluated; stated 20")
    assert items["episodes"].startswith("not evaluated, asked ")
    assert (data_of(tmp_path / "without")["acceptance"] or {}).get("status", "not stated") == "not stated"


def test_a_run_without_anything_is_open_almost_everywhere(tmp_path):
    made_run.begin(tmp_path / "run", acceptance="").end("stopped", 0)
    data = data_of(tmp_path / "run")
    points = {point["id"]: point for section in data["sections"] for point in section["points"]}
    for name in ("1b", "1d", "2e", "3a", "3b", "3c", "3d", "4a"):
        assert points[name]["status"] == "OPEN"
    with pytest.raises(ConfigError, match="is neither a run folder nor a bundle"):
        collect(tmp_path)


def test_people_state_what_no_record_has_and_unknown_points_are_refused(all_of, tmp_path):
    said = tmp_path / "said.yaml"
    said.write_text("5a: Risk assessment RA-17, revision 3.\n1a: Picks gears; <b>ACME</b>.\n")
    data = data_of(all_of / "runs/two", said)
    points = {point["id"]: point for section in data["sections"] for point in section["points"]}
    assert (points["5a"]["status"], points["5a"]["missing"]) == ("stated", "")
    assert points["1a"]["missing"] == ""
    assert len(data["statements"]["sha256"]) == 64
    for text, message in (
        ("9z: x\n", "line 1: Unknown point '9z'"),
        ("5a: 7\n", "line 1: point '5a' needs a text"),
    ):
        said.write_text(text)
        with pytest.raises(ConfigError, match=message):
            data_of(all_of / "runs/two", said)


def test_records_that_cannot_be_read_are_a_problem_and_no_evidence(all_of):
    (all_of / "runs/two/explanation.json").write_text("{")
    data = data_of(all_of / "runs/two")
    assert any("explanation.json cannot be read" in text for text in data["problems"])
    (all_of / "runs/two/explanation.json").write_text('{"slots": 1}')
    assert any(text.startswith("3c, explanations") for text in data_of(all_of / "runs/two")["problems"])


RATE = {"name": "all", "episodes": 500, "successes": 500, "rate": 1.0, "low": 0.9924, "high": 1.0}
LESS = RATE | {"successes": 400, "rate": 0.8, "low": 0.7628, "high": 0.8327}
SWEEP = {
    "iteration": 20, "task": "two/reach", "seed": 5, "episodes": 500, "threshold": 0.98,
    "stated": "before the training",
    "sweeps": [{
        "name": "payload", "title": "payload without compensation", "unit": "kg", "holds_to": 0.5, "ends": 1.0,
        "points": [{"amount": 0.0, "success": RATE, "holds": True}, {"amount": 0.5, "success": RATE, "holds": True},
                   {"amount": 1.0, "success": LESS, "holds": False}],
    }], "not_played": ["pose_calibration"],
}  # fmt: skip
FAILED = {
    "iteration": 20, "played": 1000, "failed": 1, "counted": 9, "seed": 5,
    "shares": {"joint_position": 0.7, "goal": 0.3},
    "succeeded": {"joint_position": 0.4, "goal": 0.6},
    "episodes": [{"episode": 17, "length_s": 3.0, "times_s": [1.0, 2.98],
                  "shares": {"joint_position": 0.7, "goal": 0.3},
                  "decisions": [{"joint_position": [0.1, 0.2], "goal": [0.0, -0.1]}] * 2}],
}  # fmt: skip


def keep(run, kind, name, data):
    (run / name).write_text(json.dumps(data))
    audit.record_result(kind, run / name, run)


def test_how_far_it_holds_and_what_its_failures_come_from_are_shown(all_of, tmp_path):
    run = all_of / "runs/two"
    keep(run, "sweep", "sweep.json", SWEEP)
    keep(run, "explanation", "failures.json", FAILED)
    data = data_of(run)
    points = {point["id"]: point for section in data["sections"] for point in section["points"]}
    shown = {item["what"]: item["value"] for item in points["3a"]["items"]}
    assert shown["payload without compensation"] == "holds to 0.5 kg, no longer at 1 kg"
    shown = {item["what"]: item["value"] for item in points["3c"]["items"]}
    assert shown["failures explained"].startswith(
        "1 of 1 in 1,000 episodes played again (seed 5); the evaluation counted 9"
    )
    assert shown["their decisions come from"] == "joint_position 70%, goal 30%"
    assert (data["problems"], data["trail"]["status"]) == ([], "intact")
    page, *_ = write_dossier(run, tmp_path / "d.html")
    text = page.read_text()
    assert "<h2>Robustness</h2>" in text
    assert "Episode 17, at 2.98 s" in text
    assert text.count('class="region"') == 1
    keep(run, "sweep", "sweep.json", SWEEP | {"iteration": 19})
    assert any("of another policy than the newest evaluation" in text for text in data_of(run)["problems"])
    (run / "evaluation.json").unlink()  # without one, there is nothing that the sweep could contradict
    assert not any("of another policy" in text for text in data_of(run)["problems"])


@pytest.mark.parametrize("change", [
    {"sweeps": 1}, {"threshold": 2}, {"sweeps": [{"name": "x"}]}, {"episodes": 0},
    {"sweeps": [SWEEP["sweeps"][0] | {"points": [{"amount": "0", "success": RATE, "holds": True}]}]},
])  # fmt: skip
def test_a_sweep_that_cannot_be_read_is_a_problem_and_not_drawn(all_of, change):
    (all_of / "runs/two/sweep.json").write_text(json.dumps(SWEEP | change))
    data = data_of(all_of / "runs/two")
    assert data["sweep"] is None
    assert any(text.startswith("3a, robustness") for text in data["problems"])
    assert data["trail"]["status"] == "altered"  # nobody recorded this file


def test_failures_that_cannot_be_read_are_a_problem_and_not_drawn(all_of):
    (all_of / "runs/two/failures.json").write_text(json.dumps(FAILED | {"shares": {"x": 7}}))
    data = data_of(all_of / "runs/two")
    assert data["failures"] is None
    assert any("failures.json: shares.x" in text for text in data["problems"])


def test_the_page_is_self_contained_and_shows_text_as_text(all_of, tmp_path):
    said = tmp_path / "said.yaml"
    said.write_text("1a: '<script>alert(1)</script>'\n")
    page, beside, parts = write_dossier(all_of / "runs/two", tmp_path / "d.html", said)
    text = page.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert not re.search(r'(src|href)="', text)
    assert "default-src 'none'" in text
    assert json.loads(beside.read_bytes())["bundle"]["name"] == "two-reach"
    bom = json.loads(parts.read_bytes())
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    assert bom["metadata"]["component"]["type"] == "machine-learning-model"
    assert {c["name"] for c in bom["components"]} >= {"numpy", "jax"}


@needs_chromium
def test_a_browser_shows_it(all_of, tmp_path):
    page, *_ = write_dossier(all_of / "runs/two", tmp_path / "d.html")
    shown = dump_dom(page.as_uri(), tmp_path / "profile").stdout
    assert "Dossier of two-reach: two/reach" in shown
    assert shown.count("<circle") == 3
    pdf = tmp_path / "d.pdf"
    subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'other'}",
         f"--print-to-pdf={pdf}", page.as_uri()], check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    assert pdf.read_bytes().startswith(b"%PDF")


def test_every_name_of_evidence_in_the_annex_has_its_provider():
    named = {name for section in annex_iv() for point in section["points"] for name in point["evidence"]}
    assert named == set(PROVIDERS)


def test_the_commands_say_what_they_found(all_of, capsys):
    run = all_of / "runs/two"
    status, out, _ = command(capsys, "verify", run)
    assert (status, out.startswith("Intact: ")) == (0, True)
    assert command(capsys, "lineage", run, "--root", all_of)[0] == 0
    status, out, _ = command(capsys, "dossier", run)
    assert (status, "Open: " in out) == (0, True)
    status, out, _ = command(capsys, "approve", run / "two-reach.robolearn", "--who", "reviewer-7")
    assert (status, out.startswith("Thresholds: passed: 6 thresholds; stated 2")) == (0, True)
    status, out, _ = command(capsys, "verify", run, "--json")
    assert (status, json.loads(out)["status"]) == (0, "intact")
    trail = run / AUDIT_FILE
    assert b'"kind":"decision"' in trail.read_bytes()
    trail.write_bytes(trail.read_bytes().replace(b"reviewer-7", b"reviewer-8"))
    status, out, _ = command(capsys, "verify", run)
    assert (status, "this record was changed" in out) == (1, True)
    assert command(capsys, "gate", "start", run, "--who", "x")[0] == 2
    status, out, _ = command(capsys, "dossier", run)
    assert (status, out.startswith("WARNING: the audit trail is altered")) == (1, True)
    page = (run / "dossier.html").read_text()
    assert page.count("not verified: the audit trail is altered") == 3
    assert "stated before the training" not in page


def test_a_folder_to_search_that_is_not_there_and_an_empty_one_are_refused(
    all_of, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    status, _, err = command(capsys, "lineage", all_of / "runs/two", "--root", "nowhere")
    assert (status, "'nowhere' (--root) is not a folder" in err) == (2, True)
    (tmp_path / "empty").mkdir()
    status, _, err = command(capsys, "lineage", "empty")
    assert (status, "'empty' is empty" in err) == (2, True)
    (tmp_path / "data.csv").write_text("1")
    assert "used by no run: not found in the searched folders" in command(capsys, "lineage", "data.csv")[1]
    assert "is a file. Give a run folder" in command(capsys, "verify", "data.csv")[2]
    status, _, err = command(capsys, "condition", all_of / "logs", "--baseline", "-1")
    assert (status, "--baseline is -1" in err) == (2, True)

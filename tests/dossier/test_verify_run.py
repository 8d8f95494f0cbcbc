"""Whatever is changed, removed or cut in a run's trail or folder is found and named."""

import json
import shutil

import made_run
import policy_standin
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robolearn import keys
from robolearn.dossier.verify_run import verify_run
from robolearn.errors import LogError
from robolearn.learn import audit, folder
from robolearn.recorder.audit_trail import AUDIT_FILE, AUDIT_HEAD_FILE, read_trail
from robolearn.recorder.hash_chain import seal


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    run = made_run.make(tmp_path_factory.mktemp("made") / "run")
    training = {"audit": audit.anchor(run)}
    made_run.export(run, policy_standin.export(run, training=training))
    return run


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


def kinds(verdict):
    return [(finding.weight, finding.kind) for finding in verdict.findings]


def change(run, line, old, new):
    lines = (run / AUDIT_FILE).read_bytes().splitlines(keepends=True)
    assert old in lines[line]
    lines[line] = lines[line].replace(old, new)
    (run / AUDIT_FILE).write_bytes(b"".join(lines))


def test_a_run_as_it_was_written_is_intact(run):
    verdict = verify_run(run)
    assert (verdict.findings, verdict.status) == ([], "intact")
    told = [r["kind"] for r in verdict.records if r["kind"] != "segment"]
    start = ["inputs", "start", "checkpoint"]
    assert told == [
        "trail_start",
        *start,
        "interruption",
        *start,
        "checkpoint",
        "end",
        "evaluation",
        "export",
    ]
    own = keys.key_id(keys.load_or_create_key())
    assert set(verdict.signers) == {own}
    assert verify_run(run, [keys.load_or_create_key().public_key()]).status == "intact"
    assert "vouches for its own" in verdict.not_shown[0]


def test_the_inputs_stand_before_the_start_with_thresholds_and_digests(run):
    inputs = verify_run(run).of("inputs")[0]
    fields = inputs["fields"]
    assert inputs["seq"] < verify_run(run).of("start")[0]["seq"]
    assert fields["config"]["num_envs"] == 64
    assert fields["acceptance"]["thresholds"]["success_min"] == 0.98
    assert len(fields["code"]["sha256"]) == len(fields["environment"]["sha256"]) == 64
    assert fields["environment"]["installed"]["numpy"]


def test_every_record_that_is_changed_is_named(run):
    count = len(read_trail(run))
    whole = (run / AUDIT_FILE).read_bytes()
    for line in range(count):
        change(run, line, b'"utc":"2', b'"utc":"1')
        found = [f for f in verify_run(run).findings if f.kind == "changed"]
        assert [f.where.split(" (")[0] for f in found] == [f"{AUDIT_FILE} line {line + 1}"]
        (run / AUDIT_FILE).write_bytes(whole)


def test_every_record_that_is_removed_is_missed(run):
    lines = (run / AUDIT_FILE).read_bytes().splitlines(keepends=True)
    for line in range(len(lines)):
        (run / AUDIT_FILE).write_bytes(b"".join(lines[:line] + lines[line + 1 :]))
        verdict = verify_run(run)
        assert verdict.status == "altered"
        wanted = "cut_off" if line == len(lines) - 1 else "missing"
        assert wanted in {f.kind for f in verdict.findings}


def test_a_cut_is_found_by_the_head_or_one_kept_elsewhere_and_by_the_bundle(run, tmp_path):
    kept = shutil.copy(run / AUDIT_HEAD_FILE, tmp_path / "head.json")
    lines = (run / AUDIT_FILE).read_bytes().splitlines(keepends=True)
    (run / AUDIT_FILE).write_bytes(b"".join(lines[:-2]))
    assert ("altered", "cut_off") in kinds(verify_run(run))
    (run / AUDIT_HEAD_FILE).unlink()
    assert {"no_head", "unknown_file"} <= {
        kind for _, kind in kinds(verify_run(run))
    }  # a bundle nobody exported
    found = [f for f in verify_run(run, expected_head=kept).findings if f.kind == "cut_off"]
    assert "2 were cut" in found[0].text


def test_a_record_made_anew_breaks_the_signature_after_it(run):
    lines = (run / AUDIT_FILE).read_bytes().splitlines()
    prev = None
    for i, line in enumerate(lines):  # the whole chain anew, with lower thresholds
        record = json.loads(line)
        del record["hash"]
        if record["kind"] == "inputs":
            record["fields"]["acceptance"]["thresholds"]["success_min"] = 0.1
        record["prev"] = prev or record["prev"]
        lines[i], prev = seal(record)
    (run / AUDIT_FILE).write_bytes(b"\n".join(lines) + b"\n")
    found = verify_run(run)
    assert "changed" not in {f.kind for f in found.findings}
    assert [f.kind for f in found.findings].count("signature") == len(found.of("segment"))
    assert ("altered", "rewritten") in kinds(found)


def test_another_key_is_named(run):
    other = Ed25519PrivateKey.generate().public_key()
    found = verify_run(run, [other])
    assert found.status == "altered"
    assert {f.kind for f in found.findings} == {"wrong_key"}
    assert f"expected {keys.key_id(other)}" in found.findings[0].text


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        (folder.CONFIG, "task: two/reach\n", "changed_file"),
        (folder.METRICS, "{}\n", "changed_file"),
        (folder.EVALUATION, "{}", "changed_file"),
        ("expert-evaluation.json", "{}", "unknown_file"),
        ("checkpoints/000000000020/arrays", "others", "changed_file"),
        ("checkpoints/000000000021/arrays", "one more", "unknown_file"),
        ("two-reach.robolearn", "no archive", "changed_file"),
        (folder.RECORD, '{"starts": []}', "starts"),
        (folder.RECORD, "{", "changed_file"),
    ],
)
def test_every_file_of_the_folder_that_is_another_is_named(run, name, content, kind):
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_text(content)
    verdict = verify_run(run)
    assert kinds(verdict) == [("altered", kind)]
    assert verdict.findings[0].where in name


def test_a_config_that_is_gone_is_missed(run):
    (run / folder.CONFIG).unlink()
    assert kinds(verify_run(run)) == [("altered", "missing_file")]


def test_a_start_without_an_end_is_incomplete_and_the_next_start_says_so(tmp_path):
    run = tmp_path / "run"
    trail = made_run.begin(run)
    made_run.save(run, trail, 10)  # the process is killed before this is in the trail
    verdict = verify_run(run)
    assert set(kinds(verdict)) == {("incomplete", "no_end"), ("incomplete", "unknown_file")}
    with made_run.begin(run, 10) as trail:
        trail.end("finished", 10)
    verdict = verify_run(run)
    assert (kinds(verdict), verdict.status) == ([("note", "no_end")], "intact")


def test_an_error_in_the_training_stands_in_the_trail(tmp_path):
    with pytest.raises(KeyboardInterrupt), made_run.begin(tmp_path / "run"):
        raise KeyboardInterrupt
    record = verify_run(tmp_path / "run").of("interruption")[0]
    assert record["fields"]["error"] == "KeyboardInterrupt"


def test_no_trail_and_no_head_are_said_plainly(run, tmp_path):
    with pytest.raises(LogError, match="There is no audit trail in .*"):
        verify_run(tmp_path)
    (tmp_path / "events.jsonl").touch()
    with pytest.raises(LogError, match="is a safety log: check it with `robolearn review"):
        verify_run(tmp_path)
    with pytest.raises(LogError, match="The expected head .* cannot be read"):
        verify_run(run, expected_head=tmp_path / "none")


@pytest.mark.parametrize(
    ("content", "kind"), [("{}", "head"), ("{", "head"), ("[]", "head"), ('{"seq": 1e400}', "head")]
)
def test_a_head_that_is_none_is_named(run, content, kind):
    (run / AUDIT_HEAD_FILE).write_text(content)
    assert kinds(verify_run(run)) == [("altered", kind)]


def test_lines_that_are_no_records_are_named(run):
    data = (run / AUDIT_FILE).read_bytes()
    (run / AUDIT_FILE).write_bytes(b"{}\n" + data)
    assert ("altered", "unreadable") in kinds(verify_run(run))
    (run / AUDIT_FILE).write_bytes(data + b"{")
    assert kinds(verify_run(run)) == [("incomplete", "torn_line")]
    (run / AUDIT_FILE).write_bytes(b"")
    assert ("altered", "missing") in kinds(verify_run(run))

"""Gates of a run, and acceptance thresholds: nothing goes on without the decision, and no edited file opens a gate."""

import json
from pathlib import Path

import made_run
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robolearn import keys
from robolearn.errors import ConfigError
from robolearn.learn import audit, folder
from robolearn.learn.acceptance import Acceptance, judge, load_acceptance
from robolearn.learn.gates import decide_gate, require_gate, subject_of
from robolearn.recorder.audit_trail import AUDIT_FILE, read_trail

KEY = Ed25519PrivateKey.generate()
NEEDS = {"keys": [keys.key_id(KEY)], "roles": ["steward"]}


def decide(run, gate, **changes):
    return decide_gate(run, gate, KEY, "p-1", **{"role": "steward", "reason": "read"} | changes)


def test_training_waits_for_its_gate_and_the_refusal_says_how(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(
        ConfigError, match="Gate 'train' of .* needs 1 of .* as steward.*robolearn gate train .*run"
    ):
        made_run.begin(run, gates={"train": NEEDS})
    assert [r["kind"] for r in read_trail(run) if r["kind"] != "segment"][-1] == "interruption"
    decide(run, "train", role="visitor")
    with pytest.raises(ConfigError, match="approved by p-1 \\(visitor\\)"):
        made_run.begin(run, gates={"train": NEEDS})
    decide(run, "train")
    made_run.begin(run, gates={"train": NEEDS}).end("finished", 0)
    with pytest.raises(ConfigError, match="Gate 'train'"):  # another seed was not approved
        made_run.begin(run, gates={"train": NEEDS}, seed=4)


def test_a_revoked_decision_closes_the_gate(tmp_path):
    with pytest.raises(ConfigError):
        made_run.begin(tmp_path, gates={"train": NEEDS})
    decide(tmp_path, "train")
    decide(tmp_path, "train", decision="revoke", reason="the data were mislabelled")
    with pytest.raises(ConfigError, match="revoked by p-1.*mislabelled"):
        made_run.begin(tmp_path, gates={"train": NEEDS})


def test_promotion_and_export_are_about_this_policy_and_this_evaluation(tmp_path):
    run = made_run.make(tmp_path / "run", gates={"promote": NEEDS, "export": NEEDS})
    policy = subject_of(run, "promote")
    for gate in ("promote", "export"):
        with pytest.raises(ConfigError, match=f"Gate '{gate}'"):
            audit.require_export(run, policy)
        decide(run, gate)
    audit.require_export(run, policy)
    with pytest.raises(ConfigError, match="Gate 'promote'"):
        audit.require_export(run, "0" * 64)
    text = (run / folder.EVALUATION).read_text()
    (run / folder.EVALUATION).write_text(text.replace("991", "999"))
    with pytest.raises(ConfigError, match="is not the evaluation that was approved"):
        audit.require_export(run, policy)
    made_run.evaluate(run, seed=6)
    with pytest.raises(ConfigError, match="Gate 'export'"):
        audit.require_export(run, policy)


def test_no_edited_file_opens_a_gate(tmp_path):
    run = made_run.make(tmp_path / "run", gates={"promote": NEEDS})
    (run / folder.CONFIG).write_text(made_run.config().to_yaml())
    with pytest.raises(ConfigError, match="Gate 'promote'"):
        require_gate(run, "promote", subject_of(run, "promote"))
    decide(run, "promote")
    trail = run / AUDIT_FILE
    trail.write_bytes(trail.read_bytes().replace(b'"people":1', b'"people":2'))
    with pytest.raises(ConfigError, match="was altered: line 2 .* cannot be passed on it"):
        require_gate(run, "promote", subject_of(run, "promote"))


def test_a_trail_that_was_removed_opens_no_gate(tmp_path):
    run = made_run.make(tmp_path / "run", gates={"promote": NEEDS})
    policy = subject_of(run, "promote")
    (run / AUDIT_FILE).unlink()
    with pytest.raises(ConfigError, match="audit trail of .* is missing: which gates"):
        audit.require_export(run, policy)
    (run / "audit_head.json").unlink()
    with pytest.raises(ConfigError, match="is missing"):
        audit.require_export(run, policy)
    made_run.begin(run, 20).end("finished", 20)  # resumed without the gates
    with pytest.raises(ConfigError, match="begins at iteration 20"):
        audit.require_export(run, policy)


def test_a_decision_of_another_key_in_the_trail_does_not_count(tmp_path):
    run = made_run.make(tmp_path / "run", gates={"promote": NEEDS})
    decide_gate(run, "promote", Ed25519PrivateKey.generate(), "p-1", role="steward", reason="read")
    with pytest.raises(ConfigError, match="Gate 'promote'"):
        require_gate(run, "promote", subject_of(run, "promote"))


def test_what_is_not_there_cannot_be_decided_on(tmp_path):
    with pytest.raises(ConfigError, match="has no audit trail: not a run folder"):
        subject_of(tmp_path, "train")
    with pytest.raises(ConfigError, match="Unknown gate 'start'.*robolearn approve"):
        decide(tmp_path, "start")


def test_thresholds_are_judged_as_they_stood_before_the_training(tmp_path):
    run = made_run.make(tmp_path / "run")
    judged = audit.judge_run(run)
    assert (judged.status, len(judged.rows)) == ("passed", 6)
    assert judged.stated_utc == read_trail(run)[1]["utc"]
    assert judged.digest == load_acceptance("acceptance/reach.yaml")[1]
    poor = made_run.EVALUATION["success"] | {"low": 0.5}
    made_run.evaluate(run, success=poor)
    assert audit.judge_run(run).status == "failed"
    assert "0.5 (threshold 0.98)" in audit.judge_run(run).text


def test_an_edited_evaluation_or_trail_passes_no_threshold(tmp_path):
    run = made_run.make(tmp_path / "run")
    made_run.evaluate(run, success=made_run.EVALUATION["success"] | {"low": 0.5})
    report = run / folder.EVALUATION
    assert audit.judge_run(run).status == "failed"
    true = report.read_text()
    report.write_text(true.replace('"low": 0.5', '"low": 0.999'))
    with pytest.raises(ConfigError, match=r"evaluation\.json' is not the file that the run's audit trail"):
        audit.judge_run(run)
    report.write_text(true)
    other = run / "fr3-soft-evaluation.json"
    other.write_text(json.dumps({"plant": "fr3-soft", "iteration": 20, "success": {"low": 1.0}}))
    with pytest.raises(ConfigError, match="fr3-soft-evaluation"):
        audit.judge_run(run)
    other.unlink()
    trail = run / AUDIT_FILE
    trail.write_bytes(trail.read_bytes().replace(b'"success_min":0.98', b'"success_min":0.10'))
    with pytest.raises(ConfigError, match="was altered: line 2 .* Nothing can be judged by it"):
        audit.judge_run(run)


def test_whoever_evaluates_until_one_passes_is_seen(tmp_path):
    run = made_run.make(tmp_path / "run")
    assert "evaluations" not in audit.judge_run(run).text
    made_run.evaluate(run, seed=6)
    made_run.evaluate(run, seed=7)
    assert audit.judge_run(run).text.endswith("the newest of 3 evaluations of this policy")


def test_what_was_not_evaluated_has_not_passed():
    wanted = Acceptance(source="us", robustness_min={"fr3-soft": 0.9}, success_min=0.5)
    judged = judge(wanted, made_run.EVALUATION)
    assert (judged.status, judged.rows[-1].status) == ("failed", "not evaluated")
    assert judge(wanted, made_run.EVALUATION, {"fr3-soft": {"success": {"low": 0.95}}}).status == "passed"
    assert judge(None, {}).text == "thresholds not stated"
    assert judge(Acceptance(source="us"), {}).status == "not stated"


def test_disparity_above_the_threshold_fails():
    strata = json.loads(json.dumps(made_run.STRATA))
    strata[0] |= {"successes": 250, "rate": 250 / 333}
    success = made_run.EVALUATION["success"] | {"successes": 910, "rate": 0.91}
    found = judge(Acceptance(source="us", disparity_max=0.05), {"success": success, "strata": strata})
    assert {row.name: row.status for row in found.rows}["disparity between strata"] == "failed"


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "configs" / "acceptance").glob("*.yaml"))
)
def test_packaged_thresholds_load(path):
    assert load_acceptance(path)[0].success_min is not None

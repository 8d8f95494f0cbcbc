import json
import re
import shlex
from datetime import UTC, datetime, timedelta

import policy_standin
import pytest
from command_line import run
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robolearn import keys
from robolearn.errors import BundleError
from robolearn.policy import approval
from robolearn.policy.approval import (
    Gate,
    approvals_path,
    approve,
    decide,
    read_approvals,
    require_approval,
    require_not_revoked,
    revocations_path,
    revoke,
)

KEY = Ed25519PrivateKey.generate()
KEY_ID = keys.key_id(KEY)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return policy_standin.export(tmp_path_factory.mktemp("approval"))


@pytest.fixture
def bundle(exported):
    yield exported
    approvals_path(exported.path).unlink(missing_ok=True)


def test_an_approval_names_who_and_what_and_leaves_the_bundle_alone(bundle):
    before = bundle.path.read_bytes()
    given = approve(bundle.path, KEY, "reviewer-7")
    assert bundle.path.read_bytes() == before
    assert given.digest == bundle.digest
    assert require_approval(bundle, bundle.path, [KEY_ID]) == given
    assert require_approval(bundle, bundle.path, [keys.public_text(KEY)]).who == "reviewer-7"


def test_unapproved_is_refused_and_told_what_to_do(bundle):
    with pytest.raises(BundleError, match="is approved by nobody.* robolearn approve .*two-reach.robolearn"):
        require_approval(bundle, bundle.path, [KEY_ID])
    with pytest.raises(BundleError, match="approver_keys is empty"):
        require_approval(bundle, bundle.path, [])


def test_the_advice_of_the_refusal_works_as_it_is_printed(bundle, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    key = keys.load_or_create_key("FILE")  # the printed placeholders are names like any other
    with pytest.raises(BundleError) as refusal:
        require_approval(bundle, bundle.path, [keys.key_id(key)])
    words = shlex.split(str(refusal.value).split("runs: ")[1])
    assert words[0] == "robolearn"
    assert run(capsys, *words[1:])[0] == 0
    assert require_approval(bundle, bundle.path, [keys.key_id(key)]).who == "NAME"


def test_a_misspelt_key_file_signs_nothing(bundle, tmp_path, capsys):
    typo = tmp_path / "typo.pem"
    arguments = ("approve", bundle.path, "--who", "reviewer-7", "--key", typo)
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert f"No key file {typo}" in err
    assert "--new-key" in err
    assert not typo.exists()
    assert not approvals_path(bundle.path).exists()
    assert run(capsys, *arguments, "--new-key")[0] == 0
    assert read_approvals(bundle.path)[0].key_id == keys.key_id(keys.load_key(typo))
    status, _, err = run(capsys, *arguments, "--new-key")
    assert status == 2
    assert "already exists" in err
    assert run(capsys, *arguments)[0] == 0


def test_the_default_key_is_made_once(bundle, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ROBOLEARN_HOME", str(tmp_path))
    for _ in range(2):
        assert run(capsys, "approve", bundle.path, "--who", "reviewer-7")[0] == 0
    first, second = read_approvals(bundle.path)
    assert first.key_id == second.key_id


def test_no_key_is_made_for_a_bundle_that_is_none(tmp_path, capsys):
    arguments = ("approve", tmp_path / "no.robolearn", "--who", "x", "--key", tmp_path / "k.pem", "--new-key")
    assert run(capsys, *arguments)[0] == 2
    assert not (tmp_path / "k.pem").exists()


def test_export_makes_no_key_under_a_misspelt_name(tmp_path, capsys, monkeypatch):
    from robolearn.show import results as runs

    monkeypatch.setattr(runs, "open_run", lambda folder: None)
    status, _, err = run(capsys, "export", tmp_path, "--key", tmp_path / "typo.pem")
    assert status == 2
    assert "No key file" in err
    assert not (tmp_path / "typo.pem").exists()


def test_inspect_prints_limits_assumed_and_approvals(bundle, capsys):
    status, out, _ = run(capsys, "inspect", bundle.path)
    assert status == 0
    assert re.search(r"approved not yet; to approve it: robolearn approve .*two-reach.robolearn", out)
    assert re.search(r"target_position_min_rad +-1 -2\n", out)
    assert re.search(r"^  assumes  robot_acceleration_rad_s2 +8 8\n", out, re.MULTILINE)
    assert re.search(r"robot_position_max_rad +1 2\n", out)
    assert re.search(r"robot_jerk_rad_s3 +not published", out)
    given = approve(bundle.path, KEY, "reviewer-7")
    status, out, _ = run(capsys, "inspect", bundle.path)
    assert f"approved reviewer-7 (reviewer), key {KEY_ID}, {given.utc}" in out
    assert "nobody" not in out


def test_inspect_tells_the_approval_of_another_bundle_apart(bundle, tmp_path, capsys):
    other = policy_standin.export(tmp_path, training={"steps": 12})
    approve(other.path, KEY, "reviewer-7")
    approvals_path(bundle.path).write_bytes(approvals_path(other.path).read_bytes())
    _, out, _ = run(capsys, "inspect", bundle.path)
    assert f"of another bundle, digest {other.digest[:12]}: it does not count here" in out
    assert "not yet; to approve it" in out
    found = json.loads(run(capsys, "inspect", bundle.path, "--json")[1])
    assert [a["counts"] for a in found["approvals"]] == [False]


def test_inspect_gives_digest_signer_and_approvals_to_machines(bundle, capsys):
    approve(bundle.path, KEY, "reviewer-7")
    found = json.loads(run(capsys, "inspect", bundle.path, "--json")[1])
    assert found["bundle_digest"] == bundle.digest
    assert (found["key_id"], found["public_key"]) == (bundle.key_id, bundle.public_key)
    assert found["name"] == "two-reach"
    assert found["limits_assumed"]["robot_position_max_rad"] == [1.0, 2.0]
    assert [(a["who"], a["key_id"], a["counts"]) for a in found["approvals"]] == [
        ("reviewer-7", KEY_ID, True)
    ]


def test_inspect_refuses_an_altered_approval_after_the_contract(bundle, capsys):
    approve(bundle.path, KEY, "reviewer-7")
    file = approvals_path(bundle.path)
    file.write_text(file.read_text().replace("reviewer-7", "reviewer-8"))
    status, out, err = run(capsys, "inspect", bundle.path)
    assert status == 2
    assert bundle.digest in out
    assert "line 1 was altered" in err


def test_the_approval_of_a_stranger_does_not_count(bundle):
    approve(bundle.path, Ed25519PrivateKey.generate(), "stranger")
    with pytest.raises(
        BundleError, match=r"not approved: it needs 1 of .* approved by stranger \(reviewer\), key"
    ):
        require_approval(bundle, bundle.path, [KEY_ID])


def test_an_approval_of_another_bundle_does_not_count(bundle, tmp_path):
    other = policy_standin.export(tmp_path, training={"steps": 11})
    approve(other.path, KEY, "reviewer-7")
    approvals_path(bundle.path).write_bytes(approvals_path(other.path).read_bytes())
    with pytest.raises(BundleError, match="is approved by nobody"):
        require_approval(bundle, bundle.path, [KEY_ID])


def test_the_newest_of_several_counts(bundle):
    approve(bundle.path, KEY, "first")
    approve(bundle.path, KEY, "second")
    assert [a.who for a in read_approvals(bundle.path)] == ["first", "second"]
    assert require_approval(bundle, bundle.path, [KEY_ID]).who == "second"


@pytest.mark.parametrize(("change", "message"), [
    ({"who": "somebody else"}, "line 1 was altered"),
    ({"digest": "0" * 64}, "line 1 was altered"),
    ({"key_id": "0" * 16}, "line 1 was altered"),
    ({"public_key": "no key"}, "line 1 was altered"),
    ({"schema": "robolearn.approval/1"}, "line 1 is not a valid approval"),
    ({"extra": 1}, "line 1 is not a valid approval"),
])  # fmt: skip
def test_an_altered_approval_is_refused(bundle, change, message):
    approve(bundle.path, KEY, "reviewer-7")
    file = approvals_path(bundle.path)
    file.write_text(json.dumps(json.loads(file.read_text()) | change) + "\n")
    with pytest.raises(BundleError, match=message):
        require_approval(bundle, bundle.path, [KEY_ID])


def test_an_approval_needs_a_name_and_an_intact_bundle(bundle, tmp_path):
    with pytest.raises(BundleError, match="names who gives it"):
        approve(bundle.path, KEY, " ")
    broken = tmp_path / "broken.robolearn"
    broken.write_bytes(bundle.path.read_bytes()[:-1])
    with pytest.raises(BundleError, match="archive structure"):
        approve(broken, KEY, "reviewer-7")


def test_two_people_are_two_keys_and_two_names(bundle):
    other = Ed25519PrivateKey.generate()
    trusted = [KEY_ID, keys.key_id(other)]
    approve(bundle.path, KEY, "reviewer-7", role="safety engineer")
    approve(bundle.path, KEY, "reviewer-8")  # the same key under another name
    with pytest.raises(BundleError, match="needs 2 of"):
        require_approval(bundle, bundle.path, trusted, 2)
    approve(bundle.path, other, "reviewer-9", "Looked at the strata.", role="integrator")
    assert require_approval(bundle, bundle.path, trusted, 2).statement == "Looked at the strata."


def test_an_approval_ends_when_it_says(bundle):
    given = approve(bundle.path, KEY, "reviewer-7", days=0.5 / 86_400)
    assert given.expires_utc is not None
    gate = Gate(keys=(KEY_ID,))
    before = datetime.strptime(given.utc, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) - timedelta(seconds=5)
    assert gate.met_by([given], "activate", bundle.digest, before)[1] == ""
    assert "(expired)" in gate.met_by([given], "activate", bundle.digest, before + timedelta(seconds=9))[1]
    assert "needs 1" in gate.met_by([given], "export", bundle.digest, before)[1]
    strict = Gate(keys=(KEY_ID,), roles=("safety engineer",))
    assert "as safety engineer" in strict.met_by([given], "activate", bundle.digest, before)[1]
    for days in (0, -1, float("nan"), 1e9):
        with pytest.raises(BundleError, match="number of days above 0"):
            approve(bundle.path, KEY, "reviewer-7", days=days)


def test_a_revocation_is_final_and_outlives_the_file_beside_the_bundle(bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ROBOLEARN_HOME", str(tmp_path))
    approve(bundle.path, KEY, "reviewer-7")
    stranger = Ed25519PrivateKey.generate()  # anybody may revoke
    revoke(bundle.path, stranger, "op-3", "Drops the part.")
    for act in (
        lambda: require_approval(bundle, bundle.path, [KEY_ID]),
        lambda: require_not_revoked(bundle, bundle.path),
        lambda: approve(bundle.path, KEY, "reviewer-7"),
    ):
        with pytest.raises(BundleError, match="was revoked by op-3.*: Drops the part.*final"):
            act()
    assert "REVOKED by op-3" in run(capsys, "inspect", bundle.path)[1]
    approvals_path(bundle.path).unlink()
    with pytest.raises(BundleError, match="was revoked by op-3"):
        require_not_revoked(bundle, bundle.path)
    revocations_path().write_bytes(b"{}\n")
    with pytest.raises(BundleError, match="line 1 is not a valid approval"):
        require_not_revoked(bundle, bundle.path)


def test_no_line_can_be_taken_out_of_the_file(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("ROBOLEARN_HOME", str(tmp_path))
    approve(bundle.path, KEY, "reviewer-7")
    revoke(bundle.path, KEY, "reviewer-7", "Wrong mass.")
    decide_lines = approvals_path(bundle.path).read_bytes().splitlines(keepends=True)
    third = decide(KEY, "activate", "two-reach", bundle.digest, "reviewer-7", before=decide_lines)
    assert third.seq == 2
    approvals_path(bundle.path).write_bytes(decide_lines[1])
    with pytest.raises(BundleError, match="line 1 does not follow"):
        read_approvals(bundle.path)


def test_commands_approve_with_role_reason_and_end_and_revoke(bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ROBOLEARN_HOME", str(tmp_path))
    more = ("--role", "safety engineer", "--reason", "Strata are even.", "--days", "30")
    status, out, _ = run(capsys, "approve", bundle.path, "--who", "reviewer-7", *more)
    assert (status, "Thresholds: not stated" in out) == (0, True)
    given = read_approvals(bundle.path)[0]
    assert (given.role, given.statement) == ("safety engineer", "Strata are even.")
    assert run(capsys, "revoke", bundle.path, "--who", "reviewer-7", "--reason", "Drops it.")[0] == 0
    status, _, err = run(capsys, "approve", bundle.path, "--who", "reviewer-7")
    assert (status, "was revoked by reviewer-7" in err) == (2, True)


def set_clock(monkeypatch, moment):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return moment

    monkeypatch.setattr(approval, "datetime", Clock)


def test_a_clock_that_is_set_back_brings_no_expired_approval_to_life(bundle, monkeypatch):
    given = approve(bundle.path, KEY, "reviewer-7", days=1)
    now = datetime.now(UTC)
    set_clock(monkeypatch, now + timedelta(days=2))
    with pytest.raises(BundleError, match=r"\(expired\)"):
        require_approval(bundle, bundle.path, [KEY_ID])
    set_clock(monkeypatch, now + timedelta(days=3))
    approve(bundle.path, Ed25519PrivateKey.generate(), "reviewer-8", days=1)  # whatever is there later tells
    set_clock(monkeypatch, now + timedelta(hours=1))
    with pytest.raises(BundleError, match=r"its approval is of .*this computer's clock says .*set the clock"):
        require_approval(bundle, bundle.path, [KEY_ID])
    set_clock(monkeypatch, now - timedelta(days=1))  # before the bundle was made
    with pytest.raises(BundleError, match="its bundle is of"):
        require_approval(bundle, bundle.path, [KEY_ID])
    gate = Gate(keys=[KEY_ID])
    found, why = gate.met_by([given], "activate", bundle.digest, now - timedelta(days=1))
    assert (found, "(later than this clock)" in why) == ([], True)
    assert given.model_copy(update={"utc": "yesterday"}).ahead(now)


def test_clocks_that_differ_by_minutes_are_no_hindrance(bundle, monkeypatch):
    approve(bundle.path, KEY, "reviewer-7")
    set_clock(monkeypatch, datetime.now(UTC) - timedelta(minutes=4))
    assert require_approval(bundle, bundle.path, [KEY_ID]).who == "reviewer-7"

import json

import policy_standin
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robolearn import keys
from robolearn.errors import BundleError
from robolearn.policy.approval import approvals_path, approve, read_approvals, require_approval

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
    with pytest.raises(
        BundleError, match="is approved by nobody. Run: robolearn approve two-reach.robolearn"
    ):
        require_approval(bundle, bundle.path, [KEY_ID])
    with pytest.raises(BundleError, match="approver_keys is empty"):
        require_approval(bundle, bundle.path, [])


def test_the_approval_of_a_stranger_does_not_count(bundle):
    approve(bundle.path, Ed25519PrivateKey.generate(), "stranger")
    with pytest.raises(BundleError, match=r"not approved by any of .* approved by stranger \(key"):
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
    ({"schema": "robolearn.approval/2"}, "line 1 is no approval"),
    ({"extra": 1}, "line 1 is no approval"),
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

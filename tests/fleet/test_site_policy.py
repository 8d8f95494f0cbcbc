"""A site's veto and its log of what left."""

import hashlib
import json

import pytest

from robolearn.fleet.site_policy import MESSAGES_FILE, SitePolicy, SiteRefuses, check_messages

APP = b"the app"
DIGEST = hashlib.sha256(APP).hexdigest()


@pytest.fixture
def policy(tmp_path):
    return SitePolicy(tmp_path, [DIGEST], rounds_max=2)


def test_only_an_app_on_the_list_runs(policy, tmp_path):
    assert policy.require_app(APP) == DIGEST
    with pytest.raises(SiteRefuses, match=hashlib.sha256(b"another").hexdigest()):
        policy.require_app(b"another")
    with pytest.raises(SiteRefuses):
        SitePolicy(tmp_path, [], 2).require_app(APP)


def test_the_cap_counts_answered_rounds_of_all_runs(policy):
    policy.require_round("1", "1")
    policy.sending("1", "1", b"x", {})
    policy.sending("1", "1", b"x", {})  # the same round in several messages
    policy.sending("2", "1", b"", {"error": {}}, answers=False)
    policy.require_round("2", "1")
    policy.sending("2", "1", b"x", {})
    policy.require_round("2", "1")  # it has begun: its other messages may come
    with pytest.raises(SiteRefuses, match="answered 2 rounds; rounds_max in site.yaml allows 2"):
        policy.require_round("2", "2")


def test_every_message_is_logged_with_size_digest_and_what_it_holds(policy, tmp_path):
    policy.sending("7", "3", b"abc", {"update": {"update": "float32 [1000]"}})
    [entry] = policy.messages()
    assert (entry["bytes"], entry["sha256"]) == (3, hashlib.sha256(b"abc").hexdigest())
    assert entry["holds"] == {"update": {"update": "float32 [1000]"}}
    assert check_messages(tmp_path) == ""


@pytest.mark.parametrize("change", ["bytes", "removed", "torn"])
def test_a_changed_or_missing_line_is_found(policy, tmp_path, change):
    for number in range(4):
        policy.sending("7", str(number), b"abc", {})
    path = tmp_path / MESSAGES_FILE
    lines = path.read_text().splitlines()
    if change == "bytes":
        lines[1] = json.dumps(json.loads(lines[1]) | {"bytes": 1}, separators=(",", ":"), sort_keys=True)
        expected = "line 3"
    elif change == "removed":
        del lines[1]
        expected = "line 2"
    else:
        lines[2] = lines[2][:10]
        expected = "line 3"
    path.write_text("\n".join(lines) + "\n")
    assert expected in check_messages(tmp_path)

"""SROS 2 keystores: OpenSSL verifies certificates and signatures; rights are those of the deployment, and no more."""

import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from xml.etree import ElementTree

import pytest

from robolearn.deploy.deployment import deployment_for
from robolearn.deploy.keystore import ENCLAVE_FILES, check_keystore, create_keystore, enclave_names, expires
from robolearn.deploy.ros_policies import rights
from robolearn.errors import ConfigError

DOMAIN = 42
NODES = ("safety_node", "policy_node")
CELL = {
    "command_topic": "/cell/commands",
    "person_topic": "/cell/person",
    "slot_topics": {"pose.cube": "/tracker/cube"},
}


@pytest.fixture(scope="module")
def keystore(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keystore") / "cell"
    return create_keystore(folder, rights(deployment_for("fr3", changes=CELL)), DOMAIN)


def openssl(*words):
    program = shutil.which("openssl")
    assert program is not None, "apt-get install openssl"
    return subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False)


def enclave(keystore, name):
    return keystore / "enclaves" / "robolearn" / name


def may(keystore, name, action, topic):
    """What the permissions of an enclave say of a DDS topic, first rule that fits, as DDS Security 9.4.1.3 has it."""
    grant = ElementTree.parse(enclave(keystore, name) / "permissions.xml").getroot().find("permissions/grant")
    for rule in grant:
        if rule.tag in ("allow_rule", "deny_rule"):
            assert [one.text for one in rule.findall("domains/id")] == [str(DOMAIN)]
            if any(fnmatchcase(topic, one.text) for one in rule.findall(f"{action}/topics/topic")):
                return rule.tag == "allow_rule"
    assert grant.find("default").text == "DENY"
    return False


def test_every_process_of_a_cell_has_an_enclave(keystore):
    expected = {
        "safety_node", "policy_node", "sim_node", "arm_driver", "person_sensor", "enabling_device", "tracker",
        "operator", "viewer",
    }  # fmt: skip
    assert set(enclave_names(keystore)) == expected
    assert check_keystore(keystore, sorted(expected)) == []


def test_private_keys_are_for_their_owner_only(keystore):
    keys = [*keystore.rglob("key.pem"), *(keystore / "private").iterdir()]
    assert len(keys) == 12
    assert {file.stat().st_mode & 0o777 for file in keys} == {0o600}
    assert (keystore / "private").stat().st_mode & 0o777 == 0o700


def test_openssl_verifies_every_certificate_and_every_signature(keystore):
    authority = keystore / "public" / "ca.cert.pem"
    for name in enclave_names(keystore):
        folder = enclave(keystore, name)
        assert openssl("verify", "-CAfile", authority, folder / "cert.pem").returncode == 0
        for signed, plain in (
            (folder / "permissions.p7s", folder / "permissions.xml"),
            (folder / "governance.p7s", keystore / "enclaves" / "governance.xml"),
        ):
            done = openssl("smime", "-verify", "-text", "-in", signed, "-CAfile", authority)
            assert done.returncode == 0, done.stderr
            assert done.stdout.split() == plain.read_text().split()


def test_openssl_refuses_rights_that_were_changed_or_signed_by_another(keystore, tmp_path):
    authority, signed = keystore / "public" / "ca.cert.pem", enclave(keystore, "viewer") / "permissions.p7s"
    changed = tmp_path / "changed.p7s"
    changed.write_bytes(signed.read_bytes().replace(b"<default>DENY", b"<default>ALLOW"))
    assert openssl("smime", "-verify", "-text", "-in", changed, "-CAfile", authority).returncode != 0
    other = create_keystore(tmp_path / "other", rights(deployment_for("fr3")), DOMAIN)
    theirs = enclave(other, "viewer") / "permissions.p7s"
    assert openssl("smime", "-verify", "-text", "-in", theirs, "-CAfile", authority).returncode != 0


def test_nobody_joins_without_keys_and_every_topic_is_under_control(keystore):
    root = ElementTree.parse(keystore / "enclaves" / "governance.xml").getroot()
    rule = root.find("domain_access_rules/domain_rule")
    assert rule.find("domains/id").text == str(DOMAIN)
    assert rule.find("allow_unauthenticated_participants").text == "false"
    assert rule.find("enable_join_access_control").text == "true"
    topic = rule.find("topic_access_rules/topic_rule")
    assert topic.find("topic_expression").text == "*"
    assert (
        topic.find("enable_read_access_control").text
        == topic.find("enable_write_access_control").text
        == "true"
    )
    assert topic.find("data_protection_kind").text == "ENCRYPT"


@pytest.mark.parametrize(("topic", "publishers"), [
    ("rt/cell/commands", {"safety_node"}),
    ("rt/robolearn/policy_command", {"policy_node"}),
    ("rt/robolearn/ood_score", {"policy_node"}),
    ("rt/robolearn/policy_inputs", {"policy_node"}),
    ("rt/cell/person", {"person_sensor", "sim_node"}),
    ("rt/robolearn/enabling_device", {"enabling_device"}),
    ("rt/robolearn/decision", {"safety_node"}),
    ("rt/robolearn/sent_command", {"safety_node"}),
    ("rt/franka/joint_states", {"arm_driver", "sim_node"}),
    ("rt/robolearn/goal", {"operator", "arm_driver"}),
    ("rt/tracker/cube", {"tracker", "arm_driver"}),
    ("rt/robolearn/pose/cube", {"tracker", "sim_node", "arm_driver"}),
    ("rq/safety_node/operateRequest", {"operator"}),
    ("rq/safety_node/stopRequest", {"operator"}),
    ("rq/safety_node/set_parametersRequest", set()),
    ("rq/policy_node/change_stateRequest", {"operator"}),
    ("rq/robolearn_controller/get_parametersRequest", {"safety_node", "arm_driver"}),
    ("rr/robolearn_controller/get_parametersReply", {"arm_driver", "sim_node"}),
    ("rq/controller_manager/get_parametersRequest", {"safety_node", "arm_driver"}),
    ("rq/robolearn_controller/set_parametersRequest", {"arm_driver"}),
    ("rr/safety_node/operateReply", {"safety_node"}),
    ("rt/anything_else", {"arm_driver"}),
])  # fmt: skip
def test_who_may_publish_what(keystore, topic, publishers):
    assert {name for name in enclave_names(keystore) if may(keystore, name, "publish", topic)} == publishers


def test_who_may_read_what(keystore):
    def readers(topic):
        return {name for name in enclave_names(keystore) if may(keystore, name, "subscribe", topic)}

    assert readers("rt/cell/commands") == {"arm_driver", "sim_node"}
    assert readers("rt/robolearn_controller/status") == {"safety_node", "arm_driver"}
    assert readers("rt/franka_robot_state_broadcaster/robot_state") == {"safety_node", "arm_driver"}
    assert readers("rt/cell/person") == {"safety_node", "arm_driver"}
    assert readers("rt/tracker/cube") == {"policy_node", "arm_driver"}
    assert readers("rt/robolearn/decision") == {"policy_node", "operator", "viewer", "arm_driver"}


def test_a_keystore_is_made_in_a_new_folder_only(keystore, tmp_path):
    with pytest.raises(ConfigError, match="is not empty. Choose a new folder, or add --renew"):
        create_keystore(keystore, [], DOMAIN)
    with pytest.raises(ConfigError, match="cannot be renewed: .*ca.key.pem is not a readable key"):
        create_keystore(tmp_path / "none", [], DOMAIN, renew=True)
    for domain in (-1, 233):
        with pytest.raises(ConfigError, match=f"The domain id is {domain}, expected 0 to 232"):
            create_keystore(tmp_path / "new", [], domain)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="Cannot write the keystore"):
        create_keystore(tmp_path / "file" / "below", [], DOMAIN)


def test_renewal_issues_new_keys_by_the_same_authority(tmp_path):
    made = create_keystore(tmp_path / "cell", rights(deployment_for("fr3")), DOMAIN, days=5)
    key, authority = (
        (enclave(made, "viewer") / "key.pem").read_bytes(),
        (made / "public" / "ca.cert.pem").read_bytes(),
    )
    create_keystore(made, rights(deployment_for("fr3", changes=CELL)), DOMAIN, days=9, renew=True)
    assert (enclave(made, "viewer") / "key.pem").read_bytes() != key
    assert (made / "public" / "ca.cert.pem").read_bytes() == authority
    assert may(made, "safety_node", "publish", "rt/cell/commands")
    assert expires(made, "viewer") > datetime.now(UTC) + timedelta(days=8)
    assert check_keystore(made, NODES) == []


def test_a_topic_that_could_break_out_of_the_permissions_is_refused(tmp_path):
    changes = {"person_topic": "/p</topic><topic>*"}
    with pytest.raises(ConfigError, match="cannot stand in a permission"):
        create_keystore(tmp_path / "cell", rights(deployment_for("fr3", changes=changes)), DOMAIN)


@pytest.mark.parametrize(("damage", "message"), [
    (lambda folder: (folder / "key.pem").chmod(0o644), r"key.pem is readable by other accounts \(mode 644\)"),
    (lambda folder: (folder / "governance.p7s").unlink(), "lacks governance.p7s"),
    (lambda folder: (folder / "cert.pem").write_text("nonsense"), "do not belong together"),
    (lambda folder: shutil.copy(folder.parent / "viewer" / "key.pem", folder), "key.pem does not belong to cert.pem"),
    (lambda folder: [shutil.copy(folder.parent / "viewer" / name, folder) for name in ENCLAVE_FILES],
     "cert.pem is for CN=/robolearn/viewer"),
])  # fmt: skip
def test_what_is_wrong_with_an_enclave_is_named(keystore, tmp_path, damage, message):
    copy = tmp_path / "cell"
    shutil.copytree(keystore, copy)
    damage(enclave(copy, "safety_node"))
    (problem,) = check_keystore(copy, NODES)
    assert problem.startswith("enclave /robolearn/safety_node")
    assert re.search(message, problem)


def test_keys_of_another_authority_and_keys_that_have_ended_are_named(keystore, tmp_path):
    copy = tmp_path / "cell"
    shutil.copytree(keystore, copy)
    other = create_keystore(tmp_path / "other", rights(deployment_for("fr3")), DOMAIN)
    shutil.copy(enclave(other, "safety_node") / "identity_ca.cert.pem", enclave(copy, "safety_node"))
    assert "do not belong together" in check_keystore(copy, NODES)[0]
    late = datetime.now(UTC) + timedelta(days=800)
    problems = check_keystore(keystore, NODES, late)
    assert len(problems) == 4  # of both nodes the certificate, and that of the authority
    assert all("is valid from" in problem for problem in problems)
    assert "is not a keystore" in check_keystore(tmp_path, NODES)[0]

"""Operators' requests: signed over a challenge of this node, once, in time; everything else is refused and named."""

import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robolearn import keys
from robolearn.deploy import operators as ops
from robolearn.deploy.operators import OperatorError, OperatorGate, signed_request
from robolearn.errors import ConfigError

ANNA, BEN, EVE = (Ed25519PrivateKey.generate() for _ in range(3))
NOW_S = 1000.0


@pytest.fixture
def gate():
    return OperatorGate({"anna": keys.public_text(ANNA), "ben": keys.key_id(BEN)})


@pytest.mark.parametrize(("key", "name"), [(ANNA, "anna"), (BEN, "ben")])
def test_a_signed_request_is_admitted_under_the_name_of_its_key(gate, key, name):
    fields = signed_request(key, "reset", gate.challenge(NOW_S), reason="cell checked")
    request = gate.admit(fields, NOW_S + 1.0)
    assert request == ops.OperatorRequest("reset", "", name, "cell checked", keys.key_id(key))


def test_a_challenge_counts_once(gate):
    fields = signed_request(ANNA, "start", gate.challenge(NOW_S))
    gate.admit(fields, NOW_S)
    with pytest.raises(OperatorError, match="was already carried out"):
        gate.admit(fields, NOW_S + 0.1)
    again = signed_request(ANNA, "reset", fields["challenge"])
    with pytest.raises(OperatorError, match="was already carried out"):
        gate.admit(again, NOW_S + 0.1)
    late = NOW_S + ops.CHALLENGE_AGE_MAX_S + 0.1  # when it is no longer remembered it is too old
    with pytest.raises(OperatorError, match=r"is 10\.1 s old, at most 10 s are allowed"):
        gate.admit(fields, late)


def test_a_refused_request_uses_up_nothing(gate):
    challenge = gate.challenge(NOW_S)
    with pytest.raises(OperatorError, match="belongs to no operator"):
        gate.admit(signed_request(EVE, "start", challenge), NOW_S)
    assert gate.admit(signed_request(ANNA, "start", challenge), NOW_S).operator == "anna"


def test_a_request_of_the_session_before_is_refused(gate):
    restarted = OperatorGate({"anna": keys.public_text(ANNA)})
    with pytest.raises(OperatorError, match="from an earlier start of this node"):
        restarted.admit(signed_request(ANNA, "start", gate.challenge(NOW_S)), NOW_S)


@pytest.mark.parametrize(("change", "message"), [
    ({"verb": "mode", "mode": "collaborative"}, "does not fit"),
    ({"reason": "another"}, "does not fit"),
    ({"operator": "ben"}, "belongs to operator 'anna', not to 'ben'"),
    ({"public_key": keys.public_text(EVE)}, "belongs to no operator"),
    ({"public_key": keys.public_text(BEN), "operator": ""}, "does not fit"),
    ({"public_key": "AAAA"}, "not an Ed25519 public key"),
    ({"signature": "AAAA"}, "does not fit"),
    ({"signature": "*"}, "does not fit"),
    ({"challenge": "AAAA"}, "from an earlier start of this node"),
    ({"challenge": "*"}, "from an earlier start of this node"),
    ({"schema": "robolearn.approval/1"}, "expected robolearn.operate/1"),
    ({"verb": "stop"}, "Nobody can ask for 'stop'; requests: start, reset, mode"),
    ({"mode": "automatic"}, "must name a mode if"),
    ({"verb": "mode"}, "must name a mode if"),
    ({"reason": "x" * 201}, "reason must be printable text of at most 200"),
    ({"reason": "</script> \x1b[31m"}, "reason must be printable"),
    ({"operator": "x" * 65}, "operator must be printable text of at most 64"),
    ({"reason": 7}, "reason must be printable"),
    ({"admin": "yes"}, "has the fields schema, verb"),
])  # fmt: skip
def test_what_is_altered_or_malformed_is_refused_and_named(gate, change, message):
    fields = signed_request(ANNA, "reset", gate.challenge(NOW_S), reason="cell checked", operator="anna")
    with pytest.raises(OperatorError, match=message):
        gate.admit({**fields, **change}, NOW_S)
    assert gate.admit(fields, NOW_S).verb == "reset"


def test_one_changed_character_anywhere_refuses(gate):
    fields = signed_request(ANNA, "reset", gate.challenge(NOW_S), reason="cell checked", operator="anna")
    chance = random.Random(1)
    for _ in range(400):
        name = chance.choice(sorted(fields))
        text = fields[name] or "x"
        at = chance.randrange(len(text))
        altered = text[:at] + chance.choice("abcXYZ0189+/-_= \x00é") + text[at + 1 :]
        if altered != fields[name]:
            with pytest.raises(OperatorError):
                gate.admit({**fields, name: altered}, NOW_S)
    assert gate.admit(fields, NOW_S).verb == "reset"


@pytest.mark.parametrize("elapsed_s", [-0.5, 10.5, 1e6])
def test_a_challenge_from_another_time_is_refused(gate, elapsed_s):
    fields = signed_request(ANNA, "start", gate.challenge(NOW_S))
    with pytest.raises(OperatorError, match="s old, at most 10 s"):
        gate.admit(fields, NOW_S + elapsed_s)


def test_asking_for_challenges_costs_the_node_no_memory(gate):
    first = gate.challenge(NOW_S)
    assert len({gate.challenge(NOW_S) for _ in range(1000)}) == 1000
    assert gate.admit(signed_request(ANNA, "start", first), NOW_S).operator == "anna"
    assert len(gate._used) == 1
    gate.admit(signed_request(ANNA, "start", gate.challenge(NOW_S + 60)), NOW_S + 60)
    assert len(gate._used) == 1


def test_without_operators_nothing_is_admitted():
    gate = OperatorGate({})
    assert gate.empty
    with pytest.raises(OperatorError, match="belongs to no operator of this arm. Add its public half"):
        gate.admit(signed_request(ANNA, "start", gate.challenge(NOW_S)), NOW_S)


@pytest.mark.parametrize(("operators", "message"), [
    ({"": keys.key_id(ANNA)}, "is not a pseudonym"),
    ({"a=b": keys.key_id(ANNA)}, "no '='"),
    ({"\x1b[31m": keys.key_id(ANNA)}, "is not a pseudonym"),
    ({"anna": "robolearn"}, "expected the 16 hex digits of a key id"),
    ({"anna": keys.key_id(ANNA), "ben": keys.public_text(ANNA)}, "'anna' and 'ben' have one key"),
])  # fmt: skip
def test_what_cannot_be_an_operator_is_refused(operators, message):
    with pytest.raises(ConfigError, match=message):
        OperatorGate(operators)


def test_operators_pass_through_a_nodes_parameter():
    given = {"anna": keys.public_text(ANNA), "ben": keys.key_id(BEN)}
    assert ops.operators_from_list(ops.operators_as_list(given)) == given
    for entries in (["anna"], ["anna=1234567890abcdef", "anna=fedcba0987654321"]):
        with pytest.raises(ConfigError, match="not of the form name=key, or the name is there twice"):
            ops.operators_from_list(entries)


def test_a_request_that_cannot_be_admitted_cannot_be_signed(gate):
    for wrong in ({"verb": "fly"}, {"verb": "start", "reason": "\n"}, {"verb": "mode"}):
        with pytest.raises(OperatorError):
            signed_request(ANNA, **{"challenge": gate.challenge(NOW_S), **wrong})


def test_the_operator_of_a_simulated_arm_is_this_account(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBOLEARN_HOME", str(tmp_path))
    ((name, public),) = ops.local_operator().items()
    key = keys.load_key(tmp_path / "keys" / "operator.pem")
    assert (name, public) == ("this-machine", keys.public_text(key))
    assert ops.local_operator() == {name: public}

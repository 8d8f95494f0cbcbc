"""Who may start an arm, reset it and change its mode: operators' keys, the node's challenge, the signed request.

gate = OperatorGate({"anna": "<public key or key id>"})
challenge = gate.challenge(now_s)                      # the safety node; valid for ten seconds, once
fields = signed_request(key, "reset", challenge, reason="cell checked")  # the operator
request = gate.admit(fields, now_s)                    # the safety node; OperatorError where it is refused

A stop needs no key: anybody may ask for one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robolearn import keys
from robolearn.errors import ConfigError, RobolearnError

SCHEMA = "robolearn.operate/1"
VERBS = ("start", "reset", "mode")
CHALLENGE_AGE_MAX_S = 10.0  # long enough for a key on a slow token, short enough that nothing old is kept
THIS_MACHINE = "this-machine"  # the operator of a simulated arm: the owner of the account that serves it
NAME_LENGTH_MAX, REASON_LENGTH_MAX, FIELD_LENGTH_MAX = 64, 200, 400
_FIELDS = ("schema", "verb", "mode", "operator", "reason", "challenge", "public_key", "signature")
_KEY_ID = re.compile(r"[0-9a-f]{16}")
_TIME_BYTES, _RANDOM_BYTES, _MAC_BYTES = 8, 8, 16


class OperatorError(RobolearnError):
    """An operator's request is refused: malformed, old, used before, or not signed by a known operator."""


@dataclass(frozen=True)
class OperatorRequest:
    """A request that was admitted. operator: the pseudonym that the deployment gives to the key."""

    verb: str
    mode: str
    operator: str
    reason: str
    key_id: str


class OperatorGate:
    """Admits requests that are signed by a known operator over a challenge of this gate, each challenge once."""

    def __init__(self, operators: Mapping[str, str]):
        """operators: pseudonym -> public key or key id. Raises ConfigError like `check_operators`."""
        check_operators(operators)
        self._name_of = {_key_id_of(key): name for name, key in operators.items()}
        self._secret = secrets.token_bytes(32)
        self._used: dict[str, float] = {}  # admitted challenges, until they are too old anyway

    @property
    def empty(self) -> bool:
        """Whether no operator is known, so that nothing can be admitted."""
        return not self._name_of

    def challenge(self, now_s: float) -> str:
        """A text to be signed, valid for CHALLENGE_AGE_MAX_S. now_s: seconds on a monotonic clock.

        It holds its own time and a code that only this gate can compute: no list of open challenges is kept.
        """
        body = round(now_s * 1e9).to_bytes(_TIME_BYTES, "big") + secrets.token_bytes(_RANDOM_BYTES)
        return base64.urlsafe_b64encode(body + self._code(body)).decode("ascii")

    def admit(self, fields: Mapping[str, str], now_s: float) -> OperatorRequest:
        """The request in fields. Raises OperatorError; a refused request changes nothing here."""
        _check_form(fields)
        self._check_challenge(fields["challenge"], now_s)
        try:
            public = keys.load_public(fields["public_key"])
        except keys.KeyFileError:
            raise OperatorError("The request's public_key is not an Ed25519 public key.") from None
        key_id = keys.key_id(public)
        name = self._name_of.get(key_id)
        if name is None:
            raise OperatorError(
                f"Key {key_id} belongs to no operator of this arm. Add its public half to `operators` in the "
                "deployment file and start the nodes again."
            )
        if fields["operator"] not in ("", name):
            raise OperatorError(f"Key {key_id} belongs to operator '{name}', not to '{fields['operator']}'.")
        signature = fields["signature"]
        if not _canonical(signature) or not keys.verify(public, _signed_bytes(fields), signature):
            raise OperatorError(f"The signature of key {key_id} does not fit the request.")
        self._used = {text: until for text, until in self._used.items() if until >= now_s}
        self._used[fields["challenge"]] = now_s + CHALLENGE_AGE_MAX_S
        return OperatorRequest(fields["verb"], fields["mode"], name, fields["reason"], key_id)

    def _check_challenge(self, text: str, now_s: float) -> None:
        try:
            raw = base64.b64decode(text, altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            raw = b""
        body, code = raw[: _TIME_BYTES + _RANDOM_BYTES], raw[_TIME_BYTES + _RANDOM_BYTES :]
        if len(raw) != _TIME_BYTES + _RANDOM_BYTES + _MAC_BYTES or not hmac.compare_digest(
            code, self._code(body)
        ):
            raise OperatorError(
                "The challenge is from an earlier start of this node. Send the request again."
            )
        age_s = now_s - int.from_bytes(body[:_TIME_BYTES], "big") / 1e9
        if not -1e-3 <= age_s <= CHALLENGE_AGE_MAX_S:
            raise OperatorError(
                f"The challenge is {age_s:.1f} s old, at most "
                f"{CHALLENGE_AGE_MAX_S:g} s are allowed. Send the request again."
            )
        if text in self._used:
            raise OperatorError(
                "This request was already carried out: a challenge is valid once. Send a new request."
            )

    def _code(self, body: bytes) -> bytes:
        return hmac.new(self._secret, body, hashlib.sha256).digest()[:_MAC_BYTES]


def signed_request(
    key: Ed25519PrivateKey, verb: str, challenge: str, *, mode: str = "", operator: str = "", reason: str = ""
) -> dict[str, str]:
    """A request as named text fields.

    operator: a pseudonym; empty for the one that the node knows the key by. mode: with the verb `mode`.
    Raises OperatorError for an unknown verb, or text that is too long or not printable.
    """
    fields = {
        "schema": SCHEMA,
        "verb": verb,
        "mode": mode,
        "operator": operator,
        "reason": reason,
        "challenge": challenge,
        "public_key": keys.public_text(key),
        "signature": "",
    }
    _check_form(fields)
    return {**fields, "signature": keys.sign(key, _signed_bytes(fields))}


def check_operators(operators: Mapping[str, str]) -> None:
    """Raises ConfigError for a pseudonym or a key that cannot be one, or one key under two names."""
    owner: dict[str, str] = {}
    for name, key in operators.items():
        if not name or len(name) > NAME_LENGTH_MAX or not name.isprintable() or "=" in name:
            raise ConfigError(
                f"operators: {name!r} is not a pseudonym: expected 1 to {NAME_LENGTH_MAX} printable characters, no '='."
            )
        try:
            key_id = _key_id_of(key)
        except keys.KeyFileError:
            raise ConfigError(
                f"operators: the key of '{name}' is {key!r}, expected the 16 hex digits of a key id, or a public "
                "key in base64, as `robolearn operate key` prints them."
            ) from None
        if key_id in owner:
            raise ConfigError(
                f"operators: '{owner[key_id]}' and '{name}' have one key. Each operator needs a key of their own."
            )
        owner[key_id] = name


def operators_as_list(operators: Mapping[str, str]) -> list[str]:
    """The operators as a node's parameter: `name=key`."""
    return [f"{name}={key}" for name, key in operators.items()]


def operators_from_list(entries: list[str]) -> dict[str, str]:
    """The reverse of `operators_as_list`. Raises ConfigError for an entry of another form, or a name given twice."""
    operators: dict[str, str] = {}
    for entry in entries:
        name, separator, key = entry.partition("=")
        if not separator or name in operators:
            raise ConfigError(
                f"operators: {entry!r} is not of the form name=key, or the name is there twice."
            )
        operators[name] = key
    check_operators(operators)
    return operators


def operator_key_path() -> Path:
    """Where the operator's key of this account lies."""
    return keys.key_directory() / "operator.pem"


def local_operator() -> dict[str, str]:
    """The operator of a simulated arm: this account's key, made on first use, under the name THIS_MACHINE."""
    return {THIS_MACHINE: keys.public_text(keys.load_or_create_key(operator_key_path()))}


def with_local_operator(operators: Mapping[str, str]) -> dict[str, str]:
    """These operators and, unless it is one of them already, the operator of a simulated arm."""
    known = {_key_id_of(key) for key in operators.values()}
    return {
        **operators,
        **{name: key for name, key in local_operator().items() if _key_id_of(key) not in known},
    }


def _key_id_of(key: str) -> str:
    """The id of a key given as id or as public key. Raises KeyFileError."""
    return key if _KEY_ID.fullmatch(key) else keys.key_id(keys.load_public(key))


def _canonical(text: str) -> bool:
    """Whether text is base64 in its only canonical form: one signature has one spelling."""
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode("ascii") == text
    except (ValueError, binascii.Error):
        return False


def _check_form(fields: Mapping[str, str]) -> None:
    if set(fields) != set(_FIELDS):
        raise OperatorError(f"A request has the fields {', '.join(_FIELDS)}; this one has {len(fields)}.")
    longest = {"operator": NAME_LENGTH_MAX, "reason": REASON_LENGTH_MAX}
    for name, text in fields.items():
        limit = longest.get(name, FIELD_LENGTH_MAX)
        if not isinstance(text, str) or len(text) > limit or not text.isprintable():
            raise OperatorError(f"The request's {name} must be printable text of at most {limit} characters.")
    if fields["schema"] != SCHEMA:
        raise OperatorError(f"The request is of schema {fields['schema']!r}, expected {SCHEMA}.")
    if fields["verb"] not in VERBS:
        raise OperatorError(f"Nobody can ask for {fields['verb']!r}; requests: {', '.join(VERBS)}.")
    if (fields["verb"] == "mode") != bool(fields["mode"]):
        raise OperatorError("A request must name a mode if, and only if, its verb is mode.")


def _signed_bytes(fields: Mapping[str, str]) -> bytes:
    """What the signature covers: every other field, as RFC 8785 JSON; the schema keeps it apart from other uses."""
    return rfc8785.dumps({name: fields[name] for name in _FIELDS if name != "signature"})

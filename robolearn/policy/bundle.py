"""A trained policy as one signed file: graph, contract, model card.

    bundle = PolicyBundle.load("fr3-reach.robolearn")
    print(bundle.inspect())

Loading checks everything: the archive byte by byte, the digest of every part, the signature over the manifest.
The manifest is the policy's whole contract with the robot; nothing about joint order, units or rate lives elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import math
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from rich.text import Text as RichText

from robolearn import keys
from robolearn.config import first_fault
from robolearn.errors import BundleError
from robolearn.files.printable import printable
from robolearn.files.reading import KIB, MIB, read_regular
from robolearn.files.strict_json import check_depth, parse_json
from robolearn.files.writing import replace_file
from robolearn.policy.archive import pack, unpack
from robolearn.policy.graph import check_graph
from robolearn.policy.slots import Slot

SCHEMA = "robolearn.bundle/1"
SUFFIX = ".robolearn"
BUNDLE_MAX, MANIFEST_MAX, CARD_MAX, SIGNATURE_MAX = 512 * MIB, 4 * MIB, MIB, 16 * KIB
_SIGNED_FIELDS = {"algorithm", "key_id", "public_key", "signature", "signed"}
Word = Annotated[str, Field(max_length=200)]
Slots = Annotated[tuple[Slot, ...], Field(max_length=256)]
_NUMBERS_MAX = 1 << 26  # of one slot: four cameras of 4K


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Code(_Closed):
    """What wrote the bundle. git_commit is None outside a checkout."""

    version: str
    git_commit: str | None


class Ood(_Closed):
    """The out-of-distribution score that the graph returns beside its targets: distance over threshold; see `ood`.

    threshold: of the distance. false_alarm_rate: share of episodes of episode_s, like those of the evaluation, of which
    any observation exceeds it.
    """

    output: Literal["ood_score"]
    method: Word
    threshold: float = Field(gt=0, allow_inf_nan=False)
    false_alarm_rate: float = Field(gt=0, lt=1)
    fit_episodes: int = Field(ge=1)
    held_out_episodes: int = Field(ge=1)
    episode_s: float = Field(gt=0, allow_inf_nan=False)


class Manifest(_Closed):
    """The contract of a policy: what it reads and returns, for which arm, and where it comes from."""

    schema_: Literal["robolearn.bundle/1"] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    robot: Word
    robot_digest: Word
    task: Word
    joint_names: tuple[Word, ...] = Field(min_length=1, max_length=64)
    control_hz: float = Field(gt=0, le=1000)
    slots: Slots
    goal_slots: Slots
    memory_slots: Slots
    outputs: Slots
    limits_assumed: dict[str, Any]
    training: dict[str, Any]
    evaluation: dict[str, Any]
    code: Code
    created_utc: Word
    digests: dict[Word, Word]
    calibration: dict[Word, Word] | None = None
    ood: Ood | None = None

    @model_validator(mode="after")
    def _check(self) -> Manifest:
        inputs = [slot.name for slot in (*self.slots, *self.goal_slots, *self.memory_slots)]
        for what, names in (("joint", self.joint_names), ("input", inputs)):
            twice = sorted({name for name in names if list(names).count(name) > 1})
            if twice:
                raise ValueError(f"{what} name used twice: {', '.join(twice)}")
        for slot in (*self.slots, *self.goal_slots, *self.memory_slots, *self.outputs):
            if len(slot.shape) > 4 or min(slot.shape, default=1) < 1 or math.prod(slot.shape) > _NUMBERS_MAX:
                raise ValueError(f"slot '{slot.name[:60]}' has an impossible shape")
            if len(slot.name) + len(slot.unit) + len(slot.source) + len(slot.description) > 2000:
                raise ValueError(f"slot '{slot.name[:60]}' has too long a text")
        outputs = {slot.name: slot.shape for slot in self.outputs}
        for name in ("joint_position_target", "joint_velocity_target"):
            if outputs.get(name) != (len(self.joint_names),):
                raise ValueError(f"output '{name}' must have one value per joint")
        return self

    @property
    def run_id(self) -> str | None:
        """The run that the bundle was exported from, as its audit trail calls it; None where the bundle names none."""
        said = self.training.get("audit")
        named = said.get("run_id") if isinstance(said, dict) else None
        return named if isinstance(named, str) else None

    def to_bytes(self) -> bytes:
        """The manifest as it is signed: RFC 8785 JSON."""
        values = self.model_dump(mode="json", by_alias=True)
        for name in ("calibration", "ood"):  # a bundle without them is what it was before there were any
            if values[name] is None:
                del values[name]
        return rfc8785.dumps(values)

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Manifest:
        """The inverse of `to_bytes`. Raises BundleError that names the first wrong field."""
        try:
            check_depth(data)
            return cls.model_validate_json(data)
        except ValidationError as error:
            field, fault = first_fault(error)
            what = printable(f"{field or 'manifest'}: {fault}"[:500])
        except ValueError as error:
            what = str(error)
        raise BundleError(f"{where}: manifest.json: {what}. This robolearn reads {SCHEMA}.")


class Text(str):
    """A string that a notebook shows as it reads."""

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True)
class PolicyBundle:
    """A verified bundle in memory. key_id: id of the signing key."""

    manifest: Manifest
    onnx_bytes: bytes
    model_card: str
    key_id: str
    public_key: str
    digest: str
    path: Path | None = None

    @classmethod
    def load(cls, path: str | Path, trusted_keys: Iterable[str] | None = None) -> PolicyBundle:
        """Read and verify a bundle.

        trusted_keys: key ids or public keys (base64) that may sign; None accepts any intact signature.
        Raises BundleError that names the part at fault: a part, the archive structure, or the key.
        """
        file = Path(path)
        try:
            data = read_regular(file, BUNDLE_MAX)
        except OSError as error:
            hint = f" Export a run folder first: `robolearn export {path}`." if file.is_dir() else ""
            raise BundleError(f"Cannot read the bundle '{path}': {error.strerror}.{hint}") from None
        return cls.from_bytes(data, trusted_keys, path=file)

    @classmethod
    def from_bytes(
        cls, data: bytes, trusted_keys: Iterable[str] | None = None, *, path: Path | None = None
    ) -> PolicyBundle:
        """Like `load`, for a bundle that is already in memory."""
        where = path.name if path else "bundle"
        parts = unpack(data, where)
        for name, most in (
            ("manifest.json", MANIFEST_MAX),
            ("MODEL_CARD.md", CARD_MAX),
            ("signature.json", SIGNATURE_MAX),
        ):
            if len(parts[name]) > most:
                raise BundleError(
                    f"{where}: '{name}' has {len(parts[name]):,} bytes, at most {most:,} are read."
                )
        signature = _checked_signature(parts, where)
        manifest = Manifest.from_bytes(parts["manifest.json"], where)
        for name in ("policy.onnx", "MODEL_CARD.md"):
            if manifest.digests.get(name) != _sha256(parts[name]):
                raise BundleError(f"{where}: '{name}' is not the one that was signed: its digest differs.")
        check_graph(parts["policy.onnx"], where)
        try:
            card = parts["MODEL_CARD.md"].decode("utf-8")
        except UnicodeDecodeError:
            raise BundleError(
                f"{where}: 'MODEL_CARD.md' is not UTF-8 text. Export the policy again."
            ) from None
        trusted = None if trusted_keys is None else set(trusted_keys)
        if trusted is not None and not trusted & {signature["key_id"], signature["public_key"]}:
            raise BundleError(
                f"{where}: signed by key {signature['key_id']}, which is not trusted here. "
                f"Trusted: {', '.join(sorted(trusted)) or 'none'}. Add the key to trusted_keys if you know it."
            )
        return cls(
            manifest,
            parts["policy.onnx"],
            card,
            signature["key_id"],
            signature["public_key"],
            _sha256(data),
            path,
        )

    def inspect(self) -> Text:
        """Interface, assumed limits, results and digests as text."""
        m = self.manifest
        lines = [
            f"{m.name}: {m.task} for {m.robot}, {m.control_hz:g} Hz, made {m.created_utc}",
            *_labelled("joints", textwrap.wrap(", ".join(m.joint_names), 69)),
            *([f"  model    calibrated: {_calibrated(m.calibration)}"] if m.calibration else []),
            *_slot_lines("reads", m.slots),
            *_slot_lines("goal", m.goal_slots),
            *_slot_lines("keeps", m.memory_slots),
            *_slot_lines("returns", m.outputs),
            f"  {'score':<8} {_ood_text(m.ood)}",
            *_limit_lines(m.limits_assumed),
            *_labelled("result", _result_lines(m.evaluation)),
            f"  code     robolearn {m.code.version}, commit {m.code.git_commit or 'unknown'}",
            f"  signed   key {self.key_id}",
            f"  digest   sha256 {self.digest}",
        ]
        return Text("\n".join(lines))

    def __repr__(self) -> str:
        return f"PolicyBundle({self.manifest.name}, {self.manifest.task}, sha256 {self.digest[:12]})"

    def _repr_mimebundle_(self, include: Any = (), exclude: Any = (), **_: Any) -> dict[str, str]:
        return RichText(self.inspect())._repr_mimebundle_(include, exclude)


def _calibrated(calibration: dict[str, str]) -> str:
    made = calibration.get("made_utc", "at an unknown time")
    return f"{calibration.get('file', 'a file')}, sha256 {calibration.get('digest', 'unknown')}, made {made}"


def _ood_text(ood: Ood | None) -> str:
    if ood is None:
        return "none: observations are not compared with those of the evaluation"
    return (
        f"{ood.output}, above 1 in {ood.false_alarm_rate:.3g} of episodes of {ood.episode_s:g} s like those of the "
        f"evaluation (from {ood.held_out_episodes} held-out ones)"
    )


def write_bundle(
    path: str | Path, manifest: Manifest, onnx: bytes, model_card: str, signing_key: Ed25519PrivateKey
) -> PolicyBundle:
    """Complete the manifest with the digests, sign it, write the file and load it back."""
    file = Path(path)
    if file.suffix != SUFFIX:
        raise BundleError(f"A bundle's name ends in {SUFFIX}, not '{file.name}'.")
    card = model_card.encode("utf-8")
    digests = {"policy.onnx": _sha256(onnx), "MODEL_CARD.md": _sha256(card)}
    body = manifest.model_copy(update={"digests": digests}).to_bytes()
    signature = {
        "algorithm": "Ed25519",
        "key_id": keys.key_id(signing_key),
        "public_key": keys.public_text(signing_key),
        "signature": keys.sign(signing_key, body),
        "signed": "manifest.json",
    }
    parts = {
        "policy.onnx": onnx,
        "manifest.json": body,
        "MODEL_CARD.md": card,
        "signature.json": rfc8785.dumps(signature),
    }
    data = pack(parts)
    bundle = PolicyBundle.from_bytes(data, path=file)
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, data)
    return bundle


def _checked_signature(parts: dict[str, bytes], where: str) -> dict[str, str]:
    """signature.json, canonical and valid for manifest.json."""
    try:
        signature = parse_json(parts["signature.json"], max_depth=2)
        if not isinstance(signature, dict) or set(signature) != _SIGNED_FIELDS:
            raise ValueError(f"its fields must be {', '.join(sorted(_SIGNED_FIELDS))}, and nothing else")
        canonical = rfc8785.dumps(signature)
        named = keys.key_id(keys.load_public(signature["public_key"]))
        valid = keys.verify(signature["public_key"], parts["manifest.json"], signature["signature"])
        # Base64 ignores some bits of its last character: only the one canonical spelling is accepted.
        canonical_text = base64.b64encode(base64.b64decode(signature["signature"])).decode()
        known = signature["algorithm"] == "Ed25519" and signature["signed"] == "manifest.json"
        well_formed = (
            canonical == parts["signature.json"] and known and canonical_text == signature["signature"]
        )
    except (ValueError, KeyError, TypeError, rfc8785.CanonicalizationError, keys.KeyFileError) as error:
        raise BundleError(
            f"{where}: 'signature.json' cannot be read ({error}). Get the bundle again."
        ) from None
    if not well_formed or named != signature["key_id"]:
        raise BundleError(f"{where}: 'signature.json' was altered: it is not in the form robolearn writes.")
    if not valid:
        raise BundleError(
            f"{where}: the signature does not fit: 'manifest.json' or 'signature.json' was changed after signing."
        )
    return signature


def _slot_lines(label: str, slots: Iterable[Slot]) -> list[str]:
    return [
        f"  {label if i == 0 else '':<8} {s.name:<24} {list(s.shape)!s:<5} {s.unit:<6} {s.source}"
        for i, s in enumerate(slots)
    ]


def _limit_lines(limits: dict[str, Any]) -> list[str]:
    """The limits that the policy was made for, each number of them."""
    lines = []
    for i, (key, value) in enumerate(limits.items()):
        numbers = value if isinstance(value, list) else [value]
        text = " ".join(_short(number) for number in numbers) if value is not None else "not published"
        lines.append(f"  {'' if i else 'assumes':<8} {key:<30} {text}")
    return lines


def _labelled(label: str, lines: Iterable[str]) -> list[str]:
    """Lines with a label before the first one only."""
    return [f"  {label if i == 0 else '':<8} {line}" for i, line in enumerate(lines)]


def _result_lines(evaluation: dict[str, Any]) -> list[str]:
    """The evaluation in a manifest, one short line for each figure, success first; lists by their length alone."""
    first = [key for key in ("success", "time_to_success_s", "acceptance") if key in evaluation]
    lines = []
    for key in [*first, *(key for key in evaluation if key not in first)]:
        value = evaluation[key]
        if key == "success" and isinstance(value, dict) and {"rate", "low", "high", "episodes"} <= set(value):
            lines.append(
                f"success {_percent(value['rate'])} of {_short(value['episodes'])} episodes (95 % interval "
                f"{_percent(value['low'])} to {_percent(value['high'])})"
            )
        elif key == "acceptance" and isinstance(value, dict):
            lines.append(f"thresholds {_short(value.get('status'))}")
        elif isinstance(value, dict) and any(isinstance(item, dict) for item in value.values()):
            lines += [f"{name} {_short(item)}" for name, item in value.items()]
        else:
            lines.append(f"{key} {_short(value)}")
    return lines


def _percent(value: Any) -> str:
    return f"{100 * value:.1f} %" if isinstance(value, float | int) else _short(value)


def _short(value: Any) -> str:
    """A value of the manifest on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(item)}" for key, item in value.items())
    if isinstance(value, list):
        return f"({len(value)} entries, in the manifest)"
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

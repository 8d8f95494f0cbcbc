"""Bundles by a hostile signer: consistent, signed with a key of their own, and refused in one sentence."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path

import numpy as np
import onnx
import policy_standin
import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from onnx import TensorProto, helper

from robolearn import keys
from robolearn.errors import BundleError
from robolearn.policy import runtime
from robolearn.policy.approval import approvals_path, approve, read_approvals
from robolearn.policy.archive import PARTS, pack, unpack
from robolearn.policy.bundle import PolicyBundle, write_bundle
from robolearn.policy.graph import check_graph
from robolearn.policy.runtime import PolicyRuntime


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return policy_standin.export(tmp_path_factory.mktemp("bundle"))


def resigned(
    bundle: PolicyBundle, *, signature: dict | None = None, card: bytes | None = None, **manifest
) -> bytes:
    """The bundle with changes, signed by another key."""
    key = Ed25519PrivateKey.generate()
    parts = unpack(bundle.path.read_bytes(), "bundle")
    about = json.loads(parts["manifest.json"]) | manifest
    if card is not None:
        parts["MODEL_CARD.md"] = card
        about["digests"]["MODEL_CARD.md"] = hashlib.sha256(card).hexdigest()
    body = about if isinstance(about, bytes) else rfc8785.dumps(about)
    return _signed(parts, body, key, signature or {})


def _signed(parts: dict[str, bytes], body: bytes, key: Ed25519PrivateKey, more: dict) -> bytes:
    signature = {
        "algorithm": "Ed25519",
        "key_id": keys.key_id(key),
        "public_key": keys.public_text(key),
        "signature": keys.sign(key, body),
        "signed": "manifest.json",
    } | more
    return pack(parts | {"manifest.json": body, "signature.json": rfc8785.dumps(signature)})


SLOT = {"name": "a", "shape": [1], "unit": "rad", "source": "goal.a", "description": ""}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joint_names": [f"j{i}" for i in range(1_000_000)]}, "'manifest.json' has .* bytes, at most"),
        (
            {"joint_names": [f"j{i}" for i in range(100_000)]},
            "joint_names: Tuple should have at most 64 items",
        ),
        ({"joint_names": ["x" * 1000, "y"]}, "should have at most 200 characters"),
        ({"slots": [SLOT] * 1000}, "slots: Tuple should have at most 256 items"),
        ({"goal_slots": [SLOT | {"shape": [2**40, 2**40]}]}, "impossible shape"),
        ({"goal_slots": [SLOT | {"shape": [-1]}]}, "impossible shape"),
        ({"goal_slots": [SLOT | {"shape": [1] * 9}]}, "impossible shape"),
        ({"goal_slots": [SLOT | {"description": "x" * 5000}]}, "too long a text"),
        ({"goal_slots": [SLOT | {"source": "rm -rf"}]}, "goal_slots.0"),
        ({"goal_slots": [1]}, "goal_slots.0"),
        ({"training": [1]}, "training"),
        ({"training": {"a": json.loads("[" * 90 + "]" * 90)}}, "nested deeper than 64 levels"),
        ({"control_hz": "fast"}, "control_hz"),
        ({"code": None}, "code"),
    ],
)
def test_a_manifest_beyond_any_arm_is_refused(bundle, change, message):
    with pytest.raises(BundleError, match=message) as error:
        PolicyBundle.from_bytes(resigned(bundle, **change))
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b"", b"[]", b"null", b"\xff", b'{"a":' * 5000, b"9" * 10_000]
)
def test_a_manifest_that_is_none_is_refused(bundle, body):
    parts = unpack(bundle.path.read_bytes(), "bundle")
    with pytest.raises(BundleError, match=r"manifest\.json"):
        PolicyBundle.from_bytes(_signed(parts, body, Ed25519PrivateKey.generate(), {}))


def test_fields_that_nobody_signed_are_refused(bundle):
    for more in ({"trusted": True}, {"key_id2": "x"}, {"comment": ""}):
        with pytest.raises(
            BundleError, match=r"'signature\.json' cannot be read \(its fields must be algorithm, "
        ):
            PolicyBundle.from_bytes(resigned(bundle, signature=more))
    for name in ("algorithm", "signed", "key_id", "public_key", "signature"):
        for value in (None, 1, [], {}, "x"):
            with pytest.raises(BundleError, match=r"signature\.json"):
                PolicyBundle.from_bytes(resigned(bundle, signature={name: value}))


@pytest.mark.parametrize(
    "data", [b"[" * 10_000, b"null", b"[]", b"\xff", b'{"a":1e999}', b" " * 20_000, b'{"a":NaN}']
)
def test_a_signature_that_is_none_is_refused(bundle, data):
    parts = unpack(bundle.path.read_bytes(), "bundle") | {"signature.json": data}
    with pytest.raises(BundleError, match=r"signature\.json"):
        PolicyBundle.from_bytes(pack(parts))


def test_a_card_that_is_no_text_is_refused(bundle):
    with pytest.raises(BundleError, match=r"'MODEL_CARD\.md' is not UTF-8 text"):
        PolicyBundle.from_bytes(resigned(bundle, card=b"\xff\xfe"))


def test_sizes_that_an_archive_states_are_not_believed(bundle):
    data = bundle.path.read_bytes()
    for part in range(len(PARTS)):
        for size in (2**32 - 1, 2**31, len(data), len(data) - 200):
            changed, offset = bytearray(data), 0
            for name in PARTS[: part + 1]:
                at, offset = offset, offset + 30 + len(name) + struct.unpack_from("<I", data, offset + 18)[0]
            struct.pack_into("<II", changed, at + 18, size, size)
            with pytest.raises(BundleError, match="archive structure is wrong"):
                PolicyBundle.from_bytes(bytes(changed))


SPECIAL = {
    "fifo": os.mkfifo,
    "directory": os.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "loop": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_a_bundle_is_a_regular_file(tmp_path, kind):
    path = tmp_path / "x.robolearn"
    SPECIAL[kind](path)
    with pytest.raises(BundleError, match="Cannot read the bundle"):
        PolicyBundle.load(path)


@pytest.mark.parametrize("kind", SPECIAL)
def test_approvals_are_a_regular_file(bundle, tmp_path, kind):
    path = approvals_path(tmp_path / "x.robolearn")
    SPECIAL[kind](path)
    with pytest.raises(BundleError, match="Cannot read"):
        read_approvals(tmp_path / "x.robolearn")


def model(*nodes, functions=(), **more) -> bytes:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        list(nodes), "g", [value("x", TensorProto.FLOAT, [1])], [value("y", TensorProto.FLOAT, [1])], **more
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("mine", 1)]
    made = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)
    return made.SerializeToString()


def endless() -> onnx.NodeProto:
    """A loop whose condition stays true."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Add", ["v", "v"], ["w"])],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("c", TensorProto.BOOL, []),
            value("v", TensorProto.FLOAT, [1]),
        ],
        [value("d", TensorProto.BOOL, []), value("w", TensorProto.FLOAT, [1])],
    )
    return helper.make_node("Loop", ["", "", "x"], ["y"], body=body)


def external() -> onnx.TensorProto:
    tensor = TensorProto(name="a", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


ADD = helper.make_node("Add", ["x", "x"], ["y"])
OPSET = [helper.make_opsetid("", 21)]
FUNCTION = helper.make_function("mine", "F", ["x"], ["y"], [ADD], OPSET)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (model(endless()), "operator 'Loop' holds a graph of its own, as loops do"),
        (model(ADD, functions=[FUNCTION]), "functions or training steps"),
        (
            model(helper.make_node("FusedConv", ["x"], ["y"], domain="com.microsoft")),
            "is not one of ONNX itself",
        ),
        (model(ADD, initializer=[external()]), "keeps numbers in another file"),
        (model(helper.make_node("Constant", [], ["y"], value=external())), "keeps numbers in another file"),
        (model(*[ADD] * 20_001), "more than 20,000 operators"),
        (model(ADD) + model(ADD), "it holds 2 graphs"),
        (b"", "it holds 0 graphs"),
        (b"\xff" * 100, "it is not an ONNX graph"),
        (b"\x3a\xff\xff\xff\xff\x0f", "it was cut"),
        (b"\x3a\x80", "it was cut"),
        (b"\x3b", "unknown kind 3"),
        (b"\x38\x05", "a number where a part must be"),
    ],
)
def test_a_graph_that_no_policy_needs_is_refused(data, message):
    with pytest.raises(BundleError, match=f"'policy.onnx' is not run: .*{message}"):
        check_graph(data, "x")


def test_fields_of_fixed_size_are_passed_over():
    check_graph(model(ADD) + b"\x51" + b"\0" * 8 + b"\x55" + b"\0" * 4, "x")


def with_graph(bundle: PolicyBundle, tmp_path: Path, data: bytes) -> PolicyBundle:
    return write_bundle(
        tmp_path / "two-reach.robolearn", bundle.manifest, data, "card", Ed25519PrivateKey.generate()
    )


def test_an_endless_graph_is_refused_before_anything_runs(bundle, tmp_path):
    with pytest.raises(BundleError, match="holds a graph of its own"):
        with_graph(bundle, tmp_path, model(endless()))


def heavy(bundle: PolicyBundle, *nodes) -> bytes:
    """The bundle's own graph, and operators that nobody asked for behind one of its outputs."""
    made = onnx.load_from_string(bundle.onnx_bytes)
    last = made.graph.output[0].name
    for node in made.graph.node:
        node.output[:] = ["before" if name == last else name for name in node.output]
        node.input[:] = ["before" if name == last else name for name in node.input]
    shape = helper.make_tensor("s", TensorProto.INT64, [2], [60_000, 60_000])
    made.graph.node.extend(
        [
            helper.make_node("Constant", [], ["many"], value=shape),
            helper.make_node("ReduceSum", ["before"], ["one"], keepdims=0),
            helper.make_node("Expand", ["one", "many"], ["huge"]),
            helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0),
            helper.make_node("Add", ["before", "sum"], [last]),
        ]
    )
    return made.SerializeToString()


def test_a_graph_that_takes_all_the_memory_is_refused(bundle, tmp_path):
    made = with_graph(bundle, tmp_path, heavy(bundle))
    with pytest.raises(BundleError, match=r"fails on inputs of zeros: .*Expand.* Export the policy again"):
        PolicyRuntime(made)


def test_a_graph_that_does_not_end_is_ended(bundle, monkeypatch):
    monkeypatch.setattr(runtime, "STEP_MAX_S", 0.0)
    real = runtime.onnxruntime.RunOptions

    def ended():
        options = real()
        options.terminate = True
        return options

    monkeypatch.setattr(runtime.onnxruntime, "RunOptions", ended)
    with pytest.raises(BundleError, match="It did not end within 0 s"):
        PolicyRuntime(bundle)


def test_a_planted_link_is_never_written_through(bundle, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in (".e.robolearn.partial", "e.robolearn.partial", "e.robolearn", "e.robolearn.approvals"):
        (tmp_path / name).symlink_to(victim)
    made = write_bundle(
        tmp_path / "e.robolearn", bundle.manifest, bundle.onnx_bytes, "card", Ed25519PrivateKey.generate()
    )
    assert victim.read_text() == "precious"
    assert not made.path.is_symlink()
    with pytest.raises(BundleError, match="symbolic link"):
        approve(made.path, Ed25519PrivateKey.generate(), "reviewer-7")
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("who", ["", " ", "\x1b[2J\x1b]0;x\x07", "a\nb\x00", "\u202eevil", "x" * 300])
def test_who_approves_has_a_plain_name(bundle, who):
    with pytest.raises(BundleError, match="names who gives it"):
        approve(bundle.path, Ed25519PrivateKey.generate(), who)


@pytest.mark.parametrize("line", [b'{"a":1}', b"", b"null", b"[" * 5000, b"\xff", b"9" * 5000])
def test_a_line_that_is_no_approval_is_refused(bundle, tmp_path, line):
    copy = tmp_path / "copy.robolearn"
    copy.write_bytes(bundle.path.read_bytes())
    approve(copy, Ed25519PrivateKey.generate(), "reviewer-7")
    with approvals_path(copy).open("ab") as stream:
        stream.write(line + b"\n")
    with pytest.raises(BundleError, match="line 2 is not a valid approval"):
        read_approvals(copy)


def test_honest_bundles_still_run(bundle):
    stepped = PolicyRuntime(bundle)
    stepped.reset({"joint_state.position": np.zeros(2)})
    readings = {"joint_position": np.zeros(2), "joint_velocity": np.zeros(2), "goal_angle": np.ones(2)}
    assert set(stepped.step(readings)) == {"joint_position_target", "joint_velocity_target"}

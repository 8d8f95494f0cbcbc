import json
import zipfile

import numpy as np
import policy_standin
import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robolearn import keys
from robolearn.errors import BundleError
from robolearn.policy.archive import PARTS, pack, unpack
from robolearn.policy.bundle import PolicyBundle, _result_lines, write_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return policy_standin.export(tmp_path_factory.mktemp("bundle"))


def _spans(data: bytes) -> dict[str, range]:
    """Where each part's content lies in the archive."""
    parts, spans, offset = unpack(data, "bundle"), {}, 0
    for name in PARTS:
        start = offset + 30 + len(name)
        spans[name] = range(start, start + len(parts[name]))
        offset = spans[name].stop
    return spans


def test_what_was_written_is_what_is_read(bundle):
    again = PolicyBundle.load(bundle.path)
    assert again == bundle
    assert again.manifest.joint_names == ("left", "right")
    assert again.manifest.control_hz == 50.0
    assert again.manifest.evaluation == {"episodes": 4, "success_rate": 0.75}
    assert [slot.name for slot in again.manifest.outputs] == [
        "joint_position_target",
        "joint_velocity_target",
    ]


def test_any_zip_tool_opens_it(bundle):
    with zipfile.ZipFile(bundle.path) as archive:
        assert archive.testzip() is None
        assert tuple(archive.namelist()) == PARTS
        assert archive.read("policy.onnx") == bundle.onnx_bytes
        assert "## Not for" in archive.read("MODEL_CARD.md").decode()


def test_every_changed_byte_is_found_and_its_part_named(bundle):
    data = bundle.path.read_bytes()
    spans = _spans(data)
    where = {i: name for name, span in spans.items() for i in span}
    # Every byte outside the graph, and every 17th byte inside it, with one bit and with all bits changed.
    positions = [i for i in range(len(data)) if where.get(i) != "policy.onnx" or i % 17 == 0]
    for position in positions:
        expected = f"'{where[position]}' was altered" if position in where else "archive structure is wrong"
        for mask in (1, 255):
            changed = bytearray(data)
            changed[position] ^= mask
            with pytest.raises(BundleError, match=expected):
                PolicyBundle.from_bytes(bytes(changed))


@pytest.mark.parametrize("cut", [0, 1, 29, 100, -1])
def test_a_cut_file_is_refused(bundle, cut):
    with pytest.raises(BundleError, match="archive structure is wrong"):
        PolicyBundle.from_bytes(bundle.path.read_bytes()[:cut])


def test_bytes_before_or_after_are_refused(bundle):
    data = bundle.path.read_bytes()
    for changed in (data + b"\0", b"\0" + data, data + data):
        with pytest.raises(BundleError, match="archive structure is wrong"):
            PolicyBundle.from_bytes(changed)


@pytest.mark.parametrize(("part", "message"), [
    ("policy.onnx", "'policy.onnx' is not the one that was signed"),
    ("MODEL_CARD.md", "'MODEL_CARD.md' is not the one that was signed"),
    ("manifest.json", "the signature does not fit: 'manifest.json'"),
])  # fmt: skip
def test_a_part_replaced_with_valid_checksums_is_refused(bundle, part, message):
    parts = unpack(bundle.path.read_bytes(), "bundle")
    parts[part] = parts[part].replace(b"two-reach", b"two-beach")
    with pytest.raises(BundleError, match=message):
        PolicyBundle.from_bytes(pack(parts))


def test_a_signature_that_is_not_written_canonically_is_refused(bundle):
    parts = unpack(bundle.path.read_bytes(), "bundle")
    parts["signature.json"] += b" "
    with pytest.raises(BundleError, match="'signature.json' was altered"):
        PolicyBundle.from_bytes(pack(parts))
    parts["signature.json"] = b"{}"
    with pytest.raises(BundleError, match="'signature.json' cannot be read"):
        PolicyBundle.from_bytes(pack(parts))


def test_a_key_that_is_not_trusted_is_refused(bundle):
    assert PolicyBundle.load(bundle.path, [bundle.key_id]) == bundle
    assert PolicyBundle.load(bundle.path, [bundle.public_key]) == bundle
    with pytest.raises(
        BundleError, match=f"signed by key {bundle.key_id}, which is not trusted here. Trusted: none"
    ):
        PolicyBundle.load(bundle.path, [])


def test_a_bundle_signed_again_by_another_key_is_told_apart(bundle, tmp_path):
    forger = Ed25519PrivateKey.generate()
    forged = write_bundle(
        tmp_path / "two-reach.robolearn", bundle.manifest, bundle.onnx_bytes, "no limits", forger
    )
    assert PolicyBundle.load(forged.path).key_id == keys.key_id(forger)
    with pytest.raises(BundleError, match="not trusted"):
        PolicyBundle.load(forged.path, [bundle.key_id])


def test_a_missing_file_and_a_wrong_suffix_have_one_clear_line(bundle, tmp_path):
    with pytest.raises(BundleError, match="Cannot read the bundle '.*none.robolearn': No such file"):
        PolicyBundle.load(tmp_path / "none.robolearn")
    with pytest.raises(BundleError, match="ends in .robolearn, not 'two.zip'"):
        write_bundle(tmp_path / "two.zip", bundle.manifest, b"", "", Ed25519PrivateKey.generate())


@pytest.mark.parametrize(("change", "message"), [
    ({"schema": "robolearn.bundle/2"}, "manifest.json: schema"),
    ({"control_hz": 0}, "manifest.json: control_hz"),
    ({"extra": 1}, "manifest.json: extra"),
    ({"joint_names": ["left", "left"]}, "joint name used twice: left"),
    ({"joint_names": ["left"]}, "must have one value per joint"),
])  # fmt: skip
def test_a_manifest_that_contradicts_itself_is_refused(bundle, change, message):
    key = Ed25519PrivateKey.generate()
    parts = unpack(bundle.path.read_bytes(), "bundle")
    parts["manifest.json"] = rfc8785.dumps(json.loads(parts["manifest.json"]) | change)
    signature = json.loads(parts["signature.json"]) | {
        "key_id": keys.key_id(key),
        "public_key": keys.public_text(key),
        "signature": keys.sign(key, parts["manifest.json"]),
    }
    parts["signature.json"] = rfc8785.dumps(signature)
    with pytest.raises(BundleError, match=message):
        PolicyBundle.from_bytes(pack(parts))


def test_inspect_shows_the_results_of_an_evaluation_in_lines_of_80_columns():
    success = {
        "name": "all",
        "rate": 0.999,
        "low": 0.9944,
        "high": 0.9998,
        "episodes": 1000,
        "successes": 999,
    }
    evaluation = {
        "acceptance": {"digest": "f" * 64, "status": "passed", "rows": [{}, {}]},
        "peaks": {"tcp_speed_m_s": {"max": 1.486951, "p95": 1.13}, "joint_speed_rad_s": {"max": 1.0}},
        "success": success,
        "time_to_success_s": {"median": 1.48, "p95": 2.16},
        "strata": [success] * 3,
    }
    assert _result_lines(evaluation) == [
        "success 99.9 % of 1000 episodes (95 % interval 99.4 % to 100.0 %)",
        "time_to_success_s median 1.48, p95 2.16",
        "thresholds passed",
        "tcp_speed_m_s max 1.487, p95 1.13",
        "joint_speed_rad_s max 1",
        "strata (3 entries, in the manifest)",
    ]
    assert _result_lines({"success": "?", "acceptance": 3}) == ["success ?", "acceptance 3"]
    assert _result_lines({"success": {**success, "rate": "?"}})[0].startswith("success ? of 1000 episodes")


def test_inspect_shows_contract_results_and_digests(bundle):
    text = bundle.inspect()
    for expected in (
        "two-reach: two/reach for two, 50 Hz",
        "left, right",
        "success_rate 0.75",
        bundle.digest,
    ):
        assert expected in text
    assert repr(text) == text
    assert np.all([len(line) < 160 for line in text.splitlines()])

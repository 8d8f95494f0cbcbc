"""Canonical JSON, the chain, plain values: the same bytes for the same record, and nothing that cannot be written."""

import enum
import json
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robolearn.errors import LogError
from robolearn.safety.chain import KINDS, RETENTION_DAYS, Chain, canonical, open_line, plain, seal, utc_text

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_canonical_form_survives_reading_back(value):
    first = canonical(plain(value))
    assert canonical(json.loads(first)) == first


def test_canonical_form_is_the_one_of_rfc_8785():
    # The example of RFC 8785, section 3.2.2, and its rule on key order by UTF-16 code units (3.2.3).
    value = {"numbers": [333333333.33333329, 1e30, 4.5, 2e-3, 1e-27], "literals": [None, True, False]}
    expected = b'{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]}'
    assert canonical(value) == expected
    assert (
        canonical({"\u20ac": 1, "\r": 2, "1": 3, "\U0001f600": 4}) == '{"\\r":2,"1":3,"€":1,"😀":4}'.encode()
    )


def test_canonical_form_does_not_depend_on_the_order_of_keys():
    assert canonical({"b": 1, "a": {"d": 1, "c": 2}}) == canonical({"a": {"c": 2, "d": 1}, "b": 1})


def test_what_json_does_not_know_is_refused_with_advice():
    with pytest.raises(LogError, match="plain"):
        canonical({"a": float("nan")})


class Colour(enum.StrEnum):
    RED = "red"


@dataclass
class Point:
    x: float
    names: tuple[str, ...]


def test_plain_takes_everything():
    given = {
        "array": np.array([1.0, np.nan, np.inf]),
        "scalar": np.float64(2.5),
        "colour": Colour.RED,
        "point": Point(-np.inf, ("a",)),
        "bytes": b"\x01\xff",
        "large": 2**60,
        "great": 1e17,
        7: {1},
        "strange": object,
        "none": None,
        "flag": np.bool_(True),
    }
    found = plain(given)
    canonical(found)
    assert found["array"] == [1.0, "nan", "inf"]
    assert found["scalar"] == 2.5
    assert found["colour"] == "red"
    assert found["point"] == {"x": "-inf", "names": ["a"]}
    assert found["bytes"] == "01ff"
    assert found["large"] == str(2**60)
    assert found["great"] == "1e+17"
    assert found["7"] == [1]
    assert found["strange"] == "<class 'object'>"
    assert found["flag"] is True


def test_a_chain_counts_and_links_its_records():
    chain = Chain()
    lines = [
        chain.append("start", {"n": n}, cycle=n, monotonic_ns=ns, utc_ns=10**18)
        for n, ns in enumerate((5000, 4000))
    ]
    records = [json.loads(line) for line in lines]
    assert [record["seq"] for record in records] == [0, 1]
    assert records[0]["prev"] == "0" * 64
    assert records[1]["prev"] == records[0]["hash"]
    assert [record["monotonic_us"] for record in records] == [5, 5]  # held, never backwards
    for line, record in zip(lines, records, strict=True):
        assert line.endswith(b"\n")
        assert open_line(line[:-1]) == (record, record["hash"])


def test_each_kind_has_a_retention_class_of_the_regulation():
    chain = Chain()
    for kind, (retention, requirements) in KINDS.items():
        record = json.loads(chain.append(kind, {}, cycle=0, monotonic_ns=0, utc_ns=0))
        assert record["retention"] == {
            "class": retention,
            "days": RETENTION_DAYS[retention],
            "ehsr": list(requirements),
        }
    unknown = json.loads(chain.append("something new", {}, cycle=0, monotonic_ns=0, utc_ns=0))
    assert unknown["retention"]["days"] == 1826


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[]", "no record with a hash"),
        (b'{"a":1}', "no record with a hash"),
        (b'{"a": 1,"hash":"x"}', "not in canonical form"),
        (b'{"hash":"x"}', "no record with a hash"),
        (b"{", "Expecting"),
        (b'{"a":9007199254740993,"hash":"x"}', "not in canonical form: 9007199254740993"),
    ],
)
def test_what_is_no_sealed_line_is_refused(line, reason):
    with pytest.raises(ValueError, match=reason):
        open_line(line)


def test_the_hash_is_of_the_record_without_it():
    line, value = seal({"seq": 0, "a": ',"hash":"x"'})
    record, real = open_line(line)
    assert real == value == record["hash"]
    _, other = open_line(seal({"seq": 1, "a": 1})[0].replace(b'"seq":1', b'"seq":2'))
    assert other != value


def test_utc_is_written_with_microseconds():
    assert utc_text(1_795_243_978_654_540_999) == "2026-11-21T06:52:58.654540Z"

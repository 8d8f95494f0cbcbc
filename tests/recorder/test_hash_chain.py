"""Canonical JSON, the chain, plain values: the same bytes for the same record, and nothing that cannot be written."""

import enum
import hashlib
import json
import time
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robolearn.errors import LogError
from robolearn.recorder.hash_chain import (
    KINDS,
    RETENTION_DAYS,
    Chain,
    canonical,
    open_line,
    plain,
    seal,
    signed_part,
    utc_text,
    utc_us,
)

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
        (b"[]", "^no record with a hash$"),
        (b"{}", "^no record with a hash$"),
        (b'{"a":1}', "^no record with a hash$"),
        (b'{"a": 1,"hash":"x"}', "^not in canonical form$"),
        (b'{ "hash": "x"}', "^not in canonical form$"),
        (b'{"hash":"x"}', "^no record with a hash$"),
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
    assert utc_us("2026-11-21T06:52:58.654540Z") == 1_795_243_978_654_540
    with pytest.raises(ValueError, match="Invalid isoformat"):
        utc_us("yesterday")


def test_two_lines_of_a_chain_byte_by_byte():
    """The format that a reviewer's own program reads: not one byte of it may change unnoticed."""
    chain = Chain()
    first = chain.append("limit", {"x": 1}, cycle=7, monotonic_ns=1_499, utc_ns=1_700_000_000_123_456_789)
    second = chain.append("strange", {}, cycle=8, monotonic_ns=500, utc_ns=1_700_000_001_000_000_999)
    third = chain.append("clock", {}, cycle=9, monotonic_ns=0, utc_ns=0)
    texts = []
    for line, prev in ((first, "0" * 64), (second, None), (third, None)):
        assert line.endswith(b"\n")
        record = json.loads(line)
        stated = record.pop("hash")
        bare = json.dumps(
            record, sort_keys=True, separators=(",", ":")
        )  # RFC 8785 for plain ASCII and integers
        assert hashlib.sha256(bare.encode()).hexdigest() == stated
        assert record["prev"] == (prev or texts[-1][1])
        texts.append((bare.replace(record["prev"], "PREV"), stated))
    assert [text for text, _ in texts] == [
        (
            '{"cycle":7,"fields":{"x":1},"kind":"limit","monotonic_us":1,"prev":"PREV","retention":{"class":'
            '"safety_decision_data","days":366,"ehsr":["1.2.1(a)","1.2.1(b)"]},"seq":0,"utc":'
            '"2023-11-14T22:13:20.123456Z"}'
        ),
        (
            '{"cycle":8,"fields":{},"kind":"strange","monotonic_us":1,"prev":"PREV","retention":{"class":'
            '"intervention_and_version_log","days":1826,"ehsr":[]},"seq":1,"utc":"2023-11-14T22:13:21.000001Z"}'
        ),
        (
            '{"cycle":9,"fields":{},"kind":"clock","monotonic_us":1,"prev":"PREV","retention":{"class":'
            '"safety_decision_data","days":366,"ehsr":["1.2.1(b)"]},"seq":2,"utc":"1970-01-01T00:00:00.000001Z"}'
        ),
    ]


def test_a_fresh_chain_counts_time_from_zero():
    assert json.loads(Chain().append("clock", {}, cycle=0, monotonic_ns=0, utc_ns=0))["monotonic_us"] == 0


def test_what_a_signature_covers_byte_by_byte():
    assert signed_part("s1", {"head": "h", "signature": "x", "seq": 3}, "p") == (
        b'{"fields":{"head":"h","seq":3},"prev":"p","schema":"robolearn.safety_log/2","session_id":"s1"}'
    )


def test_the_largest_integers_stay_numbers():
    top = 2**53 - 1
    assert plain([top, -top, float(top)]) == [top, -top, float(top)]
    assert plain([top + 1, -top - 1]) == [str(top + 1), str(-top - 1)]


def test_times_are_utc_wherever_the_machine_stands(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert utc_text(1_700_000_000_999_999_999) == "2023-11-14T22:13:20.999999Z"
        assert utc_text(4_102_444_799_999_999_999) == "2099-12-31T23:59:59.999999Z"
    finally:
        monkeypatch.undo()
        time.tzset()

"""Streams are put in order, and every fault is named with place and count; nothing is filled in."""

import numpy as np
import pytest

from robolearn.data.motion import ordered
from robolearn.errors import DataError


def _stream(time, values=None):
    time = np.array(time, float)
    values = np.arange(len(time), dtype=float) if values is None else np.array(values, float)
    return ordered("measured", time, {"position_rad": values[:, None]})


def test_a_clean_stream_has_no_faults():
    stream, faults, rows = _stream(np.arange(10) * 0.002)
    assert faults == ()
    assert stream.breaks_s == ()
    assert list(rows) == list(range(10))
    assert stream.period_s == pytest.approx(0.002)


def test_a_repeated_stamp_keeps_its_first_sample():
    stream, faults, _ = _stream([0.0, 0.01, 0.01, 0.02])
    assert list(stream.values["position_rad"][:, 0]) == [0, 1, 3]
    assert [(f.kind, f.count, f.first_s) for f in faults] == [("duplicate stamp", 1, 0.01)]


def test_a_clock_that_is_set_back_loses_what_it_repeats_and_leaves_a_break():
    stream, faults, rows = _stream([0.0, 0.01, 0.02, 0.005, 0.015, 0.025, 0.035])
    assert list(rows) == [0, 1, 2, 5, 6]
    assert [(f.kind, f.count) for f in faults] == [("clock set back", 2)]
    assert stream.breaks_s == ((0.02, 0.025),)


def test_a_gap_is_named_and_not_filled():
    stream, faults, _ = _stream([0.0, 0.01, 0.02, 0.5, 0.51])
    assert len(stream.time_s) == 5
    assert stream.breaks_s == ((0.02, 0.5),)
    assert "1 gaps longer than 50 ms, 0.480 s at most, first at 0.020 s" in faults[0].text


def test_what_is_not_finite_is_left_out_and_counted():
    stream, faults, _ = _stream([0.0, 0.01, np.nan, 0.03], [0.0, np.nan, 2.0, 3.0])
    assert list(stream.values["position_rad"][:, 0]) == [0.0, 3.0]
    assert ("not finite", 2) in [(f.kind, f.count) for f in faults]


def test_nothing_usable_is_an_error():
    with pytest.raises(DataError, match="No usable sample in stream 'measured'"):
        _stream([np.nan, np.nan])

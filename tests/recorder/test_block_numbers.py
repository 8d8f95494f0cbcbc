"""Whole numbers for words and few bits for whole numbers: each step can be undone exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from robolearn.recorder import block_numbers as numbers

WORDS = npst.arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 4)))
NATURALS = npst.arrays(np.uint64, st.integers(1, 40))
EDGES = np.array([0, 1, 2, 3, 2**52, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1], np.uint64)


@given(WORDS)
def test_ordered_floats_come_back(words):
    assert (numbers.ordered(numbers.ordered(words)) == words).all()


def test_ordered_bits_follow_the_order_of_the_floats():
    values = np.array([-np.inf, -2.0, -1e-300, -0.0, 0.0, 1e-300, 2.0, np.inf])
    assert (np.diff(numbers.ordered(values.view(np.int64))) > 0).all()


@pytest.mark.parametrize(
    ("values", "shift"),
    [
        ([0.0, 0.0], 0),
        ([0.0, 1.0], 0),
        ([0.5, 3.0], 1),
        ([8.0, -24.0], -3),
        ([2.0**-50, 1.0], 50),
        ([-0.75, 0.0], 2),
    ],
)
def test_the_shift_makes_every_value_whole_and_no_smaller_one_does(values, shift):
    column = np.array(values)[:, None]
    assert numbers.shifts(column) == shift
    whole = numbers.to_fixed(column, np.array([shift]))
    assert (numbers.from_fixed(whole, np.array([shift])) == column).all()
    assert not whole.any() or (whole & 1).any()


def test_what_is_no_number_or_too_large_stays_inside_62_bits():
    values = np.array([[np.nan], [np.inf], [1e30], [-1e30]])
    assert numbers.to_fixed(values, np.array([60])).ravel().tolist() == [0, 0, 2**62, -(2**62)]
    assert numbers.to_nanos(values).ravel().tolist() == [0, 0, 2**62, -(2**62)]


@given(st.integers(0, 2**51))  # 26 days; later ones do not all come back, and are kept as they are
def test_whole_nanoseconds_come_back(nanoseconds):
    value = np.array([nanoseconds / 1e9])
    assert numbers.from_nanos(numbers.to_nanos(value)) == value


@given(WORDS)
def test_zigzag_comes_back_and_keeps_small_numbers_small(words):
    assert (numbers.unzigzag(numbers.zigzag(words)) == words).all()
    assert numbers.zigzag(np.array([0, -1, 1, -2, 2])).tolist() == [0, 1, 2, 3, 4]


@given(NATURALS)
def test_lengths_are_exact(naturals):
    assert numbers.lengths(naturals).tolist() == [int(value).bit_length() for value in naturals]
    assert numbers.lengths(EDGES).tolist() == [int(value).bit_length() for value in EDGES]


@given(NATURALS)
def test_bits_come_back(naturals):
    counts = numbers.lengths(naturals)
    data = numbers.pack_bits(naturals, counts)
    assert len(data) == -(-int(counts.sum()) // 8)
    assert (numbers.unpack_bits(data, counts) == naturals).all()


@given(npst.arrays(np.int64, st.integers(0, 40), elements=st.integers(0, 40)))
def test_unary_numbers_come_back(naturals):
    assert (numbers.unpack_unary(numbers.pack_unary(naturals), len(naturals)) == naturals).all()


def test_too_few_unary_numbers_are_said():
    with pytest.raises(ValueError, match="unary part is too short"):
        numbers.unpack_unary(b"\xff", 1)


@given(npst.arrays(np.int64, st.tuples(st.integers(5, 12), st.just(5))))
def test_differences_of_every_order_are_summed_again(integers):
    history, rows = integers[:4], integers[4:]
    order = np.arange(5)
    differences = np.stack([np.diff(integers[:, k], n=k)[-len(rows) :] for k in range(5)], axis=1)
    assert (numbers.summed(differences, history, order) == rows).all()
    assert (numbers.summed(rows.copy(), history, np.zeros(5, np.int64)) == rows).all()

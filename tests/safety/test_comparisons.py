import math

import numpy as np
import pytest

from robolearn.safety import comparisons
from robolearn.safety.types import Record

NAMES = ("a", "b", "c")
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_finite_counts_what_is_not(bad):
    assert comparisons.finite(np.array([0.0, 1e300, -1e-300]), "x") is None
    assert comparisons.finite(None, "x") is None
    record = comparisons.finite(np.array([0.0, bad, bad]), "x")
    assert (record.rule, record.value, record.margin) == ("finite", 2.0, -2.0)
    assert comparisons.finite_time(1.0, "x") is None
    record = comparisons.finite_time(bad, "x")
    assert (record.rule, record.value, record.limit, record.margin) == ("finite", 1.0, 0.0, -1.0)


@pytest.mark.parametrize("limit", [0.0, 1.0, -1.0, 1e-9, 1e9])
def test_over_and_under_are_exact_at_the_boundary(limit):
    above, below = np.nextafter(limit, INF), np.nextafter(limit, -INF)
    assert comparisons.over("r", limit, limit, "m", "s") is None
    assert comparisons.over("r", below, limit, "m", "s") is None
    assert comparisons.over("r", above, limit, "m", "s").margin <= 0.0
    assert comparisons.under("r", limit, limit, "m", "s") is None
    assert comparisons.under("r", above, limit, "m", "s") is None
    assert comparisons.under("r", below, limit, "m", "s").margin <= 0.0


def test_nan_violates_every_comparison():
    assert comparisons.over("r", NAN, 1.0, "m", "s")
    assert comparisons.under("r", NAN, 1.0, "m", "s")
    bad = np.array([0.0, NAN, 0.0])
    assert comparisons.within("r", bad, -np.ones(3), np.ones(3), "m", "s", NAMES)
    assert comparisons.magnitude("r", bad, np.ones(3), "m", "s", NAMES)
    assert comparisons.age("r", NAN, 0.0, 1.0, 1.0, "s", "x")
    assert comparisons.forward(NAN, 0.0, "x")


def test_the_record_is_of_the_worst():
    value = np.array([1.1, -3.0, 2.0])
    record = comparisons.within("r", value, -np.ones(3), np.ones(3), "m", "s", NAMES)
    assert (record.where, record.value, record.limit, record.margin) == ("b", -3.0, -1.0, -2.0)
    assert "below" in record.text
    record = comparisons.magnitude("r", value, np.ones(3), "m", "s", NAMES)
    assert (record.where, record.value, record.limit, record.margin) == ("b", -3.0, 1.0, -2.0)
    assert (
        comparisons.within("r", np.array([0.0, 1.0, -1.0]), -np.ones(3), np.ones(3), "m", "s", NAMES) is None
    )
    assert comparisons.magnitude("r", np.array([0.0, 1.0, -1.0]), np.ones(3), "m", "s", NAMES) is None


def test_one_limit_may_be_that_of_all():
    value = np.array([1.1, -3.0, 2.0])
    assert comparisons.magnitude("r", value, 1.0, "m", "s", NAMES) == comparisons.magnitude(
        "r", value, np.ones(3), "m", "s", NAMES
    )
    assert comparisons.magnitude("r", value, 3.0, "m", "s", NAMES) is None


def test_the_quicker_words_for_all_and_max_say_the_same():
    rng = np.random.default_rng(0)
    for shape in ((1,), (7,), (5, 3)):
        for share in (0.0, 0.1, 0.9, 1.0):
            flags = rng.random(shape) < share
            assert comparisons.every(flags) is bool(flags.all())
        values = rng.normal(size=shape)
        assert comparisons.largest(values) == values.max()
        assert isinstance(comparisons.largest(values), float)
    assert comparisons.every(np.array([], dtype=bool))
    assert math.isnan(comparisons.largest(np.array([1.0, NAN, 2.0])))


def test_within_says_above():
    record = comparisons.within("r", np.array([0.0, 0.0, 1.5]), -np.ones(3), np.ones(3), "m", "s", NAMES)
    assert (record.where, record.limit, record.margin) == ("c", 1.0, -0.5)
    assert "above" in record.text


def test_age_has_two_sides():
    assert comparisons.age("command_age", 10.0, 9.95, 0.0501, 0.01, "s", "x") is None
    assert comparisons.age("command_age", 10.0, 9.9, 0.05, 0.01, "s", "x").rule == "command_age"
    assert comparisons.age("command_age", 10.0, 10.005, 0.05, 0.01, "s", "x") is None
    record = comparisons.age("command_age", 10.0, 10.02, 0.05, 0.01, "s", "x")
    assert (record.rule, round(record.value, 6)) == ("clock", 0.02)


def test_forward_allows_standing_still():
    assert comparisons.forward(1.0, 1.0, "x") is None
    assert comparisons.forward(1.0, -math.inf, "x") is None
    record = comparisons.forward(0.5, 1.0, "x")
    assert "back by 500.000 ms" in record.text
    assert (record.value, record.limit, record.margin) == (0.5, 1.0, -0.5)


def test_shape_wants_exactly_the_robots_joints():
    ok = np.zeros(3)
    assert comparisons.shape(NAMES, ok, ok, NAMES, "x") is None
    assert comparisons.shape(NAMES, ok, None, NAMES, "x") is None
    assert comparisons.shape(("c", "a", "b"), ok, ok, NAMES, "x") is None
    for names, position, velocity in (
        (("a", "b"), np.zeros(2), ok),
        (("a", "b", "d"), ok, ok),
        (("a", "b", "b"), ok, ok),
        (("a", "b", "c", "c"), np.zeros(4), np.zeros(4)),
        (NAMES, np.zeros(2), ok),
        (NAMES, ok, np.zeros(4)),
        (NAMES, np.zeros((3, 1)), np.zeros((2, 3))),
    ):
        assert comparisons.shape(names, position, velocity, NAMES, "x").rule == "shape"
    assert "d" in comparisons.shape(("a", "b", "d"), ok, ok, NAMES, "x").text


def test_texts_name_place_value_and_limit():
    record = comparisons.over("r", 2.0, 1.0, "m/s", "s", where="tcp")
    assert record.text == "tcp: 2 m/s is above 1 m/s"
    assert comparisons.under("r", 1.0, 2.0, "m", "s", where="wall").text == "wall: 1 m is below 2 m"
    assert comparisons.under("r", 1.0, 2.0, "m", "s").text == "1 m is below 2 m"
    assert comparisons.over("r", 2.0, 1.0, "m", "s", "own text").text == "own text"


def test_every_record_in_full():
    ones = np.ones(3)
    assert comparisons.finite(np.array([0.0, NAN, INF]), "command") == Record(
        "finite", 2.0, 0.0, -2.0, "1", "robolearn", "command: 2 not finite"
    )
    assert comparisons.finite_time(INF, "stamp") == Record(
        "finite", 1.0, 0.0, -1.0, "1", "robolearn", "stamp is inf"
    )
    assert comparisons.shape(("a", "b", "d"), ones, None, NAMES, "command") == Record(
        "shape", 3.0, 3.0, -1.0, "1", "robot file", "command: joints do not fit the robot: c, d"
    )
    assert comparisons.shape(NAMES, np.ones(2), np.ones(4), NAMES, "command") == Record(
        "shape", 2.0, 3.0, -1.0, "1", "robot file", "command: [3, 2, 4] values"
    )
    assert comparisons.age("state_age", 10.0, 9.5, 0.25, 0.125, "profile", "state") == Record(
        "state_age", 0.5, 0.25, -0.25, "s", "profile", "state is 500.0 ms old"
    )
    assert comparisons.age("state_age", 10.0, 10.5, 0.25, 0.125, "profile", "state") == Record(
        "clock", 0.5, 0.125, -0.375, "s", "profile", "state is stamped in the future"
    )
    assert comparisons.forward(0.5, 1.0, "state") == Record(
        "clock", 0.5, 1.0, -0.5, "s", "robolearn", "state went back by 500.000 ms"
    )
    assert comparisons.over("tcp_speed", 0.5, 0.25, "m/s", "profile", where="tcp") == Record(
        "tcp_speed", 0.5, 0.25, -0.25, "m/s", "profile", "tcp: 0.5 m/s is above 0.25 m/s", "tcp"
    )
    assert comparisons.under("separation", 0.5, 0.75, "m", "profile", where="hand") == Record(
        "separation", 0.5, 0.75, -0.25, "m", "profile", "hand: 0.5 m is below 0.75 m", "hand"
    )
    value = np.array([0.5, -1.5, 1.25])
    assert comparisons.within("position", value, -ones, ones, "rad", "profile", NAMES) == Record(
        "position", -1.5, -1.0, -0.5, "rad", "profile", "b: -1.5 rad is below -1 rad", "b"
    )
    assert comparisons.within("position", -value, -ones, ones, "rad", "profile", NAMES) == Record(
        "position", 1.5, 1.0, -0.5, "rad", "profile", "b: 1.5 rad is above 1 rad", "b"
    )
    assert comparisons.magnitude("jerk", value, ones, "rad/s^3", "profile", NAMES) == Record(
        "jerk", -1.5, 1.0, -0.5, "rad/s^3", "profile", "b: 1.5 rad/s^3 is above 1 rad/s^3", "b"
    )


def test_bounds_themselves_are_allowed_and_sides_are_told_apart():
    assert comparisons.age("state_age", 10.0, 9.75, 0.25, 0.125, "s", "x") is None
    assert comparisons.age("state_age", 10.0, 10.125, 0.25, 0.125, "s", "x") is None
    assert comparisons.forward(1.0, np.nextafter(1.0, 2.0), "x") is not None
    # as far out on the one side as on the other of an interval that is not around zero
    record = comparisons.within("r", np.array([4.5]), np.array([2.0]), np.array([4.0]), "m", "s", NAMES)
    assert (record.limit, record.margin) == (4.0, -0.5)
    record = comparisons.within("r", np.array([1.5]), np.array([2.0]), np.array([4.0]), "m", "s", NAMES)
    assert (record.limit, record.margin) == (2.0, -0.5)

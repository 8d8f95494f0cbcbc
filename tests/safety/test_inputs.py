"""What comes in, by itself: every finding in full, and what is let through in the robot's joint order."""

import numpy as np
import pytest
from safety_rig import profile_with

from robolearn.robots import load_robot
from robolearn.safety.inputs import Inputs
from robolearn.safety.mode_limits import compile_limits
from robolearn.safety.types import Command, Measured, Record, Surroundings

ROBOT = load_robot("fr3")
NAMES = ROBOT.joint_names
N = ROBOT.dof
NOW = 100.0
NUMBERS = {
    "state_age_max_s": 0.05, "command_age_max_s": 0.06, "clock_ahead_max_s": 0.004, "command_jump_max_rad": 0.1,
    "first_command_wait_max_s": 2.0,
}  # fmt: skip
PROFILE = profile_with(**NUMBERS)
LIMITS = compile_limits(PROFILE.mode("automatic"), ROBOT)
MANUAL = compile_limits(PROFILE.mode("manual_reduced"), ROBOT)
PLACE, SLOW = np.arange(N) / 10.0, np.arange(N) / 100.0


def inputs_at(now=NOW):
    inputs = Inputs(NAMES)
    inputs.now_s = now
    return inputs


def measured(**changes):
    values = {"joint_names": NAMES, "position_rad": PLACE, "velocity_rad_s": SLOW, "stamp_s": NOW}
    return Measured(**(values | changes))


def command(**changes):
    values = {
        "joint_names": NAMES,
        "position_rad": PLACE,
        "velocity_rad_s": SLOW,
        "stamp_s": NOW,
        "source": "policy:a",
    }
    return Command(**(values | changes))


def take(inputs, given, limits, started_s):
    """What became of one command, or of none: the new one in joint order or None, and the problem or None."""
    arrived = [] if given is None else [given]
    selection = inputs.commands(arrived, limits, started_s)
    assert selection.index == (0 if arrived else None)
    assert len(selection.commands) <= 1
    return (selection.commands[0] if selection.commands else None), selection.problem


def own(rule, text, value=1.0, limit=0.0, unit="1", source="robolearn"):
    return Record(rule, value, limit, -1.0, unit, source, text)


# ---- joint states


def test_a_reading_is_a_copy_in_the_robots_order():
    inputs = inputs_at()
    position = PLACE.copy()
    reading, record = inputs.reading(measured(position_rad=position), LIMITS, NOW)
    assert record is None
    position[:] = 9.0
    np.testing.assert_array_equal(reading.position_rad, PLACE)
    np.testing.assert_array_equal(reading.velocity_rad_s, SLOW)
    assert reading.stamp_s == NOW
    whole, _ = inputs_at().reading(measured(position_rad=np.arange(N)), LIMITS, NOW)
    assert whole.position_rad.dtype == float
    turned = measured(joint_names=NAMES[::-1], position_rad=PLACE[::-1], velocity_rad_s=SLOW[::-1])
    for _ in range(2):  # the second time the order is remembered
        reading, record = inputs.reading(turned, LIMITS, NOW)
        assert record is None
        np.testing.assert_array_equal(reading.position_rad, PLACE)
        np.testing.assert_array_equal(reading.velocity_rad_s, SLOW)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"position_rad": PLACE * np.nan},
            Record("finite", 7.0, 0.0, -7.0, "1", "robolearn", "measured position: 7 not finite"),
        ),
        (
            {"velocity_rad_s": np.where(SLOW > 0.05, np.inf, SLOW)},
            own("finite", "measured velocity: 1 not finite"),
        ),
        ({"stamp_s": np.inf}, own("finite", "joint state stamp is inf")),
        (
            {"joint_names": ("a", *NAMES[1:])},
            own(
                "shape",
                f"joint state: joints do not fit the robot: a, {NAMES[0]}",
                7.0,
                7.0,
                "1",
                "robot file",
            ),
        ),
        (
            {"velocity_rad_s": SLOW[:6]},
            own("shape", "joint state: [7, 7, 6] values", 7.0, 7.0, "1", "robot file"),
        ),
        (
            {"position_rad": PLACE[:5]},
            own("shape", "joint state: [7, 5, 7] values", 5.0, 7.0, "1", "robot file"),
        ),
    ],
)
def test_a_reading_that_cannot_be_used_is_not_given(changes, expected):
    reading, record = inputs_at().reading(measured(**changes), LIMITS, NOW)
    assert reading is None
    assert record == expected


def test_no_reading_at_all():
    assert inputs_at().reading(None, LIMITS, NOW) == (
        None,
        Record("state_age", -1.0, 0.0, -1.0, "s", "profile", "no joint state was received"),
    )


def test_a_reading_whose_stamp_goes_back_is_not_given_and_the_stamp_before_stays():
    inputs = inputs_at()
    assert inputs.reading(measured(), LIMITS, NOW)[1] is None
    for back in (0.015625, 0.0078125):
        assert inputs.reading(measured(stamp_s=NOW - back), LIMITS, NOW) == (
            None,
            Record(
                "clock", NOW - back, NOW, -back, "s", "robolearn",
                f"the joint state's clock went back by {back * 1e3:.3f} ms",
            ),
        )  # fmt: skip
    assert inputs.reading(measured(), LIMITS, NOW)[1] is None


def test_an_old_reading_is_given_with_its_age():
    stamp, source = NOW - 0.0625, LIMITS.source("state_age_max_s")
    reading, record = inputs_at().reading(measured(stamp_s=stamp), LIMITS, NOW)
    np.testing.assert_array_equal(reading.position_rad, PLACE)
    assert record == Record(
        "state_age", 0.0625, 0.05, 0.05 - 0.0625, "s", source, "the joint state is 62.5 ms old"
    )


def test_a_reading_from_the_future_is_not_given():
    source, text = LIMITS.source("clock_ahead_max_s"), "the joint state is stamped in the future"
    for ahead in (0.0078125, 1e9):
        assert inputs_at().reading(measured(stamp_s=NOW + ahead), LIMITS, NOW) == (
            None, Record("clock", ahead, 0.004, 0.004 - ahead, "s", source, text)
        )  # fmt: skip


# ---- joint states that jump


STILL = np.zeros(N)
POSSIBLE = np.array([2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26])  # rad/s, the FR3's
JUMP = 0.02


def track(*places, every_s=0.002, inputs=None, keep=True):
    """Readings at places [n] rad, one after the other from NOW on: the last reading and what was wrong with it."""
    inputs = inputs or inputs_at()
    found = None
    for k, place in enumerate(places):
        now = NOW + every_s * k
        found = inputs.reading(
            measured(position_rad=place, velocity_rad_s=STILL, stamp_s=now), LIMITS, now, keep
        )
    return found


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("joint", range(N))
def test_how_far_a_joint_can_have_got_in_the_time_passed(joint, sign):
    most = POSSIBLE[joint] * 0.0078125 + JUMP
    far = sign * np.eye(N)[joint]
    assert track(PLACE, PLACE + (most - 1e-9) * far, every_s=0.0078125)[1] is None
    reading, record = track(PLACE, PLACE + (most + 1e-3) * far, every_s=0.0078125)
    assert reading is None
    assert record == Record(
        "state_jump", pytest.approx(most + 1e-3), pytest.approx(most), pytest.approx(-1e-3), "rad",
        LIMITS.source("state_jump_max_rad"),
        f"{NAMES[joint]}: the joint state jumps by {most + 1e-3:.3g} rad in 7.81 ms, an arm by {most:.3g} rad",
        NAMES[joint],
    )  # fmt: skip


def test_a_slow_profile_does_not_make_the_arm_slower():
    slow = compile_limits(profile_with(velocity_max_rad_s=[0.1] * N).mode("automatic"), ROBOT)
    np.testing.assert_array_equal(slow.velocity_possible_rad_s, POSSIBLE)


def test_a_jump_that_is_refused_is_not_where_the_next_is_judged_from():
    inputs, far = inputs_at(), PLACE + 0.5
    assert track(PLACE, far, inputs=inputs)[1].rule == "state_jump"
    back = inputs.reading(measured(velocity_rad_s=STILL, stamp_s=NOW + 0.004), LIMITS, NOW + 0.004)
    assert back[1] is None
    np.testing.assert_array_equal(back[0].position_rad, PLACE)


def test_what_goes_on_where_it_jumped_to_is_not_believed_later():
    inputs, far = inputs_at(), PLACE + 0.5 * np.eye(N)[2]
    record = track(PLACE, *[far] * 500, inputs=inputs)[1]  # in a second it could be there
    text = (
        f"{NAMES[2]}: the joint state stays at the position that it jumped to, 0.5 rad from where the arm was"
    )
    source = LIMITS.source("state_jump_max_rad")
    assert record == Record(
        "state_jump", pytest.approx(0.5), 0.0, pytest.approx(-0.5), "rad", source, text, NAMES[2]
    )
    for after_s, believed in (
        (0.02, False),
        (0.2, True),
    ):  # a pause of the stream, shorter and longer than it may be
        now = NOW + 0.002 * 500 + after_s
        given = inputs.reading(
            measured(position_rad=far, velocity_rad_s=STILL, stamp_s=now), LIMITS, now, keep=False
        )
        assert (given[1] is None) is believed


def test_another_place_than_the_one_jumped_to_is_believed_once_it_is_in_reach():
    inputs = inputs_at()
    assert track(PLACE, *[PLACE + 0.5] * 100, inputs=inputs)[1].rule == "state_jump"
    now = NOW + 0.2
    given = inputs.reading(measured(position_rad=PLACE + 0.3, velocity_rad_s=STILL, stamp_s=now), LIMITS, now)
    assert given[1] is None


def test_the_allowance_counts_once_in_a_tenth_of_a_second():
    """Steps of 2 mrad more than speed allows are within it ten times over, and no more."""
    step = POSSIBLE * 0.002 + 0.0019
    places = [PLACE + k * step for k in range(12)]
    assert track(*places[:11])[1] is None
    assert track(*places)[1].rule == "state_jump"
    inputs = inputs_at()
    for k in range(1000):  # on and on at the highest speed, and back
        turn = abs((k + 250) % 500 - 250)
        now = NOW + 0.002 * k
        place = PLACE + POSSIBLE * 0.002 * (250 - turn)
        given = inputs.reading(measured(position_rad=place, velocity_rad_s=STILL, stamp_s=now), LIMITS, now)
        assert given[1] is None


def test_what_is_only_looked_at_is_not_kept():
    inputs = inputs_at()
    assert track(PLACE, inputs=inputs)[1] is None
    for far in (0.001, 0.5):
        now = NOW + 0.003
        for _ in range(3):
            inputs.reading(
                measured(position_rad=PLACE + far, velocity_rad_s=STILL, stamp_s=now), LIMITS, now, keep=False
            )
    assert track(PLACE, PLACE, inputs=inputs)[1] is None
    assert inputs._jumped is None


# ---- commands


def test_a_new_command_is_a_copy_in_the_robots_order_and_is_given_once():
    inputs = inputs_at()
    position, velocity = PLACE.copy(), SLOW.copy()
    sent = command(position_rad=position, velocity_rad_s=velocity)
    given, record = take(inputs, sent, LIMITS, NOW - 1.0)
    assert record is None
    position[:], velocity[:] = 9.0, 9.0
    np.testing.assert_array_equal(given.position_rad, PLACE)
    np.testing.assert_array_equal(given.velocity_rad_s, SLOW)
    assert (given.stamp_s, given.source) == (NOW, "policy:a")
    assert take(inputs, sent, LIMITS, NOW - 1.0) == (None, None)
    assert take(inputs, None, LIMITS, NOW - 1.0) == (None, None)


def test_commands_in_another_order_and_without_velocity():
    inputs = inputs_at()
    turned = command(joint_names=NAMES[::-1], position_rad=PLACE[::-1], velocity_rad_s=SLOW[::-1])
    given, _ = take(inputs, turned, LIMITS, NOW - 1.0)
    np.testing.assert_array_equal(given.position_rad, PLACE)
    np.testing.assert_array_equal(given.velocity_rad_s, SLOW)
    given, record = take(inputs, command(velocity_rad_s=None, stamp_s=NOW + 0.002), LIMITS, NOW - 1.0)
    assert record is None
    assert given.velocity_rad_s is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"position_rad": np.where(PLACE > 0.45, np.nan, PLACE)},
            Record("finite", 2.0, 0.0, -2.0, "1", "robolearn", "command position: 2 not finite"),
        ),
        (
            {"velocity_rad_s": np.where(SLOW > 0.055, np.inf, SLOW)},
            own("finite", "command velocity: 1 not finite"),
        ),
        ({"stamp_s": np.nan}, own("finite", "command stamp is nan")),
        (
            {"joint_names": (*NAMES[:-1], "z")},
            own(
                "shape", f"command: joints do not fit the robot: {NAMES[-1]}, z", 7.0, 7.0, "1", "robot file"
            ),
        ),
        (
            {"velocity_rad_s": SLOW[:4]},
            own("shape", "command: [7, 7, 4] values", 7.0, 7.0, "1", "robot file"),
        ),
        (
            {"position_rad": np.zeros(8)},
            own("shape", "command: [7, 8, 7] values", 8.0, 7.0, "1", "robot file"),
        ),
    ],
)
def test_a_command_that_cannot_be_used_is_not_given(changes, expected):
    assert take(inputs_at(), command(**changes), LIMITS, NOW - 1.0) == (None, expected)


def waited(seconds):
    source = LIMITS.source("first_command_wait_max_s")
    text = f"no command for {seconds:.2f} s after the start"
    return Record("command_age", seconds, 2.0, 2.0 - seconds, "s", source, text)


def test_the_first_command_is_waited_for_and_one_from_before_the_start_is_none():
    inputs = inputs_at()
    before = command(stamp_s=NOW - 2.0 - 0.0078125)
    for given in (None, before):
        assert take(inputs, given, LIMITS, NOW - 2.0) == (None, None)
    assert take(inputs, None, LIMITS, NOW - 2.5) == (None, waited(2.5))
    late = command(stamp_s=NOW - 3.0)
    assert take(inputs, late, LIMITS, NOW - 2.5) == (None, waited(2.5))


def aged(seconds, text="the newest command is {:.1f} ms old"):
    source = LIMITS.source("command_age_max_s")
    return Record("command_age", seconds, 0.06, 0.06 - seconds, "s", source, text.format(seconds * 1e3))


def test_the_newest_command_grows_old():
    inputs = inputs_at()
    sent = command(stamp_s=NOW - 0.03125)
    assert take(inputs, sent, LIMITS, NOW - 1.0)[1] is None
    inputs.now_s = NOW + 0.015625
    assert take(inputs, None, LIMITS, NOW - 1.0) == (None, None)
    inputs.now_s = NOW + 0.03125
    for again in (None, sent, command(stamp_s=NOW - 2.0)):  # nothing, the same, one from before the start
        assert take(inputs, again, LIMITS, NOW - 1.0) == (None, aged(0.0625))


def test_a_new_command_that_is_too_old_or_early_is_not_given_and_not_kept():
    inputs = inputs_at()
    assert take(inputs, command(stamp_s=NOW - 0.0625), LIMITS, NOW - 1.0) == (None, aged(0.0625))
    ahead = Record(
        "clock", 0.0078125, 0.004, 0.004 - 0.0078125, "s", LIMITS.source("clock_ahead_max_s"),
        "a command is stamped in the future",
    )  # fmt: skip
    assert take(inputs, command(stamp_s=NOW + 0.0078125), LIMITS, NOW - 1.0) == (None, ahead)
    given, record = take(inputs, command(stamp_s=NOW - 0.03125, source="policy:b"), LIMITS, NOW - 1.0)
    assert given is not None
    assert record is None


def test_a_command_at_the_very_start_is_meant_for_it():
    given, record = take(inputs_at(), command(stamp_s=NOW - 0.03125), LIMITS, NOW - 0.03125)
    assert given is not None
    assert record is None


def follow(inputs, **changes):
    """A first command, and what becomes of a second one."""
    assert take(inputs, command(stamp_s=NOW - 0.03125), LIMITS, NOW - 1.0)[1] is None
    return take(inputs, command(**changes), LIMITS, NOW - 1.0)


def test_the_same_command_sent_again_is_no_new_one():
    assert follow(inputs_at(), stamp_s=NOW - 0.03125) == (None, None)


@pytest.mark.parametrize("change", [{"source": "policy:b"}, {"position_rad": PLACE + 1e-9}])
def test_another_command_with_the_stamp_of_the_last_is_refused(change):
    text = "two different commands with one stamp"
    assert follow(inputs_at(), stamp_s=NOW - 0.03125, **change) == (
        None, Record("clock", 0.0, 0.0, -1.0, "s", "robolearn", text)
    )  # fmt: skip


def test_a_policy_swapped_in_motion_goes_on_under_the_start_of_the_one_before():
    given, record = follow(inputs_at(), source="policy:a+policy:b")
    assert (given.source, record) == ("policy:a+policy:b", None)


def test_a_second_source_is_refused_and_not_kept():
    inputs = inputs_at()
    expected = own("source", "commands come from 'policy:b', the start was for 'policy:a'")
    assert follow(inputs, source="policy:b") == (None, expected)
    assert take(inputs, command(source="policy:b"), LIMITS, NOW - 1.0)[1] == expected
    assert take(inputs, command(), LIMITS, NOW - 1.0)[1] is None


def test_a_command_stamp_that_goes_back_is_refused():
    _, record = follow(inputs_at(), stamp_s=NOW - 0.046875)
    assert record == Record(
        "clock", NOW - 0.046875, NOW - 0.03125, -0.015625, "s", "robolearn",
        "the command's clock went back by 15.625 ms",
    )  # fmt: skip


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_jump_is_refused_in_full_and_one_within_the_limit_passes(sign):
    jump = np.zeros(N)
    jump[5] = sign * 0.125
    _, record = follow(inputs_at(), position_rad=PLACE + jump)
    assert record == Record(
        "command_jump", (PLACE + jump - PLACE)[5], 0.1, 0.1 - abs((PLACE + jump - PLACE)[5]), "rad",
        LIMITS.source("command_jump_max_rad"), f"{NAMES[5]}: 0.125 rad is above 0.1 rad", NAMES[5],
    )  # fmt: skip
    assert follow(inputs_at(), position_rad=PLACE + 0.79 * jump)[1] is None


def test_after_a_start_another_source_may_begin_anywhere():
    inputs = inputs_at()
    assert follow(inputs, source="policy:a")[1] is None
    inputs.forget_commands()
    assert take(inputs, None, LIMITS, NOW - 1.0) == (None, None)
    given, record = take(inputs, command(source="policy:b", position_rad=PLACE + 1.0), LIMITS, NOW - 1.0)
    assert given is not None
    assert record is None


# ---- several commands in one cycle


def arrive(*given, now=NOW):
    inputs = inputs_at(now)
    return inputs, inputs.commands(given, LIMITS, NOW - 1.0)


def in_a_row(count, **changes):
    """Commands a period apart, the last of them of now; changes are of the one before the last."""
    each = [
        {"stamp_s": NOW - 0.002 * (count - 1 - k), "position_rad": PLACE + 0.01 * k} for k in range(count)
    ]
    each[-2] |= changes
    return [command(**values) for values in each]


def test_of_good_commands_all_are_given_in_order_and_the_newest_counts():
    given = in_a_row(3)
    inputs, selection = arrive(*given)
    assert [one.stamp_s for one in selection.commands] == [one.stamp_s for one in given]
    assert (selection.problem, selection.index) == (None, 2)
    again = inputs.commands(given, LIMITS, NOW - 1.0)  # the last came already; the others are older than it
    assert again.problem.rule == "clock"
    assert inputs.commands(given[-1:], LIMITS, NOW - 1.0) == ([], None, 0)


BAD_COMMANDS = {
    "finite position": ({"position_rad": PLACE * np.nan}, "finite"),
    "finite velocity": ({"velocity_rad_s": SLOW + np.inf}, "finite"),
    "finite stamp": ({"stamp_s": np.nan}, "finite"),
    "too short": ({"position_rad": PLACE[:6]}, "shape"),
    "other joints": ({"joint_names": ("a", *NAMES[1:])}, "shape"),
    "from the future": ({"stamp_s": NOW + 1.0}, "clock"),
    "back in time": ({"stamp_s": NOW - 0.5}, "clock"),
    "other source": ({"source": "policy:b"}, "source"),
    "jump": ({"position_rad": PLACE + 0.2}, "command_jump"),
}


@pytest.mark.parametrize(("changes", "rule"), list(BAD_COMMANDS.values()), ids=list(BAD_COMMANDS))
def test_a_bad_command_never_hides_before_a_good_one_and_changes_nothing(changes, rule):
    given = in_a_row(4, **changes)
    inputs, selection = arrive(*given)
    assert (selection.commands, selection.problem.rule, selection.index) == ([], rule, 2)
    # none of them was kept: the same without the bad one goes through as if it had never come
    good = inputs.commands([*given[:2], given[3]], LIMITS, NOW - 1.0)
    assert (len(good.commands), good.problem, good.index) == (3, None, 2)


def test_old_commands_before_a_fresh_one_are_no_stop_and_alone_they_are():
    old = [command(stamp_s=NOW - 0.2), command(stamp_s=NOW - 0.1)]
    _, selection = arrive(*old, command())
    assert (len(selection.commands), selection.problem) == (3, None)
    inputs, selection = arrive(*old)
    assert selection == ([], aged(NOW - (NOW - 0.1)), 1)
    assert inputs.commands([command(source="policy:b")], LIMITS, NOW - 1.0).problem is None


def test_commands_from_before_the_start_are_left_out_whatever_is_in_them():
    before = [command(stamp_s=NOW - 1.5), command(stamp_s=NOW - 1.2, source="policy:b")]
    _, selection = arrive(*before, command())
    assert ([one.stamp_s for one in selection.commands], selection.problem) == ([NOW], None)


def test_a_flood_of_commands_is_a_stop():
    most = round(LIMITS.mode.commands_per_cycle_max.value)
    given = in_a_row(most)
    assert arrive(*given)[1].problem is None
    inputs, selection = arrive(*in_a_row(most + 1))
    source = LIMITS.source("commands_per_cycle_max")
    text = f"{most + 1} commands arrived in one cycle, at most {most} may"
    assert selection == (
        [], Record("command_flood", most + 1.0, most, -1.0, "1", source, text), most
    )  # fmt: skip
    assert inputs.commands(given, LIMITS, NOW - 1.0).problem is None


# ---- surroundings


def around(**changes):
    values = {
        "person_distance_m": 3.0,
        "person_stamp_s": NOW,
        "enabling_device": None,
        "enabling_stamp_s": NOW,
        "stop_requested": False,
    }
    return Surroundings(**(values | changes))


def test_nothing_is_wrong_around():
    assert inputs_at().surroundings(around(), LIMITS) is None
    assert inputs_at().surroundings(around(enabling_device=False), LIMITS) is None  # not needed in this mode


def test_a_request_to_stop():
    expected = Record("stop_request", 1.0, 0.0, -1.0, "1", "operator", "a stop was requested")
    assert inputs_at().surroundings(around(stop_requested=True), LIMITS) == expected


@pytest.mark.parametrize("held", [False, None])
def test_the_enabling_device_is_held_where_it_is_required(held):
    expected = Record("enabling_device", 0.0, 1.0, -1.0, "1", "profile", "the enabling device is not held")
    assert inputs_at().surroundings(around(enabling_device=held), MANUAL) == expected
    silent = around(enabling_device=True, person_distance_m=None, person_stamp_s=None)
    assert inputs_at().surroundings(silent, MANUAL) is None  # no person sensor in this mode


def test_the_enabling_device_was_heard_a_short_while_ago():
    held = {"enabling_device": True}
    assert inputs_at().surroundings(around(**held, enabling_stamp_s=NOW - 0.25), MANUAL) is None
    limit = MANUAL.mode.enabling_age_max_s
    assert inputs_at().surroundings(around(**held, enabling_stamp_s=NOW - 0.5), MANUAL) == Record(
        "enabling_age", 0.5, limit.value, limit.value - 0.5, "s", limit.source,
        "the enabling device is 500.0 ms old",
    )  # fmt: skip
    assert inputs_at().surroundings(around(**held, enabling_stamp_s=NOW + 0.0078125), MANUAL) == Record(
        "clock", 0.0078125, 0.004, 0.004 - 0.0078125, "s", limit.source,
        "the enabling device is stamped in the future",
    )  # fmt: skip
    assert inputs_at().surroundings(around(**held, enabling_stamp_s=None), MANUAL) == Record(
        "enabling_age", -1.0, 0.0, -1.0, "s", "profile", "the enabling device has no time stamp"
    )
    assert inputs_at().surroundings(around(**held, enabling_stamp_s=np.nan), MANUAL) == own(
        "finite", "enabling device stamp is nan"
    )
    assert inputs_at().surroundings(around(**held, enabling_stamp_s=None), LIMITS) is None  # not needed there


@pytest.mark.parametrize("missing", ["person_distance_m", "person_stamp_s"])
def test_no_news_of_people(missing):
    expected = Record(
        "person_age", -1.0, 0.0, -1.0, "s", "profile", "nothing was received from the person sensor"
    )
    assert inputs_at().surroundings(around(**{missing: None}), LIMITS) == expected


@pytest.mark.parametrize("changes", [{"person_distance_m": np.nan}, {"person_stamp_s": np.nan}])
def test_news_of_people_that_is_no_number(changes):
    expected = own("finite", "person sensor is nan")
    assert inputs_at().surroundings(around(**changes), LIMITS) == expected


def test_old_and_early_news_of_people():
    limit = LIMITS.mode.separation.person_age_max_s
    old = limit.value + 0.25
    record = inputs_at().surroundings(around(person_stamp_s=NOW - old), LIMITS)
    assert record == Record(
        "person_age", NOW - (NOW - old), limit.value, limit.value - (NOW - (NOW - old)), "s", limit.source,
        f"the person sensor is {old * 1e3:.1f} ms old",
    )  # fmt: skip
    record = inputs_at().surroundings(around(person_stamp_s=NOW + 0.0078125), LIMITS)
    assert record == Record(
        "clock",
        0.0078125,
        0.004,
        0.004 - 0.0078125,
        "s",
        limit.source,
        "the person sensor is stamped in the future",
    )


def test_a_command_that_came_before_is_skipped_and_the_one_after_it_counts():
    first, second = in_a_row(2)
    inputs, _ = arrive(first)
    assert [one.stamp_s for one in inputs.commands([first, second], LIMITS, NOW - 1.0).commands] == [
        second.stamp_s
    ]


def test_a_jump_that_is_only_looked_at_is_not_remembered():
    for keep in (True, False):
        inputs = inputs_at()
        assert inputs.reading(measured(), LIMITS, NOW)[1] is None
        there = PLACE + 0.09 * np.eye(N)[0]
        at_once = measured(position_rad=there, stamp_s=NOW + 0.001)
        assert inputs.reading(at_once, LIMITS, NOW + 0.001, keep=keep)[1].rule == "state_jump"
        # by now an arm could be there, but one that was there before its time is not believed
        later = measured(position_rad=there, stamp_s=NOW + 0.045)
        problem = inputs.reading(later, LIMITS, NOW + 0.045)[1]
        assert (problem is None) == (not keep)


def test_a_reading_exactly_as_far_as_an_arm_can_get_is_believed():
    jump = LIMITS.mode.state_jump_max_rad.value
    inputs = inputs_at()
    assert inputs.reading(measured(position_rad=np.zeros(N)), LIMITS, NOW)[1] is None
    assert inputs.reading(measured(position_rad=np.full(N, jump)), LIMITS, NOW)[1] is None
    assert inputs.reading(measured(position_rad=np.full(N, -2 * jump)), LIMITS, NOW)[1].rule == "state_jump"


def test_the_joint_that_jumps_farthest_beyond_its_reach_is_named():
    jump, elapsed = LIMITS.mode.state_jump_max_rad.value, 0.02
    able = LIMITS.velocity_possible_rad_s
    slow, fast = int(np.argmin(able)), int(np.argmax(able))
    assert able[fast] - able[slow] > 1.0
    beyond = np.zeros(N)
    beyond[slow], beyond[fast] = able[slow] * elapsed + jump + 0.015, able[fast] * elapsed + jump + 0.005
    inputs = inputs_at()
    assert inputs.reading(measured(), LIMITS, NOW)[1] is None
    found = inputs.reading(
        measured(position_rad=PLACE + beyond, stamp_s=NOW + elapsed), LIMITS, NOW + elapsed
    )[1]
    assert found.where == NAMES[slow]
    assert found.margin == pytest.approx(-0.015)

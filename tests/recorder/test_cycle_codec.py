"""One cycle as bytes and back: every bit of every input, also of those that do not fit the layout."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from robolearn.errors import LogError
from robolearn.recorder.cycle_codec import Layout, Wrench
from robolearn.safety.types import Command, Decision, Measured, Record, State, Surroundings, Verdict

NAMES = ("a", "b", "c")
LAYOUT = Layout(NAMES)
ANY = st.floats(width=64)
VECTOR = npst.arrays(np.float64, 3, elements=ANY)
TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=20)
RECORD = st.builds(Record, TEXT, ANY, ANY, ANY, TEXT, TEXT, TEXT, TEXT)


def same(a, b) -> bool:
    """Equal bit for bit, NaN and the sign of zero included."""
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(
            same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a)
        )
    if isinstance(a, np.ndarray):
        return a.shape == np.shape(b) and a.tobytes() == np.asarray(b).tobytes()
    if isinstance(a, float) and isinstance(b, float):
        return np.float64(a).tobytes() == np.float64(b).tobytes()
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def command_of(names, vectors):
    return st.builds(Command, st.just(names), vectors, ANY, st.none() | vectors, TEXT)


# Commands that fit the arm, and now and then one of two joints.
COMMAND = command_of(NAMES, VECTOR) | command_of(("a", "b"), npst.arrays(np.float64, 2, elements=ANY))


@given(
    commands=st.lists(COMMAND, max_size=4),
    measured=st.none() | st.builds(Measured, st.just(NAMES), VECTOR, VECTOR, ANY, st.none() | VECTOR),
    wrench=st.none() | st.builds(Wrench, VECTOR, VECTOR, ANY),
    surroundings=st.builds(
        Surroundings,
        st.none() | ANY,
        st.none() | ANY,
        st.booleans(),
        st.none() | st.booleans(),
        st.none() | ANY,
    ),
    decision=st.builds(
        Decision,
        st.sampled_from(Verdict),
        VECTOR,
        VECTOR,
        st.booleans(),
        st.sampled_from(State),
        st.lists(RECORD, max_size=3).map(tuple),
        ANY,
        command_index=st.none() | st.integers(0, 3),
    ),
    now_s=ANY,
)
def test_a_cycle_comes_back_bit_for_bit(commands, measured, surroundings, decision, now_s, wrench):
    data = LAYOUT.pack(7, 8, now_s, commands, measured, surroundings, decision, wrench)
    cycle = LAYOUT.unpack(data)
    assert (cycle.number, cycle.monotonic_ns) == (7, 8)
    assert same(cycle.now_s, float(now_s))
    assert same(cycle.commands, tuple(commands))
    assert same(cycle.measured, measured)
    assert same(cycle.wrench, wrench)
    assert same(cycle.surroundings, surroundings)
    assert same(cycle.decision, decision)
    assert same(LAYOUT.records(data), decision.records)
    assert LAYOUT.source(data) == (None if cycle.command is None else cycle.command.source.encode())


@pytest.mark.parametrize(("index", "column"), [(0, 0), (1, 1), (2, 2), (None, 2), (7, 2)])
def test_the_columns_hold_the_command_that_the_decision_is_about(index, column):
    commands = [Command(NAMES, np.full(3, float(k)), float(k), None, f"s{k}") for k in range(3)]
    data = LAYOUT.pack(0, 0, 0.0, commands, None, Surroundings(), decided(command_index=index))
    assert LAYOUT.columns([data])["command_stamp_s"].tolist() == [column]
    assert LAYOUT.source(data) == f"s{column}".encode()
    cycle = LAYOUT.unpack(data)
    assert same(cycle.command, commands[column])
    assert same(cycle.commands, tuple(commands))


def decided(**changes) -> Decision:
    fields = {"verdict": Verdict.PASS, "command_rad": np.zeros(3), "velocity_rad_s": np.zeros(3)}
    return Decision(**{**fields, "latched": False, "state": State.RUNNING, **changes})


@pytest.mark.parametrize(
    ("names", "position", "velocity"),
    [
        (("c", "b", "a"), np.array([1.0, np.nan, 3.0]), np.zeros(3)),
        (("a",), np.array([1.0]), None),
        (NAMES, np.zeros((2, 3)), None),
        (NAMES, np.zeros(4), np.zeros(3)),
        ((), np.zeros(0), np.zeros(0)),
    ],
)
def test_inputs_of_another_shape_are_kept_as_they_were(names, position, velocity):
    command = Command(names, position, 1.25, velocity, "rogue")
    measured = Measured(names, position, position, -0.0)
    cycle = LAYOUT.unpack(LAYOUT.pack(0, 0, 0.0, [command, command], measured, Surroundings(), decided()))
    assert same(cycle.commands, (command, command))
    assert same(cycle.measured, measured)


def test_inputs_that_are_no_numbers_are_kept_as_text():
    command = Command(NAMES, "not numbers", 1.0)  # type: ignore[arg-type]
    cycle = LAYOUT.unpack(LAYOUT.pack(0, 0, 0.0, [command], None, Surroundings(), decided()))
    assert cycle.command is not None
    assert cycle.command.position_rad == "'not numbers'"


def test_a_cycle_with_nothing_to_publish_comes_back_as_such():
    nothing = decided(
        verdict=Verdict.STOP, command_rad=np.zeros(0), velocity_rad_s=np.zeros(0), publish=False
    )
    cycle = LAYOUT.unpack(LAYOUT.pack(0, 0, 0.0, (), None, Surroundings(), nothing))
    assert same(cycle.decision, nothing)


def test_efforts_that_did_not_come_are_none_and_those_that_are_no_number_stay_such():
    zeros = np.zeros(3)
    for effort in (
        None,
        np.array([1.0, np.nan, -0.0]),
        np.full(3, np.nan),
        np.array([1.0, 2.0]),
        np.zeros(0),
    ):
        data = LAYOUT.pack(
            0, 0, 0.0, (), Measured(NAMES, zeros, zeros, 1.0, effort), Surroundings(), decided()
        )
        measured = LAYOUT.unpack(data).measured
        assert measured is not None
        assert same(measured.effort_nm, effort)
        assert same(measured.position_rad, zeros)
    strange = Measured(("z",), np.zeros(1), np.zeros(1), 1.0, np.array([7.0]))
    assert same(
        LAYOUT.unpack(LAYOUT.pack(0, 0, 0.0, (), strange, Surroundings(), decided())).measured, strange
    )


def test_a_wrench_of_another_shape_is_refused():
    wrench = Wrench(np.zeros(3), np.zeros(2), 0.0)
    with pytest.raises(LogError, match="The wrench has 5 numbers, expected 3 and 3"):
        LAYOUT.pack(0, 0, 0.0, (), None, Surroundings(), decided(), wrench)


def test_effort_and_wrench_are_columns():
    measured = Measured(NAMES, np.zeros(3), np.zeros(3), 1.0, np.array([1.0, 2.0, 3.0]))
    wrench = Wrench(np.array([4.0, 5.0, 6.0]), np.array([7.0, 8.0, 9.0]), 0.5)
    data = [
        LAYOUT.pack(0, 0, 0.0, (), measured, Surroundings(), decided(), wrench),
        LAYOUT.pack(1, 1, 0.0, (), None, Surroundings(), decided()),
    ]
    rows = LAYOUT.columns(data)
    assert rows["measured_effort_nm"][0].tolist() == [1.0, 2.0, 3.0]
    assert rows["wrench_force_n"][0].tolist() == [4.0, 5.0, 6.0]
    assert rows["wrench_torque_nm"][0].tolist() == [7.0, 8.0, 9.0]
    assert rows["wrench_stamp_s"][0] == 0.5
    assert rows["also_present"].tolist() == [3, 0]
    assert np.isnan(rows["measured_effort_nm"][1]).all()
    assert np.isnan(rows["wrench_force_n"][1]).all()


def test_a_decision_for_another_arm_is_refused():
    with pytest.raises(LogError, match="for 2 joints, the log for 3"):
        LAYOUT.pack(0, 0, 0.0, (), None, Surroundings(), decided(command_rad=np.zeros(2)))


def test_columns_are_the_fixed_part_of_many_cycles():
    data = [
        LAYOUT.pack(n, n, n / 10, [Command(NAMES, np.full(3, n), 0.0)], None, Surroundings(), decided())
        for n in range(1, 4)
    ]
    # An integer array does not fit the layout: it is kept beside it, and its columns are NaN.
    rows = LAYOUT.columns(data)
    assert rows["cycle"].tolist() == [1, 2, 3]
    assert rows["now_s"].tolist() == [0.1, 0.2, 0.3]
    assert np.isnan(rows["command_position_rad"]).all()
    assert rows["odd"].tolist() == [1, 1, 1]
    assert LAYOUT.dtype.itemsize == LAYOUT.fixed_bytes


def test_every_field_of_the_inputs_and_of_the_decision_is_recorded():
    """A field that someone adds must be packed too, or a replay would go another way."""
    known = {
        Command: {"joint_names", "position_rad", "stamp_s", "velocity_rad_s", "source"},
        Measured: {"joint_names", "position_rad", "velocity_rad_s", "stamp_s", "effort_nm"},
        Surroundings: {
            "person_distance_m", "person_stamp_s", "stop_requested", "enabling_device", "enabling_stamp_s",
        },
        Record: {"rule", "value", "limit", "margin", "unit", "source", "text", "where"},
        Decision: {
            "verdict", "command_rad", "velocity_rad_s", "latched", "state", "records", "stopping_time_s",
            "stop_report", "publish", "command_index",
        },
    }  # fmt: skip
    for kind, fields in known.items():
        assert {field.name for field in dataclasses.fields(kind)} == fields

"""Nothing that was refused changes anything: a property of every input of every rule.

Two monitors get the same, but for one cycle: in it one of them gets an input that must be refused, the other only a
request to stop. What both decide afterwards is the same, and a reset and a start are possible once inputs are good.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safety_rig import DT, Rig

from robolearn.safety.types import State, Verdict

QUICK = (
    Phase.explicit,
    Phase.reuse,
    Phase.generate,
)  # what is drawn is small: making it smaller takes minutes
NOT_NUMBERS = st.sampled_from([np.nan, np.inf, -np.inf])
AHEAD_S = st.sampled_from([0.0101, 0.05, 1.0, 1e3, 1e9, 1e15, 1e300])
BACK_S = st.sampled_from([0.0021, 0.1, 1e3, 1e9])
FAR_RAD = st.sampled_from([0.2, -0.2, 3.0, -25.0, 1e6, 1e300])
JOINT = st.integers(0, 6)


@st.composite
def bad_values(draw):
    """Seven numbers around home, one of them bad."""
    values = Rig.home() + draw(st.floats(-1e-3, 1e-3))
    values[draw(JOINT)] = draw(NOT_NUMBERS)
    return values


@st.composite
def far_values(draw):
    """Where the arm is not."""
    values = Rig.home()
    values[draw(JOINT)] += draw(FAR_RAD)
    return values


def one(**fields):
    """A dictionary with one of the fields."""
    return st.one_of(*[st.fixed_dictionaries({name: values}) for name, values in fields.items()])


SHAPES = st.sampled_from([0, 1, 6, 8]).map(np.zeros)
NAMES = st.sampled_from([(), ("a",) * 7, tuple(f"fr3_joint{k}" for k in range(2, 9))])
BAD_STATE = one(
    position_rad=bad_values() | far_values() | SHAPES,
    velocity_rad_s=bad_values() | SHAPES,
    joint_names=NAMES,
    ahead_s=AHEAD_S | NOT_NUMBERS,
    back_s=BACK_S,
)
BAD_COMMAND = one(
    position_rad=bad_values() | far_values() | SHAPES,
    velocity_rad_s=bad_values() | SHAPES,
    joint_names=NAMES,
    ahead_s=AHEAD_S | NOT_NUMBERS,
    back_s=st.sampled_from([0.0021, 0.1]),  # one from before the start is none
    source=st.just("rogue"),
)
BAD_AROUND = one(
    person_distance_m=NOT_NUMBERS | st.none(),
    person_ahead_s=AHEAD_S | NOT_NUMBERS | BACK_S.map(lambda s: -s - 0.3),
    enabling_device=st.sampled_from([False, None]),
    enabling_ahead_s=AHEAD_S | NOT_NUMBERS | BACK_S.map(lambda s: -s - 0.3),
)
BAD_NOW = NOT_NUMBERS | AHEAD_S.filter(lambda s: s > 0.03) | BACK_S.map(lambda s: -s)
BAD = st.one_of(
    st.tuples(st.just("state"), BAD_STATE | st.none()),
    st.tuples(st.just("command"), BAD_COMMAND),
    st.tuples(st.just("around"), BAD_AROUND),
    st.tuples(st.just("now"), BAD_NOW),
)


def bad_cycle(rig, kind, value):
    """A cycle of which one input is bad; the arm follows whatever is sent, and rests where nothing is."""
    rig.now = now = rig.now + DT
    changes = dict(value) if isinstance(value, dict) else {}
    stamp = now + changes.pop("ahead_s", 0.0) - changes.pop("back_s", 0.0)
    for name in ("person", "enabling"):
        if f"{name}_ahead_s" in changes:
            changes[f"{name}_stamp_s"] = now + changes.pop(f"{name}_ahead_s")
    plain = {"position_rad": rig.position, "stamp_s": stamp}
    command = rig.command(**(plain | changes)) if kind == "command" else rig.command(rig.position)
    measured = rig.measured(**(plain | changes)) if kind == "state" else rig.measured()
    measured = None if (kind, value) == ("state", None) else measured
    around = rig.around(**changes) if kind == "around" else rig.around()
    rig.decision = rig.monitor.check([command], measured, around, now + value if kind == "now" else now)
    if rig.decision.publish:
        rig.velocity = (rig.decision.command_rad - rig.position) / DT
        rig.position = rig.decision.command_rad
    else:
        rig.velocity = np.zeros(rig.robot.dof)
    return rig.decision


def kept(rig):
    """What the monitor keeps: two joint states, the last command, the time."""
    inputs = rig.monitor._inputs
    return inputs._state, inputs._anchor, inputs._last, rig.monitor._clock.now_s


def rig_at(speed, stopping, mode):
    """A rig that moves one joint, perhaps in a stop."""
    rig = Rig(mode=mode)
    rig.move(0.2, speed, joints=[6])
    if stopping:
        rig.cycle(None, around=rig.around(stop_requested=True))
    return rig


KEPT = {
    "state": (0, 1),
    "command": (2,),
    "around": (),
    "now": (0, 1, 3),
}  # of `kept`, what the bad input is for


@pytest.mark.slow
@given(BAD, st.sampled_from([0.0, 0.1, 0.2]), st.booleans(), st.sampled_from(["automatic", "manual_reduced"]))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=QUICK)
def test_what_was_refused_changes_nothing(bad, speed, stopping, mode):
    rig, other = rig_at(speed, stopping, mode), rig_at(speed, stopping, mode)
    before = kept(rig)
    decision = bad_cycle(rig, *bad)
    if decision.state is State.RUNNING:
        assert bad[0] == "around"  # one mode has no enabling device, the other no person sensor
        return
    after = kept(rig)
    assert all(after[k] is before[k] for k in KEPT[bad[0]])
    other.cycle(other.position, around=other.around(stop_requested=True))
    for each in (rig, other):
        each.idle(150)
        assert each.monitor.state is State.STOPPED
        for answer in (each.reset(), each.start()):
            assert answer.accepted, answer.text
        assert each.cycle(each.position).verdict is Verdict.PASS
    if bad[0] != "now":  # after a gap in the calls the arm is held where it is
        np.testing.assert_array_equal(rig.position, other.position)

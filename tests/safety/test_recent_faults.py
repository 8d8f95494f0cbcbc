"""What went wrong while nothing was followed, by itself: each fault in full, and for how long it counts."""

import numpy as np
import pytest
from safety_rig import profile_with

from robolearn.robots import load_robot
from robolearn.safety.inputs import Inputs
from robolearn.safety.mode_limits import compile_limits
from robolearn.safety.recent_faults import RecentFaults
from robolearn.safety.types import Command, Record

ROBOT = load_robot("fr3")
NAMES, N = ROBOT.joint_names, ROBOT.dof
RECENT_S = 0.0625
NUMBERS = {
    "command_age_max_s": RECENT_S,
    "command_jump_max_rad": 0.1,
    "clock_ahead_max_s": 0.004,
    "commands_per_cycle_max": 3,
}
LIMITS = compile_limits(profile_with(**NUMBERS).mode("automatic"), ROBOT)
NOW = 100.0


class Cycles:
    """Faults, and the cycles in which commands arrive."""

    def __init__(self):
        self.faults, self.inputs = RecentFaults(), Inputs(NAMES)

    def arrive(self, *commands, now_s=NOW):
        self.inputs.now_s = now_s
        self.faults.commands(commands, self.inputs, LIMITS)

    def find(self, rule, now_s=NOW):
        return self.faults.find(rule, now_s)


def command(position=0.0, stamp_s=NOW, source="policy:a"):
    return Command(NAMES, np.full(N, position), stamp_s, np.zeros(N), source)


@pytest.fixture
def cycles():
    return Cycles()


def test_a_fault_counts_up_to_its_end_and_others_are_not_it(cycles):
    assert cycles.find("finite") is None
    record = Record("finite", 1.0, 0.0, -1.0, "1", "robolearn", "measured position")
    cycles.faults.note(record, NOW + 0.5)
    cycles.faults.note(None, NOW + 9.0)
    assert cycles.find("finite", NOW + 0.5) is record
    assert cycles.find("finite", np.nextafter(NOW + 0.5, 200.0)) is None
    assert cycles.find("shape") is None


def test_commands_that_are_good_leave_nothing(cycles):
    for k in range(10):
        cycles.arrive(command(0.01 * k, NOW + 0.002 * k), now_s=NOW + 0.002 * k)
    assert [cycles.find(rule) for rule in ("finite", "clock", "command_jump", "source", "command_flood")] == [
        None
    ] * 5


def test_too_many_at_once_are_a_flood_and_are_not_looked_at(cycles):
    cycles.arrive(*[command(np.nan)] * 4)
    assert cycles.find("command_flood").value == 4
    assert cycles.find("command_flood", NOW + RECENT_S) is not None
    assert cycles.find("command_flood", NOW + RECENT_S + 1e-6) is None
    assert cycles.find("finite") is None
    cycles.arrive(*[command()] * 3, now_s=NOW + 1.0)
    assert cycles.find("command_flood", NOW + 1.0) is None


def test_a_jump_is_judged_from_the_last_good_one_and_what_goes_on_there_is_no_second(cycles):
    cycles.arrive(command())
    cycles.arrive(command(0.5, NOW + 0.002), now_s=NOW + 0.002)  # good by itself
    assert cycles.find("command_jump", NOW + 0.002).value == pytest.approx(0.5)
    cycles.arrive(command(0.51, NOW + 0.004), now_s=NOW + 0.004)
    assert cycles.find("command_jump", NOW + 0.002 + RECENT_S) is not None
    assert cycles.find("command_jump", NOW + 0.004 + RECENT_S) is None
    cycles.arrive(command(np.nan, NOW + 0.1), now_s=NOW + 0.1)  # not good by itself: the one before it stays
    cycles.arrive(command(0.52, NOW + 0.102), now_s=NOW + 0.102)
    assert cycles.find("command_jump", NOW + 0.102) is None
    assert cycles.find("finite", NOW + 0.102) is not None


def test_two_sources_within_the_age_of_a_command_are_a_fault_in_full(cycles):
    cycles.arrive(command(source="policy:a"))
    assert cycles.find("source") is None
    cycles.arrive(command(0.9, NOW + RECENT_S, "policy:b"), now_s=NOW + RECENT_S)
    assert cycles.find("command_jump", NOW + RECENT_S) is None  # each source is judged by itself
    text = "commands come from policy:a, policy:b"
    found = Record("source", 1.0, 0.0, -1.0, "1", "robolearn", text)
    assert cycles.find("source", NOW + RECENT_S) == found
    assert cycles.find("source", NOW + 2 * RECENT_S) == found
    assert cycles.find("source", NOW + 2 * RECENT_S + 1e-6) is None


def test_a_source_that_fell_silent_is_forgotten(cycles):
    cycles.arrive(command(source="policy:a"))
    cycles.arrive(command(0.9, NOW + RECENT_S + 0.001, "policy:b"), now_s=NOW + RECENT_S + 0.001)
    assert cycles.find("source", NOW + RECENT_S + 0.001) is None


def test_of_a_flood_of_sources_the_newest_are_named(cycles):
    for k in range(20):
        cycles.arrive(command(0.0, NOW + 0.001 * k, f"policy:{k}"), now_s=NOW + 0.001 * k)
    found = cycles.find("source", NOW + 0.02)
    assert found.text == "commands come from " + ", ".join(f"policy:{k}" for k in range(12, 20))

"""The policy driver without ROS: it never lurches, whatever happens around it."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from robolearn_ros.driver import CATCH_UP_PERIODS, Go, PolicyDriver

from robolearn.errors import BundleError
from robolearn.policy.slots import Slot

RATE, CONTROL = 500.0, 50.0
RATIO, DT = round(RATE / CONTROL), 1 / RATE
V_MAX, A_MAX = 1.0, 5.0
HOME = np.array([0.3, -0.4])


class FakeRuntime:
    """Accelerates both joints toward full speed, one up and one down, and counts its resets."""

    def __init__(self):
        self.manifest = SimpleNamespace(
            control_hz=CONTROL,
            slots=(Slot("q", (2,), "rad", "joint_state.position"),),
            goal_slots=(),
            limits_assumed={
                "target_velocity_max_rad_s": [V_MAX] * 2,
                "target_acceleration_max_rad_s2": [A_MAX] * 2,
            },
        )
        self.resets, self.error, self.rehearsed = [], None, 0
        self.ood_score = None
        self.inputs = np.zeros(2, np.float32)

    def rehearse(self):
        self.rehearsed += 1

    def reset(self, measured):
        self.position = np.array(measured["joint_state.position"])
        self.velocity = np.zeros(2)
        self.resets.append(self.position)

    def step(self, readings):
        if self.error:
            raise BundleError(self.error)
        before = self.velocity
        self.velocity = np.clip(before + np.array([1, -1]) * A_MAX / CONTROL, -V_MAX, V_MAX)
        self.position = self.position + 0.5 * (before + self.velocity) / CONTROL
        return {"joint_position_target": self.position, "joint_velocity_target": self.velocity}


@pytest.fixture
def runtime():
    return FakeRuntime()


@pytest.fixture
def driver(runtime):
    return PolicyDriver(runtime, RATE)


def play(driver, indices, go, hold=HOME):
    out = []
    for index in indices:
        sources = {"joint_state.position": hold}
        out.append(driver.command(index, go, hold, sources)[0])
        driver.advance(index, go, sources)
    return np.array(out)


def steps(positions):
    return np.abs(np.diff(positions, axis=0)).max()


def test_it_holds_bit_for_bit_until_it_may_run(driver, runtime):
    assert (play(driver, range(37), Go.HOLD) == HOME).all()
    assert runtime.resets == []


def test_it_starts_from_where_the_arm_is_held_without_a_lurch(driver, runtime):
    play(driver, range(23), Go.HOLD)
    path = play(driver, range(23, 123), Go.RUN)
    np.testing.assert_array_equal(runtime.resets, [HOME])
    assert (path[:7] == HOME).all()  # up to and with the next control period's first tick
    assert (np.abs(np.diff(path, 2, axis=0)) <= A_MAX * DT**2 + 1e-9).all()
    assert driver.running
    assert driver.inference.count == 10


def test_each_decision_hands_on_its_score_once_and_no_command_depends_on_it(driver, runtime):
    play(driver, range(10), Go.HOLD)
    familiar = play(driver, range(10, 40), Go.RUN)
    assert driver.take_ood_scores() == []  # of a bundle that has none
    play(driver, range(40, 50), Go.HOLD)
    runtime.ood_score = np.inf
    strange = play(driver, range(50, 80), Go.RUN)
    np.testing.assert_array_equal(familiar, strange)
    assert driver.take_ood_scores() == [np.inf] * 3
    assert [inputs.tolist() for inputs in driver.take_inputs()][-3:] == [[0.0, 0.0]] * 3
    assert driver.take_inputs() == []
    assert driver.take_ood_scores() == []


def test_a_stop_of_the_monitor_makes_it_begin_anew_from_the_new_hold(driver, runtime):
    play(driver, range(10), Go.HOLD)
    play(driver, range(10, 110), Go.RUN)
    elsewhere = HOME + 0.2
    assert (play(driver, range(110, 130), Go.HOLD, elsewhere) == elsewhere).all()
    path = play(driver, range(130, 200), Go.RUN, elsewhere)
    assert np.abs(path[0] - elsewhere).max() == 0.0
    assert steps(path) <= V_MAX * DT + 1e-9
    np.testing.assert_array_equal(runtime.resets, [HOME, elsewhere])


def test_braking_comes_to_rest_within_the_limits_and_stays(driver):
    play(driver, range(10), Go.HOLD)
    moving = play(driver, range(10, 210), Go.RUN)
    path = np.concatenate([moving[-5:], play(driver, range(210, 410), Go.BRAKE)])
    assert (np.abs(np.diff(path, 2, axis=0)) <= A_MAX * DT**2 + 1e-9).all()
    assert (path[-50:] == path[-1]).all()
    assert not driver.running


def test_running_again_after_a_brake_waits_for_rest(driver, runtime):
    play(driver, range(10), Go.HOLD)
    play(driver, range(10, 110), Go.RUN)
    play(driver, range(110, 120), Go.BRAKE)
    play(driver, range(120, 400), Go.RUN)
    assert len(runtime.resets) == 2
    assert driver.running


def test_an_error_of_the_policy_brakes_and_stays_until_the_next_hold(driver, runtime):
    play(driver, range(10), Go.HOLD)
    play(driver, range(10, 60), Go.RUN)
    runtime.error = "the graph returned a value that is not finite"
    play(driver, range(60, 160), Go.RUN)
    assert driver.problem == runtime.error
    runtime.error = None
    path = play(driver, range(160, 300), Go.RUN)
    assert (path == path[-1]).all()
    play(driver, range(300, 310), Go.HOLD, path[-1])
    assert driver.problem == ""
    assert steps(play(driver, range(310, 360), Go.RUN)) > 0


def test_a_policy_that_outruns_its_declared_limits_is_held(driver, runtime):
    play(driver, range(10), Go.HOLD)
    play(driver, range(10, 60), Go.RUN)
    runtime.position = runtime.position + 0.1
    path = play(driver, range(60, 200), Go.RUN)
    assert "declares at most 1" in driver.problem
    assert steps(path) <= V_MAX * DT + 1e-9


def test_ticks_that_were_missed_are_caught_up_on_the_same_path(runtime):
    whole, gappy = PolicyDriver(runtime, RATE), PolicyDriver(FakeRuntime(), RATE)
    missed = set(range(38, 43)) | set(range(66, 66 + 2 * RATIO))
    for driver in (whole, gappy):
        play(driver, range(10), Go.HOLD)
    path = play(whole, range(10, 120), Go.RUN)
    seen = [index for index in range(10, 120) if index not in missed]
    np.testing.assert_allclose(play(gappy, seen, Go.RUN), path[np.array(seen) - 10], atol=1e-12)


def test_a_long_hold_up_brakes_instead(driver):
    play(driver, range(10), Go.HOLD)
    play(driver, range(10, 60), Go.RUN)
    play(driver, range(60 + (CATCH_UP_PERIODS + 2) * RATIO, 200), Go.RUN)
    assert "was held up for" in driver.problem


def test_the_policy_is_rehearsed_in_the_tick_before_each_of_its_periods(driver, runtime):
    play(driver, range(2 * RATIO), Go.HOLD)
    play(driver, range(2 * RATIO, 5 * RATIO), Go.RUN)
    assert runtime.rehearsed == 3
    play(driver, range(5 * RATIO, 6 * RATIO), Go.HOLD)
    assert runtime.rehearsed == 3


def test_a_policy_in_a_thread_of_its_own_gives_the_same_stream(driver):
    with ThreadPoolExecutor(1) as aside:
        threaded = PolicyDriver(FakeRuntime(), RATE, aside)
        schedule = [*[Go.HOLD] * 30, *[Go.RUN] * 200, *[Go.BRAKE] * 100, *[Go.RUN] * 50]
        for index, go in enumerate(schedule):
            expected = driver.command(index, go, HOME, {"joint_state.position": HOME})
            driver.advance(index, go, {"joint_state.position": HOME})
            found = threaded.command(index, go, HOME, {"joint_state.position": HOME})
            threaded.advance(index, go, {"joint_state.position": HOME})
            np.testing.assert_array_equal(found, expected)
        threaded.settle()
    assert threaded.inference.count == driver.inference.count > 0


def test_an_error_in_the_policys_thread_reaches_the_next_tick(runtime):
    with ThreadPoolExecutor(1) as aside:
        driver = PolicyDriver(runtime, RATE, aside)
        play(driver, range(2 * RATIO), Go.HOLD)
        runtime.reset = lambda measured: 1 / 0
        driver.command(2 * RATIO, Go.RUN, HOME, {})
        driver.advance(2 * RATIO, Go.RUN, {})
        with pytest.raises(ZeroDivisionError):
            driver.command(2 * RATIO + 1, Go.RUN, HOME, {})


class FakeRuntimeWithMemory(FakeRuntime):
    """Its memory can be set, as that of an exported policy."""

    @property
    def memory(self):
        return {"command_position": self.position, "command_velocity": self.velocity}

    def restore(self, memory):
        self.position, self.velocity = memory["command_position"], memory["command_velocity"]


def test_a_swap_in_motion_goes_on_along_the_same_path():
    old, new = (PolicyDriver(FakeRuntimeWithMemory(), RATE) for _ in range(2))
    play(old, range(10), Go.HOLD)
    before = play(old, range(10, 83), Go.RUN)
    new.take_over(old, {"joint_state.position": HOME})
    first = play(new, range(83, 90), Go.RUN)  # up to 90 the old policy's segment still goes out
    new.command(90, Go.RUN, HOME, {})
    assert not new.computed
    new.advance(90, Go.RUN, {"joint_state.position": HOME})
    path = np.concatenate([before, first, play(new, range(90, 160), Go.RUN)])
    assert new.running
    assert new.computed
    assert (np.abs(np.diff(path, 2, axis=0)) <= A_MAX * DT**2 + 1e-9).all()
    assert steps(path[-50:]) == pytest.approx(V_MAX * DT)


def test_a_swap_at_rest_starts_afresh(runtime):
    old, new = PolicyDriver(FakeRuntimeWithMemory(), RATE), PolicyDriver(FakeRuntimeWithMemory(), RATE)
    play(old, range(10), Go.HOLD)
    new.take_over(old, {"joint_state.position": HOME})
    assert not new.running
    assert (play(new, range(10, 20), Go.BRAKE) == HOME).all()


def test_a_policy_of_another_rate_does_not_take_over_in_motion():
    old, new = PolicyDriver(FakeRuntimeWithMemory(), RATE), PolicyDriver(FakeRuntimeWithMemory(), 2 * RATE)
    with pytest.raises(BundleError, match="only be swapped in at rest"):
        new.take_over(old, {})


def test_rates_must_divide(runtime):
    with pytest.raises(BundleError, match="whole multiple of the policy's 50 Hz"):
        PolicyDriver(runtime, 510.0)

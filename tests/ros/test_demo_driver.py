"""The demo's sequence against an arm that exists as a script, on a clock of its own."""

from types import SimpleNamespace

import numpy as np
import pytest
from robolearn_ros import demo_driver
from robolearn_ros.demo_driver import ACCEPTED_WITHIN_S, GOAL_TIMEOUT_S, TRIES, Driver
from robolearn_ros.observer import DriverError

pytestmark = pytest.mark.ros

MOVES = (False, "No reset: the arm moves at 0.030 rad/s.")
DONE = (True, "Done.")


class ScriptedArm:
    """An observer whose services answer from a list; the last answer is given for ever."""

    def __init__(self, **answers):
        self.answers = {name: list(given) for name, given in answers.items()}
        self.now_s = 0.0
        self.speed_rad_s = 0.0
        self.state = "stopped"
        self.told = [SimpleNamespace(rule="state_age", text="the joint state is 50.5 ms old")]

    def step(self):
        self.now_s += 0.01

    def send_goal(self, goal):
        self.tcp_m = goal + 1.0

    def wait(self, what, until, timeout_s):
        if not until():
            raise DriverError(f"{what} did not happen within {timeout_s:g} s.")

    def call(self, name):
        answers = self.answers[name]
        return answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.fixture
def made(monkeypatch):
    """(arm, driver, events) for answers of the services."""

    def make(**answers):
        arm, events = ScriptedArm(**answers), []
        monkeypatch.setattr(demo_driver, "time", SimpleNamespace(monotonic=lambda: arm.now_s))
        return arm, Driver(arm, [np.zeros(3)], events.append), events

    return make


def test_a_refused_reset_is_asked_for_again(made):
    arm, driver, events = made(reset=[MOVES, MOVES, DONE], start=[DONE])
    driver._recover_unexpected()
    assert arm.now_s == pytest.approx(0.2)
    assert [event["event"] for event in events] == ["unexpected_stop"]


def test_a_reset_that_is_never_accepted_ends_it_with_the_monitors_words(made):
    arm, driver, _ = made(reset=[MOVES])
    with pytest.raises(
        DriverError, match=r"refused to reset after a stop .* for 10 s: No reset: the arm moves"
    ):
        driver._recover_unexpected()
    assert arm.now_s == pytest.approx(ACCEPTED_WITHIN_S, abs=0.11)


def test_a_fault_that_another_stop_came_before_is_injected_again(made):
    _, driver, events = made()
    results = iter([{"rule": rule, "text": "x", "what": "NaN"} for rule in ("state_age", "finite")])
    assert driver._until("finite", lambda: next(results))["rule"] == "finite"
    assert [event["event"] for event in events] == ["unexpected_stop", "recovered"]
    assert [stop["rule"] for stop in driver.unexpected] == ["state_age"]


def test_a_fault_that_its_rule_never_stops_is_an_error(made):
    _, driver, events = made()
    with pytest.raises(DriverError, match="was to be stopped by the rule finite"):
        driver._until("finite", lambda: {"rule": "command_age", "text": "x", "what": "NaN"})
    assert [event["event"] for event in events] == ["unexpected_stop"] * TRIES


def test_a_goal_is_given_up_where_the_arm_is_stopped_time_and_again(made):
    arm, driver, _ = made(reset=[DONE], start=[DONE])
    assert not driver.reach(np.zeros(3))["reached"]
    assert len(driver.unexpected) > TRIES
    assert arm.now_s == pytest.approx(GOAL_TIMEOUT_S, abs=0.05)


def test_what_was_found_before_an_error_is_kept(made, monkeypatch):
    _, driver, events = made(reset=[MOVES])
    monkeypatch.setattr(driver, "prepare", lambda: None)
    monkeypatch.setattr(driver, "reach", lambda *_: {"reached": True})
    monkeypatch.setattr(driver, "killed", driver._recover_unexpected)
    result = driver.run(faults=True)
    assert result["goals"] == [{"reached": True}]
    assert result["faults"] == []
    assert not result["passed"]
    assert "refused to reset" in result["error"]
    assert events[-1] == {"event": "error", "text": result["error"]}

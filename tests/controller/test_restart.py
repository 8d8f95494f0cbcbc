"""One distance decides after a stop: what a reset of the monitor holds, and what the controller follows again."""

import numpy as np
import pytest
from robolearn_ros.stream_filter import Bounds, FilterConfig, StreamFilter
from safety_rig import DT, Rig

from robolearn.deploy.controller import controller_parameters
from robolearn.robots import load_robot
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import State

ROBOT, PROFILE = load_robot("fr3"), SafetyProfile.load("fr3")
PARAMETERS = controller_parameters(ROBOT, PROFILE, stream_rate_hz=1.0 / DT)
APART_RAD = PARAMETERS["restart_tolerance_rad"]
PERIOD_NS = round(1e9 * DT)


def stopped_controller(position_rad):
    """A controller that followed a stream to rest at position_rad and was stopped there."""
    bounds = Bounds(*(np.array(PARAMETERS[name]) for name in Bounds.__dataclass_fields__))
    names = ("start_tolerance_rad", "restart_tolerance_rad", "follow_error_max_rad")
    config = FilterConfig(stream_period_s=DT, **{name: PARAMETERS[name] for name in names})
    made = StreamFilter(bounds, config)
    assert made.reset(position_rad)
    made.stop()
    made.update(0)
    assert made.state == "stopped"
    return made


def test_the_packaged_profiles_give_both_the_same_number():
    for name in ("fr3", "ur5e", "iiwa14"):
        profile = SafetyProfile.load(name)
        parameters = controller_parameters(load_robot(name), profile)
        least = min(mode.standstill_drift_max_rad.value for mode in profile.modes.values())
        assert parameters["restart_tolerance_rad"] == least <= parameters["start_tolerance_rad"]


@pytest.mark.parametrize("apart", [0.1, 0.39, 0.41, 0.99, 1.01, 1.5, 1.9, 2.1, 4.0])
def test_wherever_the_controller_stopped_it_follows_after_a_reset(apart):
    """apart: between the monitor's rest and the controller's, in units of that number."""
    rig = Rig()
    rig.move(0.2, 0.2)
    rig.cycle(None, around=rig.around(stop_requested=True))
    rig.coast()
    assert rig.monitor.state is State.STOPPED
    place = rig.position + apart * APART_RAD  # where the arm is held by a controller that braked on its own
    made = stopped_controller(place)
    rig.push(place)
    rig.idle_at(place, 12)
    answer = rig.reset()
    assert answer.accepted, answer.text
    assert ("had been moved" in answer.text) is (apart > 1.0)
    for k in range(1000):
        rig.position = place.copy()
        made.push(k * PERIOD_NS, rig.cycle(None).command_rad, np.zeros(7), k * PERIOD_NS)
        place = made.update(k * PERIOD_NS)[0]
    assert (made.state, made.reason) == ("following", "none")
    assert rig.monitor.state is State.HOLDING

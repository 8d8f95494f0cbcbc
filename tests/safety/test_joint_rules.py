"""One suite for the four joint rules: values dense around each boundary, both signs, every joint, every mode."""

import numpy as np
import pytest
from safety_rig import DT

from robolearn.robots import load_robot
from robolearn.safety.follow import CommandFilter
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.profile import SafetyProfile

BELOW = [0.0, 0.3, 0.9, 0.999, 1.0 - 1e-6, 1.0 - 1e-9]
ABOVE = [1.0 + 1e-9, 1.0 + 1e-6, 1.001, 1.1, 2.0]
ROBOTS = ["fr3", "ur5e", "iiwa14"]
MODES = ["manual_reduced", "automatic", "collaborative"]


@pytest.fixture(scope="module")
def monitors():
    return {name: SafetyMonitor(load_robot(name), SafetyProfile.load(name), period_s=DT) for name in ROBOTS}


class JointRule:
    """What each rule brings: its limit at home, and a follower and position in which it alone is at a value."""

    rule = ""

    def limit(self, limits, joint, sign):
        raise NotImplementedError

    def build(self, follower, joint, value):
        raise NotImplementedError

    @pytest.fixture(params=[(name, mode) for name in ROBOTS for mode in MODES], ids="-".join)
    def envelope(self, request, monitors):
        name, mode = request.param
        return monitors[name]._envelopes[mode]

    def records(self, envelope, joint, value):
        follower = CommandFilter(envelope.limits.robot.home_rad.copy(), envelope, DT)
        return follower._step_records(follower.sent.after(self.build(follower, joint, value)))

    @pytest.mark.parametrize("sign", [-1.0, 1.0])
    @pytest.mark.parametrize("share", BELOW)
    def test_inside_passes(self, envelope, share, sign):
        for joint in range(envelope.limits.robot.dof):
            limit = self.limit(envelope.limits, joint, sign)
            assert self.records(envelope, joint, limit * share) == ()

    @pytest.mark.parametrize("sign", [-1.0, 1.0])
    @pytest.mark.parametrize("share", ABOVE)
    def test_outside_is_found_with_value_limit_margin_unit_source_and_joint(self, envelope, share, sign):
        for joint in range(envelope.limits.robot.dof):
            limit = self.limit(envelope.limits, joint, sign)
            value = limit * share
            found = [r for r in self.records(envelope, joint, value) if r.rule == self.rule]
            assert len(found) == 1
            record = found[0]
            assert abs(record.value) == pytest.approx(abs(value), rel=1e-6)
            assert abs(record.limit) == pytest.approx(abs(limit), rel=1e-9)
            assert record.margin < 0.0
            assert record.margin == pytest.approx(abs(limit) - abs(value), rel=1e-3, abs=1e-6)
            assert record.unit == {"position": "rad", "velocity": "rad/s", "acceleration": "rad/s^2"}.get(
                self.rule, "rad/s^3"
            )
            assert record.source
            assert record.where == envelope.limits.joint_names[joint]
            assert record.where in record.text

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_not_finite_never_passes(self, envelope, bad):
        with np.errstate(invalid="ignore"):
            assert self.records(envelope, 0, bad) != ()


class TestVelocity(JointRule):
    rule = "velocity"

    def limit(self, limits, joint, sign):
        low, high = limits.velocity_bounds(limits.robot.home_rad)
        return high[joint] if sign > 0 else low[joint]

    def build(self, follower, joint, value):
        follower.sent.velocity[joint] = value
        follower.sent.position = follower.sent.position.copy()
        target = follower.sent.position.copy()
        follower.sent.position[joint] -= value * DT
        return target


class TestAcceleration(JointRule):
    rule = "acceleration"

    def limit(self, limits, joint, sign):
        return sign * limits.acceleration_max_rad_s2[joint]

    def build(self, follower, joint, value):
        follower.sent.acceleration[joint] = value
        target = follower.sent.position.copy()
        target[joint] += value * DT**2
        return target


class TestJerk(JointRule):
    rule = "jerk"

    def limit(self, limits, joint, sign):
        return sign * min(limits.jerk_max_rad_s3[joint], 0.9 * limits.acceleration_max_rad_s2[joint] / DT)

    @pytest.fixture(params=[(name, mode) for name in ROBOTS[1:] for mode in MODES], ids="-".join)
    def envelope(self, request, monitors):  # at 2 ms the FR3's jerk limit is its acceleration limit from rest
        name, mode = request.param
        return monitors[name]._envelopes[mode]

    def build(self, follower, joint, value):
        target = follower.sent.position.copy()
        target[joint] += value * DT**3
        return target


class TestPosition(JointRule):
    rule = "position"

    def limit(self, limits, joint, sign):
        return (limits.position_max_rad if sign > 0 else limits.position_min_rad)[joint]

    def build(self, follower, joint, value):
        limits = follower.limits
        target = follower.sent.position.copy()
        middle = 0.5 * (limits.position_min_rad[joint] + limits.position_max_rad[joint])
        far = abs(value) if np.isfinite(value) else 1.0
        target[joint] = value if far > 1e-12 else middle
        follower.sent.position = target.copy()
        return target

    @pytest.mark.parametrize("sign", [-1.0, 1.0])
    @pytest.mark.parametrize("share", [1e-9, 1e-6, 0.001, 0.3])
    def test_inside_passes(self, envelope, share, sign):
        for joint in range(envelope.limits.robot.dof):
            limit = self.limit(envelope.limits, joint, sign)
            assert self.records(envelope, joint, limit - sign * share) == ()

    @pytest.mark.parametrize("sign", [-1.0, 1.0])
    @pytest.mark.parametrize("share", [1e-9, 1e-6, 0.001, 0.3])
    def test_outside_is_found_with_value_limit_margin_unit_source_and_joint(self, envelope, share, sign):
        for joint in range(envelope.limits.robot.dof):
            limit = self.limit(envelope.limits, joint, sign)
            found = [r for r in self.records(envelope, joint, limit + sign * share) if r.rule == "position"]
            assert len(found) == 1
            assert found[0].margin == pytest.approx(-share, rel=1e-3)
            assert found[0].limit == limit
            assert ("above" if sign > 0 else "below") in found[0].text
            assert found[0].where == envelope.limits.joint_names[joint]


del JointRule

"""No acceleration of the UR5e is published. What its published torques give, and that the profile stays below."""

import mujoco
import numpy as np
import pytest

from robolearn.robots import load_robot
from robolearn.safety.profile import SafetyProfile


def acceleration_of_all(payload_kg, postures=1500):
    """The largest acceleration, rad/s2, that all joints can have at once at rest, in the worst of some postures.

    Of links without rotors, with a point mass at the flange.
    """
    robot, rng = load_robot("ur5e"), np.random.default_rng(0)
    model = robot.spec(None).compile()
    data, dof, flange = mujoco.MjData(model), robot.dof, model.site("tcp").id
    inertia, jacobian = np.zeros((model.nv, model.nv)), np.zeros((3, model.nv))
    stretched = [[0.0, lift, 0.0, 0.0, 0.0, 0.0] for lift in np.linspace(-np.pi, np.pi, 25)]
    least = np.inf
    for q in [*stretched, *rng.uniform(-np.pi, np.pi, (postures, dof))]:
        data.qpos[:dof] = q
        mujoco.mj_forward(model, data)
        mujoco.mj_fullM(model, data, inertia)
        mujoco.mj_jacSite(model, data, jacobian, None, flange)
        arm = inertia[:dof, :dof] - np.diag(model.dof_armature[:dof])
        moved = jacobian[:, :dof]
        felt = arm + payload_kg * moved.T @ moved
        held = data.qfrc_bias[:dof] + payload_kg * 9.81 * moved[2]
        room = (robot.limits.torque_nm - np.abs(held)) / np.abs(felt).sum(axis=1)
        least = min(least, float(room.min()))
    return least


@pytest.mark.parametrize(("payload_kg", "expected"), [(0.5, 11.7), (5.0, 3.05)])
def test_the_published_torques_give_what_the_profile_says(payload_kg, expected):
    assert acceleration_of_all(payload_kg) == pytest.approx(expected, abs=0.15)


def test_the_profile_asks_for_less_than_the_torques_give_to_the_payload_that_it_states():
    limits = SafetyProfile.load("ur5e").mode("collaborative")
    asked = max(limits.acceleration_max_rad_s2.value)
    assert acceleration_of_all(limits.contact.payload_kg.value) > asked
    assert acceleration_of_all(1.5) > asked
    assert acceleration_of_all(5.0) < asked, "with the rated payload the manufacturer's number is needed"
    assert "1.5 kg" in limits.acceleration_max_rad_s2.source
    assert load_robot("ur5e").limits.acceleration_rad_s2 is None


def test_the_pair_that_is_not_watched_overlaps_by_its_hulls_alone():
    """As `self_distance` of the robot file says; so it could not be watched."""
    robot = load_robot("ur5e")
    model = robot.spec(None).compile()
    data, least = mujoco.MjData(model), np.inf
    base, arm = model.geom("base_0").id, model.geom("upper_arm_link_0").id
    for pan in np.radians(np.arange(0, 360, 10.0)):
        for lift in np.radians(np.arange(-180, 180, 5.0)):
            data.qpos[:2] = pan, lift
            mujoco.mj_kinematics(model, data)
            least = min(least, mujoco.mj_geomDistance(model, data, base, arm, 1.0, None))
    assert -0.0235 < least < -0.022
    assert ["base", "upper_arm_link_0"] not in [list(pair) for pair in robot.file.self_distance.pairs]
    assert "23 mm" in robot.file.self_distance.note

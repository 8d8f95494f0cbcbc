"""The Cartesian rules: each is limited in time, says where, and leaves motion with room alone."""

import gc
import weakref

import mujoco
import numpy as np
import pytest
from safety_rig import DT, Rig, profile_with
from slow_checker import SlowChecker
from variants import monitor_of, profile_data

from robolearn.config import config_path
from robolearn.errors import ProfileError
from robolearn.robots import load_robot, watched
from robolearn.robots.kinematics import forward
from robolearn.robots.robot import robot_from_file
from robolearn.safety import arm_model
from robolearn.safety.arm_model import ArmModel, point_speeds
from robolearn.safety.contact import REGIONS
from robolearn.safety.profile import Box, Plane, SafetyProfile
from robolearn.safety.types import State, Verdict

SOURCE = {"source": "test", "trust": "integrator", "risk_assessment_ref": "RA-TEST"}


def rules_of(decisions):
    return {record.rule for decision in decisions for record in decision.records}


def first(decisions, rule):
    return next(record for decision in decisions for record in decision.records if record.rule == rule)


def workspace(**changes):
    return SafetyProfile.load("fr3").mode("automatic").workspace.model_copy(update=changes)


def tcp(rig):
    return np.asarray(forward(rig.robot, rig.position)[0])


def arm():
    return ArmModel(load_robot("fr3"), {}, "parallel")


# ---- kinematics


def test_the_tcp_is_where_the_robots_own_kinematics_puts_it():
    robot, model, rng = load_robot("fr3"), arm(), np.random.default_rng(0)
    for _ in range(20):
        q = rng.uniform(robot.limits.position_min_rad, robot.limits.position_max_rad)
        np.testing.assert_allclose(model.posture(q).points[-1], np.asarray(forward(robot, q)[0]), atol=1e-9)


@pytest.mark.parametrize("name", ["fr3", "ur5e", "iiwa14"])
def test_reach_bounds_how_far_anything_moves(name):
    robot, rng = load_robot(name), np.random.default_rng(1)
    model = ArmModel(robot, {}, "parallel")
    for size in (1e-3, 0.1, 1.0):
        for _ in range(50):
            q = rng.uniform(robot.limits.position_min_rad, robot.limits.position_max_rad)
            step = size * rng.uniform(-1, 1, robot.dof)
            before, after = model.posture(q), model.posture(q + step)
            moved = np.linalg.norm(after.points - before.points, axis=1)
            assert (moved <= model.reach @ np.abs(step) + 1e-12).all()
            if size < 0.01:
                assert (
                    point_speeds(before, after, model.radius, DT) * DT <= model.reach @ np.abs(step) * 1.01
                ).all()


@pytest.mark.parametrize("name", ["fr3", "ur5e", "iiwa14"])
def test_levers_bound_how_far_a_joint_moves_anything_wherever_they_were_measured(name):
    robot, rng = load_robot(name), np.random.default_rng(2)
    low, high = robot.limits.position_min_rad, robot.limits.position_max_rad
    model = ArmModel(robot, {}, "parallel")
    joints = [model.model.joint(joint).id for joint in robot.joint_names]
    q, closer = rng.uniform(low, high), 0
    none_measured_yet = model.kept_levers(q, np.zeros(robot.dof))
    np.testing.assert_array_equal(none_measured_yet, model.longest)
    for step in np.repeat([0.0, 1e-4, 1e-3, 1e-2, 1.0], 50):
        q = np.clip(q + step * rng.uniform(-1, 1, robot.dof), low, high)
        swing = rng.uniform(0.0, 0.1, robot.dof)
        kept, levers = model.kept_levers(q, swing), model.levers(model.posture(q), swing)
        there = model.posture(q + swing * rng.choice([-1.0, -0.5, 1.0], robot.dof))
        arms = np.linalg.norm(there.points[:, None] - model.data.xanchor[joints], axis=2)
        farthest = np.where(model.reach > 0.0, arms + model.radius[:, None], 0.0).max(axis=0)
        assert (levers >= farthest - 1e-12).all()
        assert (kept >= levers * (1.0 - 1e-14)).all()
        assert (kept <= model.longest).all()
        closer += bool((kept < model.longest).any())
    assert closer > 100  # of 250: all but those after the large steps


def test_surface_speed_counts_the_turn_of_a_thick_link():
    model = arm()
    q = load_robot("fr3").home_rad
    before, after = model.posture(q), model.posture(q + np.array([0, 0, 0, 0, 0, 0, 0.004]))
    speeds = point_speeds(before, after, model.radius, DT)
    on_axis = [
        k
        for k, part in enumerate(model.part)
        if model.names[part].startswith("fr3_link7") and model.radius[k]
    ]
    assert (speeds[on_axis] >= model.radius[on_axis] * 2.0 * 0.999).all()  # 2 rad/s


def test_a_robot_without_geometry_is_refused(monkeypatch):
    monkeypatch.setattr(watched, "SOLID", ())  # as if every link had a mesh
    with pytest.raises(ProfileError, match="geometry that the safety monitor cannot check"):
        arm()


# ---- speeds


@pytest.mark.parametrize("rule", ["tcp_speed", "elbow_speed", "link_speed"])
def test_a_cartesian_speed_is_limited_and_the_arm_keeps_moving(rule):
    slow = {"tcp_speed": 0.1, "elbow_speed": 0.04, "link_speed": 0.1}[rule]
    changes = {f"{rule}_max_m_s": slow} | ({"tcp_speed_max_m_s": 0.1} if rule == "link_speed" else {})
    rig = Rig(profile=profile_with(**changes, command_lag_max_rad=2.0))
    decisions = rig.move(0.8, 0.5, joints=[0, 1])
    assert rule in rules_of(decisions) | {"tcp_speed"}
    assert all(decision.verdict is not Verdict.STOP for decision in decisions)
    assert np.abs(rig.velocity).max() > 0.02
    record = first(decisions, rule)
    assert record.limit == slow
    assert record.value > slow
    assert record.unit == "m/s"


def test_braking_joints_that_stop_one_after_another_do_not_break_a_speed_limit():
    """Shoulder and elbow cancel at the TCP while both move; the slower joint stops first."""
    rig = Rig(profile=profile_with(tcp_speed_max_m_s=0.25, command_lag_max_rad=3.0))
    checker = SlowChecker(rig.robot, config_path("safety/fr3.yaml"), "automatic", DT)
    checker.limits["tcp_speed_max_m_s"] = {"value": 0.25}
    sent = [rig.position.copy()]
    goal = np.array([0, 0.9, 0, 1.6, 0, 0.8, 0])
    position, velocity = rig.position.copy(), np.zeros(7)
    for _ in range(300):
        velocity = velocity + np.clip(goal - velocity, -0.006, 0.006)
        position = position + velocity * DT
        rig.cycle((position, velocity))
        sent.append(rig.position)
    rig.cycle(None, around=rig.around(stop_requested=True))
    sent.append(rig.position)
    while rig.monitor.state is State.STOPPING:
        rig.cycle(None)
        sent.append(rig.position)
    assert checker.judge(np.array(sent)) == []


# ---- walls, boxes, own links


def test_the_arm_stops_in_front_of_a_wall_and_may_leave_it_again():
    wall = Plane(name="window", normal=(0.0, -1.0, 0.0), offset_m=-0.25, **SOURCE)
    rig = Rig(profile=profile_with(workspace=workspace(planes=(wall,)), command_lag_max_rad=3.0))
    decisions = rig.move(2.0, 0.6, joints=[0])
    record = first(decisions, "workspace")
    assert record.where == "window"
    assert record.source == "test"
    assert all(decision.verdict is not Verdict.STOP for decision in decisions)
    assert tcp(rig)[1] < 0.25
    assert tcp(rig)[1] > 0.05
    assert np.abs(rig.velocity).max() < 0.02
    rig.monitor.check((), rig.measured(), rig.around(stop_requested=True), rig.now)
    rig.coast()
    rig.rest()
    rig.reset()
    assert rig.start().accepted
    assert {decision.verdict for decision in rig.move(0.3, -0.3, joints=[0])} == {Verdict.PASS}


def test_the_arm_stops_in_front_of_a_keep_out_box():
    box = Box(name="camera", min_m=(0.1, 0.25, 0.3), max_m=(0.6, 0.5, 0.8), **SOURCE)
    rig = Rig(profile=profile_with(workspace=workspace(keep_out=(box,)), command_lag_max_rad=3.0))
    decisions = rig.move(2.0, 0.6, joints=[0])
    record = first(decisions, "keep_out")
    assert "camera" in record.where
    assert record.source == "test"
    assert 0.02 < tcp(rig)[1] < 0.25
    assert rig.monitor.state is State.RUNNING


def test_the_arm_stops_in_front_of_itself():
    rig = Rig(profile=profile_with(command_lag_max_rad=6.0, self_distance_min_m=0.05))
    decisions = rig.move(2.0, 0.8, joints=[5]) + rig.move(1.0, 0.5, joints=[5])
    decisions += rig.move(3.0, -0.5, joints=[3])
    assert "self_distance" in rules_of(decisions) or "position" in rules_of(decisions)


def test_a_box_around_the_base_is_no_obstacle_to_the_base():
    box = Box(name="plinth", min_m=(-0.1, -0.1, 0.0), max_m=(0.1, 0.1, 0.05), **SOURCE)
    rig = Rig(profile=profile_with(workspace=workspace(keep_out=(box,))))
    assert {decision.verdict for decision in rig.move(0.3, 0.2, joints=[0])} == {Verdict.PASS}


# ---- stopping time and distance, torque


def test_stopping_time_is_limited():
    rig = Rig(profile=profile_with(stopping_time_max_s=0.05, command_lag_max_rad=3.0))
    decisions = rig.move(1.0, 1.0, joints=[6])
    assert first(decisions, "stopping_time").limit == 0.05
    assert max(decision.stopping_time_s for decision in decisions) <= 0.05
    assert np.abs(rig.velocity).max() > 0.3


def test_stopping_distance_is_limited():
    rig = Rig(profile=profile_with(stopping_distance_max_m=0.01, command_lag_max_rad=3.0))
    decisions = rig.move(1.0, 1.0, joints=[0])
    assert first(decisions, "stopping_distance").limit == 0.01
    before = tcp(rig)
    rig.cycle(None, around=rig.around(stop_requested=True))
    rig.coast()
    assert 0.002 < np.linalg.norm(tcp(rig) - before) <= 0.0105


def test_torque_at_rest_is_gravity():
    robot, model = load_robot("fr3"), ArmModel(load_robot("fr3"), {}, None)
    q = np.array([0.1, -0.2, 0.3, -1.4, 0.5, 1.6, -0.7])
    model.posture(q)
    expected = [
        0.0,
        -15.15169,
        -1.665013,
        16.03085,
        0.916777,
        1.629018,
        -0.030541,
    ]  # worked from the link masses
    np.testing.assert_allclose(model.torque(np.zeros(7), np.zeros(7)), expected, atol=1e-4)
    assert robot.dof == 7


def test_torque_is_limited():
    tight = (87.0, 20.0, 87.0, 87.0, 12.0, 12.0, 12.0)
    rig = Rig(profile=profile_with(torque_max_nm=tight, command_lag_max_rad=3.0), start=False)
    answer = rig.start()
    if answer.accepted:
        decisions = rig.move(1.5, 0.8, joints=[1])
        assert first(decisions, "torque").where == "fr3_joint2"
        assert np.abs(rig.velocity).max() < 0.8
    else:
        assert "torque" in answer.text


def test_torque_rate_is_limited_where_the_profile_asks_for_it():
    rate = (
        SafetyProfile.load("fr3").mode("automatic").jerk_max_rad_s3.model_copy(update={"value": (200.0,) * 7})
    )
    rig = Rig(profile=profile_with(torque_rate_max_nm_s=rate, command_lag_max_rad=3.0))
    decisions = rig.move(0.2, 0.5, joints=[1])
    assert first(decisions, "torque_rate").unit == "Nm/s"


# ---- contact


def test_contact_speed_is_limited_in_collaborative_mode():
    contact = SafetyProfile.load("fr3").mode("collaborative").contact
    edge = contact.model_copy(
        update={"contact_area_cm2": contact.contact_area_cm2.model_copy(update={"value": 0.2})}
    )
    rig = Rig(mode="collaborative", profile=profile_with(command_lag_max_rad=3.0, contact=edge))
    decisions = rig.move(1.0, 1.0, joints=[0])
    record = first(decisions, "contact")
    chest = REGIONS["chest"]
    floor = 2 * min(chest.force_n, chest.pressure_n_cm2 * 0.2) / np.sqrt(chest.mass_kg * chest.stiffness_n_m)
    assert record.limit >= floor * 0.99
    assert record.value > record.limit
    assert "A.2" in record.source or "Annex A" in record.source
    assert rig.monitor.state is State.RUNNING
    speeds = np.linalg.norm(np.diff([decision.command_rad for decision in decisions], axis=0), axis=1) / DT
    assert speeds[-1] > 0.05


def drawn_points(model, posture, rng):
    """(body, point [3] m) of each part, drawn by chance from the hull of the spheres around its points."""
    for part in range(len(model.names)):
        points = np.flatnonzero(model.part == part)
        way = rng.normal(size=3)
        point = rng.dirichlet(np.ones(len(points))) @ posture.points[points]
        point += model.radius[points[0]] * way / np.linalg.norm(way)
        yield model.model.site(f"point:{points[0]}").bodyid[0], point


@pytest.mark.parametrize("name", ["fr3", "ur5e", "iiwa14"])
def test_no_point_is_felt_as_more_than_twice_the_energy_by_its_speed_squared(name):
    robot, rng = load_robot(name), np.random.default_rng(3)
    model = ArmModel(robot, {}, "parallel")
    nv, arm_dofs = model.model.nv, slice(0, robot.dof)
    inertia, jacobian = np.zeros((nv, nv)), np.zeros((3, nv))
    for _ in range(30):
        q = rng.uniform(robot.limits.position_min_rad, robot.limits.position_max_rad)
        velocity = rng.normal(size=robot.dof)
        posture = model.posture(q)
        mujoco.mj_comPos(model.model, model.data)
        mujoco.mj_makeM(model.model, model.data)
        mujoco.mj_fullM(model.model, model.data, inertia)
        arm_inertia = inertia[arm_dofs, arm_dofs]
        energy = model.kinetic_energy(velocity)
        assert energy == pytest.approx(0.5 * velocity @ arm_inertia @ velocity, rel=1e-12)
        for body, point in drawn_points(model, posture, rng):
            mujoco.mj_jac(model.model, model.data, jacobian, None, point, body)
            moved = jacobian[:, arm_dofs]
            speed = np.linalg.norm(moved @ velocity)
            row = moved.T @ (moved @ velocity) / speed
            assert 1.0 / (row @ np.linalg.solve(arm_inertia, row)) <= 2.0 * energy / speed**2 * (1 + 1e-9)
            # a push at the point makes the motion in which the mass felt there is all of it
            pushed = np.linalg.solve(arm_inertia, row)
            speed = row @ pushed
            assert model.kinetic_energy(pushed) == pytest.approx(0.5 / (row @ pushed) * speed**2, rel=1e-9)


def test_energies_of_a_motion_are_those_of_its_samples():
    model, rng = arm(), np.random.default_rng(4)
    path, velocity = rng.uniform(-1.0, 0.0, (3, 7)), rng.normal(size=(3, 7))
    each = []
    for q, v in zip(path, velocity, strict=True):
        model.posture(q)
        each.append(model.kinetic_energy(v))
    assert min(each) > 0.0
    model.posture(np.zeros(7))
    np.testing.assert_allclose(model.kinetic_energies(path, velocity), each, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fr3", "ur5e", "iiwa14"])
def test_at_the_contact_speed_no_point_of_a_part_is_too_fast_and_a_tenth_above_it_one_is(name):
    """Judged point by point with the mass felt there, at steps in which the arm gives way to a push as it would."""
    monitor, robot = monitor_of(name, "automatic", "contact_energy", DT), load_robot(name)
    judge = SlowChecker(robot, profile_data(name, "contact_energy"), "automatic", DT)
    space, model, rng = monitor._envelope.space, monitor._envelope.arm, np.random.default_rng(5)
    jacobian = np.zeros((3, model.model.nv))
    for _ in range(15):
        q = rng.uniform(robot.limits.position_min_rad, robot.limits.position_max_rad)
        velocity = rng.normal(size=robot.dof)
        # the fastest point is pushed on, until it is the one that is felt as all of the energy
        for _ in range(5):
            before, posture = model.posture(q - 1e-6 * velocity), model.posture(q)
            fastest = int(np.argmax(point_speeds(before, posture, model.radius, 1e-6)))
            body = model.model.site(f"point:{fastest}").bodyid[0]
            mujoco.mj_comPos(model.model, model.data)
            mujoco.mj_jac(model.model, model.data, jacobian, None, posture.points[fastest], body)
            way = posture.points[fastest] - before.points[fastest]
            velocity = np.linalg.solve(model._mass_matrix(), jacobian[:, : robot.dof].T @ way)
            velocity /= np.linalg.norm(velocity)
        for _ in range(40):  # to a speed that is just allowed
            speeds = point_speeds(model.posture(q - velocity * DT), model.posture(q), model.radius, DT)
            share = space.contact_speed(velocity, speeds) * (1 - 1e-9) / speeds.max()
            velocity *= share
            if abs(share - 1.0) < 2e-9:
                break
        assert space.contact(speeds, space.contact_speed(velocity, speeds)) is None
        for _ in range(10):  # each time another point of each part
            assert judge.judge_contact((q - velocity * DT)[None], q[None]) == []
        assert judge.judge_contact((q - 1.1 * velocity * DT)[None], q[None])


def test_an_arm_is_stopped_before_a_joint_limit_not_at_it():
    """The sample is inside, but the way to rest would not be."""
    rig = Rig(profile=profile_with(command_lag_max_rad=6.0))
    limit = rig.robot.limits.position_max_rad[6]
    decisions = rig.move(3.0, 2.0, joints=[6])
    assert {"position", "velocity"} & rules_of(decisions)
    assert limit - 0.2 < rig.position[6] <= limit
    assert all(decision.verdict is not Verdict.STOP for decision in decisions)


def test_a_braking_motion_beyond_a_joint_limit_is_found():
    rig = Rig("ur5e", profile=profile_with("ur5e", command_lag_max_rad=6.0))
    follower = rig.monitor._filter
    limits = follower.limits
    at = rig.position.copy()
    at[2] = limits.position_max_rad[2] - 0.01
    follower.sent.position, follower._posture = at - 0.002, None
    follower.sent.velocity = np.ones(6)
    assert follower._step_records(follower.sent.after(at)) == ()
    record = follower.assess(follower.sent.after(at), None).record
    assert (record.rule, record.where) == ("position", "elbow_joint")


def test_torque_may_be_left_unchecked_only_by_saying_so():
    why = SafetyProfile.load("fr3").mode("automatic").torque_rate_max_nm_s
    rig = Rig(profile=profile_with(torque_max_nm=why))
    assert rig.monitor._envelope.torque_max_nm is None
    assert {decision.verdict for decision in rig.move(0.2, 0.2)} == {Verdict.PASS}


def test_a_speed_that_would_grow_while_braking_is_found_beforehand():
    """Base and upper arm turn against each other; once the slower one rests, the arm is faster than before."""
    rig = Rig()
    home, velocity = rig.position, np.array([1.6, 0.0, -0.4, 0.0, 0.0, 0.0, 0.0])
    model = rig.monitor._envelope.arm
    before, after = model.posture(home - velocity * DT), model.posture(home)
    now = float(point_speeds(before, after, model.radius, DT).max())
    rig = Rig(
        profile=profile_with(
            tcp_speed_max_m_s=now + 0.005, link_speed_max_m_s=now + 0.005, elbow_speed_max_m_s=9.0
        )
    )
    follower = rig.monitor._filter
    follower.sent.position, follower._posture = home - velocity * DT, None
    follower.sent.velocity = velocity
    record = follower.assess(follower.sent.after(home), None).record
    assert record.rule in ("tcp_speed", "link_speed")
    assert record.value > now + 0.005


def test_a_step_that_no_share_saves_brakes(monkeypatch):
    monkeypatch.setattr("robolearn.safety.follow.largest_share", lambda *_: 50.0)
    rig = Rig()
    rig.move(0.3, 0.3)
    promised = rig.monitor._filter._braking.trajectory[0][0]
    decision = rig.cycle(rig.command(rig.position + 0.05, np.zeros(7), stamp_s=rig.now + DT))
    assert decision.verdict is Verdict.LIMIT
    np.testing.assert_allclose(decision.command_rad, promised, atol=1e-9)


def test_arms_of_one_cell_are_compiled_once_and_have_postures_of_their_own(monkeypatch):
    robot, box = (
        robot_from_file(load_robot("fr3").path),
        SafetyProfile.load("fr3").mode("automatic").workspace.stay_in,
    )
    compiled, build = [], ArmModel.__init__
    monkeypatch.setattr(
        ArmModel, "__init__", lambda self, *given: compiled.append(given[1:]) or build(self, *given)
    )
    one, other = (arm_model.arm_in_cell(robot, [box], "parallel") for _ in range(2))
    assert len(compiled) == 1
    before = one.posture(robot.home_rad).points.copy()
    torque = one.torque(np.zeros(7), np.zeros(7))
    other.posture(robot.home_rad + 0.3)
    np.testing.assert_array_equal(one.torque(np.zeros(7), np.zeros(7)), torque)
    np.testing.assert_array_equal(ArmModel(robot, {}, "parallel").posture(robot.home_rad).points, before)
    assert one.gaps(0.02).names == other.gaps(0.02).names
    moved = box.model_copy(update={"max_m": (9.0, 9.0, 9.0)})
    for cell, gripper in (([moved], "parallel"), ([], "parallel"), ([box], None)):
        arm_model.arm_in_cell(robot, cell, gripper)
    assert len(compiled) == 5
    assert len(arm_model.arm_in_cell(robot, [], "parallel").gaps(0.02).names) < len(one.gaps(0.02).names)


def test_no_more_cells_of_a_robot_are_kept_than_a_few():
    robot, box = (
        robot_from_file(load_robot("fr3").path),
        SafetyProfile.load("fr3").mode("automatic").workspace.stay_in,
    )
    for k in range(arm_model._CELLS_KEPT + 2):
        arm_model.arm_in_cell(robot, [box.model_copy(update={"name": f"box {k}"})], None)
    assert len(arm_model._COMPILED[robot]) == arm_model._CELLS_KEPT
    kept = weakref.ref(robot)
    del robot
    gc.collect()
    assert kept() is None

"""The fit finds a plant's numbers from its log alone, says what it cannot tell, and when the model is wrong."""

import numpy as np
import pytest
from recorded import plant_in_class, record, truth

from robolearn.errors import CalibrationError, DataError
from robolearn.robots import load_robot
from robolearn.robots.calibration import line, write_calibration
from robolearn.sysid import estimation
from robolearn.sysid.fit import fit
from robolearn.sysid.gap_report import _parameters
from robolearn.sysid.quantities import ENOUGH, judge
from robolearn.sysid.ranges import ranges_of, servo_of

ROBOT = load_robot("ur5e")


def _errors(result, plant):
    """Relative errors of the identified quantities that have a truth other than 0."""
    right, found = truth(ROBOT, plant), {}
    for quantity in result.identified:
        if quantity.kind in right:
            j = 0 if quantity.joint is None else ROBOT.joint_names.index(quantity.joint)
            found[quantity.name] = abs(quantity.estimate / right[quantity.kind][j] - 1.0)
    return found


@pytest.fixture(scope="module")
def clean():
    plant = plant_in_class(ROBOT)
    return plant, fit([record(plant)], ROBOT)


@pytest.fixture(scope="module")
def noisy():
    plant = plant_in_class(ROBOT, noise=1.0)
    return plant, fit([record(plant, effort=True)], ROBOT)


def test_without_noise_every_identified_number_is_within_a_thousandth(clean):
    plant, result = clean
    errors = _errors(result, plant)
    assert len(errors) == 2 * ROBOT.dof + 1  # lag and friction of each joint, and the delay
    assert max(errors.values()) < 1e-3
    assert result.explained


def test_without_effort_stiffness_stays_nominal_and_says_why(clean):
    _, result = clean
    stiffness = [q for q in result.judged.quantities if q.kind == "stiffness"]
    assert {q.status for q in stiffness} == {"not identified"}
    assert "record motor effort" in stiffness[0].why
    servo = result.calibration().servo
    assert servo.kp_nm_rad == list(ROBOT.servo.kp_nm_rad)
    lag = [
        (kv + d) / kp
        for kv, d, kp in zip(servo.kv_nms_rad, servo.damping_nms_rad, servo.kp_nm_rad, strict=True)
    ]
    assert lag == pytest.approx(truth(ROBOT, plant_in_class(ROBOT))["lag"], rel=1e-3)


def test_held_out_stretches_are_predicted_and_were_not_fitted(clean):
    _, result = clean
    held = result.held_out
    assert (held.rmse("fitted") < held.rmse("nominal") / 100).all()
    assert not set(np.unique(held.group)) & set(np.unique(result.found.groups))


def test_with_effort_and_noise_intervals_hold_the_truth(noisy):
    plant, result = noisy
    right, inside, total = truth(ROBOT, plant), 0, 0
    for quantity in result.estimated:
        if quantity.kind in right:
            j = 0 if quantity.joint is None else ROBOT.joint_names.index(quantity.joint)
            low, high = quantity.interval
            inside, total = inside + (low <= right[quantity.kind][j] <= high), total + 1
    assert total >= 20
    assert inside >= 0.9 * total - 1
    assert result.explained
    assert result.joints[0].noise_rad == pytest.approx(2e-4, rel=0.1)


def test_a_fit_that_ended_too_early_goes_on(noisy, monkeypatch):
    """As when its Jacobian has become too old in the valley of delay and damping."""
    plant, ended = noisy
    minimise, ends = estimation._minimise, []

    def too_early(problem, x, sigma, slope, progress, turn):
        x, slope = minimise(problem, x, sigma, slope, progress, turn)
        ends.append(turn)
        if len(ends) == 2:  # of the two fits
            kinds = {"delay": 0.3, "lag": -0.03}
            x = x + [kinds.get(name.kind, 0.0) for name in problem.layout.names]
        return x, slope

    monkeypatch.setattr(estimation, "_minimise", too_early)
    result = fit([record(plant, effort=True)], ROBOT)
    assert len(ends) > 2
    for found, right in zip(result.estimated, ended.estimated, strict=True):
        deviation = (right.interval[1] - right.interval[0]) / 3.92
        assert found.estimate == pytest.approx(right.estimate, abs=deviation), found.name


@pytest.mark.parametrize("scale", [0.1, 1.0, 16.0])
def test_identified_is_within_two_percent_and_wide_is_used_but_not_claimed(noisy, scale):
    _, result = noisy
    problem = result.problem
    judged = judge(problem.layout, result.found.x, scale * result.found.covariance, True, result.joints)
    met = set()
    for q, value, deviation in zip(judged.quantities, judged.estimates, judged.deviations, strict=True):
        if q.kind in ENOUGH:
            assert q.status in ("identified", "not identified")
            continue
        met.add(q.status)
        at_99 = 2.575829 * deviation / abs(value)
        assert (q.status == "identified") == (at_99 <= 0.02)
        assert (q.status == "not identified") == (1.959964 * deviation > 0.10 * abs(value))
        assert (q.estimate is None) == (q.status == "not identified")
        assert bool(q.why) == (q.status != "identified")
        if q.status == "wide":
            assert q.estimate == value
            assert line(q).endswith(f"wide: {q.why}")
            assert "1.5 % is identified" in q.why
    wide = next((q for q in judged.quantities if q.status == "wide" and q.kind == "stiffness"), None)
    if scale == 16.0:
        assert met == {"wide", "not identified"} or met == {"identified", "wide", "not identified"}
        assert wide is not None
        servo = servo_of(ROBOT, judged.quantities, problem.layout.reference_inertia, True)
        assert servo.kp_nm_rad[ROBOT.joint_names.index(wide.joint)] == wide.estimate
        low, high = ranges_of(ROBOT, judged.quantities, servo, None)[0]["actuator_gain_scale"][wide.joint]
        assert (low, high) == pytest.approx(
            (wide.interval[0] / wide.estimate, wide.interval[1] / wide.estimate)
        )
        marked = _parameters({"quantities": [q.model_dump(mode="json") for q in judged.quantities]})
        assert marked.count(">wide</span>") == sum(q.status == "wide" for q in judged.quantities)


def test_with_effort_nothing_is_seen_where_nothing_hangs(noisy):
    _, result = noisy
    mass = next(q for q in result.judged.quantities if q.kind == "payload_mass")
    assert mass.status == "not identified"
    assert result.calibration().payload is None


@pytest.mark.parametrize(
    "change",
    [
        {"backlash_rad": [1e-3]},
        {"friction_falls_nm": (4e-4 * np.array(ROBOT.servo.kp_nm_rad)).tolist()},
    ],
)
def test_a_plant_outside_the_class_gives_no_confident_number(change):
    plant = plant_in_class(ROBOT, noise=1.0, **change)
    result = fit([record(plant)], ROBOT)
    assert not result.explained
    failing = [joint.joint for joint in result.joints if not joint.explained]
    assert len(failing) >= 3
    assert not result.identified
    assert {q.interval for q in result.judged.quantities} == {None}
    with pytest.raises(DataError, match="The model does not explain the log: "):
        result.calibration()


def test_a_calibration_holds_for_its_robot_file_only(clean, tmp_path):
    _, result = clean
    path = tmp_path / "ur5e.calibration.yaml"
    written = write_calibration(result.calibration(), path)
    robot = load_robot(path)
    assert robot.calibration.digest == written.digest
    assert (robot.name, robot.digest) == (ROBOT.name, ROBOT.digest)
    model = robot.spec().compile()
    assert model.dof_frictionloss[:6] == pytest.approx(written.servo.friction_nm)
    assert -model.actuator_biasprm[:6, 2] == pytest.approx(written.servo.kv_nms_rad)
    text = path.read_text().replace(ROBOT.digest, "f" * 64)
    path.write_text(text)
    with pytest.raises(CalibrationError, match="another robot file 'ur5e'"):
        load_robot(path)
    with pytest.raises(DataError, match="already calibrated"):
        fit([record(plant_in_class(ROBOT), duration_s=1.0)], robot)

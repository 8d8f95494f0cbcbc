"""Friction over the logs: what grows is found on its joint, what all joints share is not taken for wear."""

import json
from dataclasses import replace

import numpy as np
import pytest
from browser import dump_dom, needs_chromium
from command_line import run as command
from plant_session import plant_log

from robolearn.data.motion import Motion, Stream
from robolearn.data.safety_log import read_safety_log
from robolearn.dossier.condition import EFFORT, TRACKING, assess, steadied
from robolearn.dossier.condition_page import joint_line, metrics, write_condition
from robolearn.dossier.joint_friction import FRICTION_TERMS, Features, Terms, features, model_torques
from robolearn.errors import DataError
from robolearn.robots import load_robot

FR3 = load_robot("fr3")
KP = np.asarray(FR3.servo.kp_nm_rad)
HEALTHY_NM = np.array([2.0, 2.0, 2.0, 2.0, 0.6, 0.6, 0.6])


def months(rng, growth_nm=0.0, joint=3, days=60, load=None, unseen=()):
    """Features of healthy days with temperature +-10 % and 3 % of noise; from day 30 on one joint wears."""
    found = []
    for day in range(days):
        friction = HEALTHY_NM * (1 + rng.uniform(-0.1, 0.1)) * (1 + rng.normal(0, 0.03, 7))
        friction[joint] += growth_nm * max(0, day - 30)
        coulomb = friction / KP
        coulomb[list(unseen)] = np.nan
        gravity = np.where([0, 1, 0, 1, 0, 1, 0], 1 + rng.normal(0, 0.004, 7), np.nan)
        if load is not None and day >= load:
            gravity += 0.12
        found.append(Features(f"day {day}", None, coulomb, np.full(7, 0.004), gravity))
    return found


def test_sessions_in_which_nothing_moved_or_that_cannot_be_read_keep_nothing_from_being_found(recwarn):
    days = months(np.random.default_rng(3), 0.05)
    still = np.full(7, np.nan)
    for day in (4, 25, 33):
        days.insert(day, Features("still", None, still, np.full(7, 1e-4), still))
    result = assess(days, FR3, servo_known=True, left_out=["not counted: log 7 has no cycles"])
    assert [j.joint for j in result.alarms] == [FR3.joint_names[3]]
    assert result.notes[0] == "not counted: log 7 has no cycles"
    assert [str(warning.message) for warning in recwarn.list] == []
    with pytest.raises(DataError, match="1 logs are too few: .* not counted: x"):
        assess(days[:1], FR3, left_out=["not counted: x"])


def test_wear_of_one_joint_is_found_before_half_a_newton_metre_and_on_that_joint_alone():
    for seed in range(10):
        result = assess(months(np.random.default_rng(seed), 0.05), FR3, servo_known=True)
        assert [j.joint for j in result.alarms] == [FR3.joint_names[3]]
        worn = result.joints[3]
        assert 30 < worn.alarm < 39
        assert 24 <= worn.began <= worn.alarm
        assert worn.change == pytest.approx(0.05 * 27, rel=0.15)
        assert worn.unit == "Nm"


def test_a_healthy_arm_stays_quiet_for_months_whatever_the_temperature():
    quiet = [not assess(months(np.random.default_rng(100 + seed)), FR3).alarms for seed in range(40)]
    assert sum(quiet) >= 39


def test_a_changed_load_is_told_from_wear():
    result = assess(months(np.random.default_rng(1), load=40), FR3)
    assert result.load == 40
    assert result.alarms == []
    assert any("another load" in note for note in result.notes)


def test_a_joint_that_hardly_moves_is_not_followed_and_that_is_said():
    result = assess(months(np.random.default_rng(1), unseen=(6,)), FR3)
    assert result.joints[6].score[-1] is None
    assert any(note.startswith(FR3.joint_names[6]) for note in result.notes)
    with pytest.raises(DataError, match="Fewer than three joints moved"):
        assess(months(np.random.default_rng(1), unseen=range(5)), FR3)
    with pytest.raises(DataError, match="15 logs are too few"):
        assess(months(np.random.default_rng(1), days=15), FR3)


def test_the_friction_of_a_log_is_fitted_beside_gravity_speed_and_offset():
    time = np.arange(0, 20, 0.004)
    sent = FR3.home_rad + 0.3 * np.sin(time[:, None] * np.linspace(0.7, 1.3, 7))
    speed = np.gradient(sent, time, axis=0)
    acceleration = np.gradient(speed, time, axis=0)
    model = model_torques(FR3.spec(None).compile(), FR3, sent, speed, acceleration)
    torque = HEALTHY_NM * np.sign(speed) + 1.5 * speed + model.inertia + model.gravity + 0.4
    rng = np.random.default_rng(0)
    measured = sent - torque / KP + rng.normal(0, 1e-5, sent.shape)
    motion = Motion(
        "log", "", tuple(FR3.joint_names), Stream(time, {"position_rad": sent}),
        Stream(time, {"position_rad": measured, "effort": torque}), effort_unit="Nm",
    )  # fmt: skip
    found = features(motion, FR3)
    assert found.coulomb_rad * KP == pytest.approx(HEALTHY_NM, rel=0.03)
    assert found.coulomb_nm == pytest.approx(HEALTHY_NM, rel=0.03)
    assert found.gravity[1] == pytest.approx(1.0, abs=0.02)
    carries = torque + 2.0 * (model.weight + model.weight_inertia)
    loaded = replace(motion, measured=Stream(time, {"position_rad": measured, "effort": carries}))
    assert features(loaded, FR3).coulomb_nm == pytest.approx(HEALTHY_NM, rel=5e-3)  # a load is no friction
    assert features(loaded, FR3).gravity[1] > 1.1
    assert np.isnan(found.gravity[0])  # a vertical axis carries nothing
    short = Motion(
        "short", "", tuple(FR3.joint_names), Stream(time[:9], {"position_rad": sent[:9]}),
        Stream(time[:9], {"position_rad": measured[:9]}),
    )  # fmt: skip
    with pytest.raises(DataError, match="too few to fit"):
        features(short, FR3)


@pytest.mark.parametrize("sensor", ["motor", "link", "sometimes"])
def test_what_scatters_less_is_followed_and_a_torque_sensor_that_feels_no_friction_is_not(sensor):
    rng = np.random.default_rng(2)
    days = months(rng, 0.05)
    for k, day in enumerate(days):
        felt = day.coulomb_rad * KP / (1 + rng.normal(0, 0.02, 7)) * (1 + rng.normal(0, 0.002, 7))
        noise = rng.normal(0.0, 0.01, 7)
        in_effort = {"motor": felt, "link": noise, "sometimes": felt if k % 2 else np.full(7, np.nan)}[sensor]
        days[k] = Features(day.source, None, day.coulomb_rad, day.tracking_rms_rad, day.gravity, in_effort)
    if sensor == "motor":  # the tracking error is the one that scatters
        for k, day in enumerate(days):
            noisy = day.coulomb_rad * (1 + rng.normal(0, 0.2, 7))
            days[k] = Features(day.source, None, noisy, day.tracking_rms_rad, day.gravity, day.coulomb_nm)
    result = assess(days, FR3)
    wanted = EFFORT if sensor == "motor" else TRACKING
    assert {joint.source for joint in result.joints} == {wanted}
    assert [j.joint for j in result.alarms] == [FR3.joint_names[3]]
    assert {joint.unit for joint in result.joints} == {"Nm" if sensor == "motor" else "rad"}
    if sensor == "motor":
        assert result.joints[3].change == pytest.approx(0.05 * 27, rel=0.15)
        assert not any("servo is the manufacturer's" in note for note in result.notes)


def test_temperature_does_not_hide_which_of_both_has_less_noise():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        days = months(rng)  # temperature +-10 %, tracking error with 3 % of noise
        for k, day in enumerate(days):
            warmth = np.median(day.coulomb_rad * KP / HEALTHY_NM)
            felt = HEALTHY_NM * warmth * (1 + rng.normal(0, 0.01, 7))
            days[k] = replace(day, coulomb_nm=felt)
        assert {joint.source for joint in assess(days, FR3).joints} == {EFFORT}


def _logs_of_terms(rng, days=60, varies=0.0):
    """Friction of one joint and the terms beside it, whose errors go together as those of direction and speed do."""
    size = len(FRICTION_TERMS)
    errors = np.eye(size)
    errors[0, 1] = errors[1, 0] = -0.85
    kept = []
    for _ in range(days):
        right = np.array([1.0, 0.5 + varies * rng.normal(), 0.2, 0.1])
        values = rng.multivariate_normal(right, 1e-4 * errors)
        kept.append(Terms(values[None], 1e-4 * errors[None]))
    return np.array([one.values[:, 0] for one in kept]), kept


def test_the_error_of_the_terms_beside_it_is_taken_out_of_the_friction():
    rng = np.random.default_rng(0)
    plain, terms = _logs_of_terms(rng, 400)
    found, own = steadied(plain, terms, 200)
    assert plain.std() == pytest.approx(0.01, rel=0.15)
    assert found.std() < 0.65 * plain.std()  # sqrt(1 - 0.85^2) where they are wholly steady
    assert found.mean() == pytest.approx(1.0, abs=0.002)
    assert own == pytest.approx(found.std(), rel=0.15)
    plain[200:] += 0.1  # wear
    terms[200:] = [Terms(one.values + np.array([0.1, 0, 0, 0]), one.covariance) for one in terms[200:]]
    assert np.diff(steadied(plain, terms, 200)[0].reshape(2, 200).mean(1)) == pytest.approx(0.1, abs=0.003)


def test_terms_that_vary_by_themselves_are_not_taken_for_friction():
    """As viscous friction does with temperature: held to their mean they would move the friction by 0.85 of theirs."""
    plain, terms = _logs_of_terms(np.random.default_rng(0), 400, varies=0.2)
    found, _ = steadied(plain, terms, 200)
    assert found.std() < 1.1 * plain.std()
    assert steadied(plain, [None] * 400, 200)[0] == pytest.approx(
        plain
    )  # logs of which nothing is known beside it
    few = [Terms(np.full((1, 4), np.nan), np.full((1, 4, 4), np.nan))] * 195 + terms[195:]
    assert steadied(plain, few, 200)[0] == pytest.approx(plain)


def test_noise_around_no_friction_is_not_followed():
    """As of `serve --sim`, whose arm has none: beside each other such joints would seem to grow by any factor."""
    rng = np.random.default_rng(0)
    nan = np.full(7, np.nan)
    days = [Features(f"day {k}", None, rng.normal(1e-6, 2e-5, 7), np.full(7, 0.003), nan) for k in range(60)]
    with pytest.raises(DataError, match="a simulated arm has no friction unless its plant"):
        assess(days, FR3)


def test_recorded_safety_logs_of_an_arm_with_friction_are_read(tmp_path, capsys):
    plant = plant_log(tmp_path / "log", tmp_path / "k.pem", "fr3", duration_s=12.0)
    found = features(read_safety_log(tmp_path / "log"), FR3)
    friction = plant.of("friction_nm", FR3, 0.0)
    stiffness = KP * plant.of("stiffness_scale", FR3, 1.0)
    moved = np.isfinite(found.coulomb_rad)
    assert moved.sum() >= 5
    np.testing.assert_allclose((found.coulomb_rad * stiffness)[moved], friction[moved], rtol=0.35, atol=0.1)
    (tmp_path / "empty").mkdir()
    logs = [tmp_path / "log"] * 4
    page = tmp_path / "c.html"
    status, out, err = command(capsys, "condition", *logs, tmp_path / "empty", "--baseline", "3", "-o", page)
    assert (status, err) == (0, "")
    assert "not counted: No safety log in" in out
    assert "the servo is the manufacturer's and unknown" in out
    assert page.is_file()


@needs_chromium
def test_a_browser_shows_the_page(tmp_path):
    page, *_ = write_condition(assess(months(np.random.default_rng(3), 0.05), FR3), tmp_path / "c.html")
    shown = dump_dom(page.as_uri(), tmp_path / "profile").stdout
    assert shown.count("<svg") == 7
    assert "Condition of fr3" in shown


def test_page_json_and_metrics_say_the_same(tmp_path):
    result = assess(months(np.random.default_rng(3), 0.05), FR3)
    page, beside, prom = write_condition(result, tmp_path / "c.html")
    assert "friction grows from log" in page.read_text()
    assert "<script" not in page.read_text()
    assert json.loads(beside.read_bytes())["alarms"] == [FR3.joint_names[3]]
    assert f'alarm{{robot="fr3",joint="{FR3.joint_names[3]}"}} 1' in prom.read_text()
    assert metrics(result) == prom.read_text()
    assert " rad relative to the other joints" in joint_line(result, result.joints[3])
    assert joint_line(result, result.joints[0]).endswith("no growth of friction")

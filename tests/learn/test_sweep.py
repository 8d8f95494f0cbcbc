"""Sweeps: shifts with several amounts, and the region in which a threshold holds."""

import json

import pytest
from command_line import run as command

from robolearn.config import merged
from robolearn.env.task import load_task, task_classes
from robolearn.errors import ConfigError
from robolearn.learn.evaluation import wilson
from robolearn.learn.shifts import shifted
from robolearn.learn.sweep import SWEEPS, amount_text, chosen_sweeps, region_text, sweep

BY_NAME = {one.name: one for one in SWEEPS}


def changes(task, name, amount):
    from dataclasses import replace

    found = shifted(task, replace(BY_NAME[name].shift, amount=amount))
    return None if found is None else found["randomization"]


@pytest.mark.parametrize("name", sorted(task_classes()))
def test_every_task_takes_every_amount_of_every_sweep(name):
    task = load_task(f"fr3/{name}")
    config = task.config.model_dump(mode="json")
    for one in SWEEPS:
        for amount in one.amounts:
            found = changes(task, one.name, amount)
            if found is not None:
                load_task(f"fr3/{name}", merged(config, {"randomization": found}))


def test_a_payload_is_carried_by_the_tool_and_the_arm_does_not_know_of_it():
    from robolearn.env.vec_env import VecEnv

    task = load_task("fr3/reach")
    (name, between), *_ = [
        (body, value)
        for body, value in changes(task, "payload", 2.0)["body_mass_scale"].items()
        if body != "*"
    ]
    config = merged(task.config.model_dump(mode="json"), {"randomization": changes(task, "payload", 2.0)})
    env = VecEnv(load_task("fr3/reach", config), 1)
    body = env.model.body(int(env.model.site("tcp").bodyid[0]))
    assert body.name == name
    mass = float(body.mass[0])
    assert [mass * scale for scale in between] == pytest.approx([0.95 * mass + 2.0, 1.05 * mass + 2.0])


def test_joints_and_objects_that_are_measured_wrongly():
    task = load_task("fr3/pick_cube")
    assert changes(task, "joint_calibration", 0.01) == {"sensor_bias": {"joint_position": 0.01}}
    assert changes(task, "pose_calibration", 0.01) == {"sensor_bias": {"cube_position": 0.01}}
    assert changes(load_task("fr3/reach"), "pose_calibration", 0.01) is None
    assert changes(task, "dropped", 0.3) == {"observation_drop": 0.3}


class Policy:
    """Succeeds in fewer of 1,000 episodes the longer readings take."""

    def __init__(self):
        self.played = []

    def __call__(self, config):
        delay = config["randomization"]["observation_delay_ms"][1]
        self.played.append(delay)
        return wilson("all", {20: 999, 40: 995, 80: 700, 160: 0}[int(delay)], 1000)


def latency(policy, threshold, trained=1000):
    task = load_task("fr3/reach")
    found = sweep(
        task, policy, wilson("as trained", trained, 1000), seed=1, threshold=threshold, stated="x",
        sweeps=chosen_sweeps(["observation_latency", "pose_calibration"]),
    )  # fmt: skip
    assert found.not_played == ("pose_calibration",)  # reach has no object
    (only,) = found.sweeps
    return only, found


def test_the_region_ends_with_the_first_amount_that_does_not_hold_and_one_more_is_drawn():
    policy = Policy()
    found, report = latency(policy, 0.98)
    assert (found.holds_to, found.ends) == (40, 80)
    assert [point.holds for point in found.points] == [True, True, True, False, False]
    assert region_text(found, 0.98) == "holds to 40 ms, no longer at 80 ms"
    assert json.loads(json.dumps(report.to_json()))["sweeps"][0]["points"][3]["success"]["successes"] == 700
    policy = Policy()
    found, _ = latency(policy, 0.995)  # the first amount fails: the third is not played
    assert (found.holds_to, found.ends, policy.played) == (0, 20, [20, 40])
    assert region_text(found, 0.995) == "holds as trained, no longer at 20 ms"


def test_it_is_the_lower_end_of_the_interval_that_must_hold():
    found, _ = latency(Policy(), 0.995)  # 999 of 1,000, from 99.4 %
    assert found.points[1].success.rate > 0.995 > found.points[1].success.low
    assert found.ends == 20


def test_a_policy_below_the_threshold_as_trained_has_no_region():
    policy = Policy()
    found, _ = latency(policy, 0.98, trained=900)
    assert (found.holds_to, found.ends, policy.played) == (None, 0, [20])
    assert region_text(found, 0.98) == "the threshold does not hold as trained"


def test_without_a_threshold_every_amount_is_played():
    policy = Policy()
    found, _ = latency(policy, None)
    assert policy.played == [20, 40, 80, 160]
    assert (found.holds_to, found.ends) == (None, None)
    assert region_text(found, None) == "no threshold stated; evaluated to 160 ms"
    found, _ = latency(Policy(), 0.0)
    assert region_text(found, 0.0) == "holds to 160 ms, the furthest that was evaluated"


def test_names_and_amounts():
    assert [one.name for one in chosen_sweeps(["friction", "noise"])] == ["noise", "friction"]
    assert chosen_sweeps(()) == SWEEPS
    assert amount_text(0.5, "x") == "0.5 times"
    assert amount_text(0.3, "") == "0.3"
    with pytest.raises(ConfigError, match=r"Unknown sweep 'payloads'.*Did you mean 'payload'"):
        chosen_sweeps(["payloads"])


def test_wrong_use_is_named(capsys, tmp_path):
    for words, message in (
        (["--only", "payloads"], "Unknown sweep 'payloads'"),
        (["--episodes", "0"], "episodes is 0, expected 1 to 1,000"),
        (["--threshold", "95"], "threshold is 95, expected a share between 0 and 1"),
        (["--robot", "fr3"], "--robot is for a bundle"),
    ):
        status, _, err = command(capsys, "sweep", tmp_path, *words)
        assert (status, message in err) == (2, True)

"""Shifts beyond the trained ranges, the expert on measured slots, and what `robolearn eval` makes of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from robolearn.config import merged
from robolearn.env.slot_observation import measured_expert, observing_measurements
from robolearn.env.task import has_expert, load_task, task_classes
from robolearn.env.vec_env import VecEnv, make
from robolearn.learn import robustness as plays
from robolearn.learn.evaluate import evaluate
from robolearn.learn.robustness import TRAINED, run_robustness
from robolearn.learn.shifts import SHIFTS, shifted

BY_NAME = {shift.name: shift for shift in SHIFTS}
QUICK = {"episode_s": 0.4, "success_hold_s": 0.1}


def changes(task, name):
    found = shifted(task, BY_NAME[name])
    return None if found is None else found["randomization"]


def test_a_shift_moves_the_range_that_the_config_has():
    given = {"observation_delay_ms": [10.0, 20.0], "action_delay_ms": [0.0, 30.0]}
    given |= {"friction_scale": {"*": [0.8, 1.2]}}
    task = load_task("fr3/pick_cube", {"randomization": given})
    assert changes(task, "action_latency") == {"action_delay_ms": [40.0, 70.0]}
    assert changes(task, "observation_latency") == {"observation_delay_ms": [50.0, 60.0]}
    assert changes(task, "half_friction") == {"friction_scale": {"*": [0.4, 0.6]}}
    assert changes(task, "double_mass") == {"body_mass_scale": {"cube": [1.0, 4.0]}}
    assert changes(task, "pose_bias") == {"sensor_bias": {"cube_position": 0.005}}
    noise = changes(task, "double_noise")["sensor_noise"]
    assert noise == pytest.approx({"joint_position": 4e-4, "joint_velocity": 0.02, "cube_position": 0.002})


def test_a_larger_bias_of_the_config_stays_and_a_friction_that_is_not_drawn_is_halved():
    changed = {"sensor_bias": {"cube_position": 0.008}, "friction_scale": None}
    task = load_task("fr3/pick_cube", {"randomization": changed})
    assert changes(task, "pose_bias") == {"sensor_bias": {"cube_position": 0.008}}
    assert changes(task, "half_friction") == {"friction_scale": {"*": [0.5, 0.5]}}


def test_a_task_without_objects_has_no_shift_of_them():
    task = load_task("fr3/reach", {"randomization": {"action_delay_ms": [0.0, 30.0]}})
    assert changes(task, "double_mass") is None
    assert changes(task, "pose_bias") is None
    assert changes(task, "action_latency") == {"action_delay_ms": [40.0, 70.0]}


@pytest.mark.parametrize("name", sorted(task_classes()))
def test_every_task_takes_every_shift(name):
    task = load_task(f"fr3/{name}")
    config = task.config.model_dump(mode="json")
    for shift in SHIFTS:
        found = shifted(task, shift)
        if found is not None:
            load_task(f"fr3/{name}", merged(config, found))


@pytest.mark.parametrize("name", [n for n in sorted(task_classes()) if has_expert(load_task(f"fr3/{n}"))])
def test_an_expert_on_measured_slots_acts_as_on_true_ones_where_nothing_is_noisy(name):
    drawn = load_task(f"fr3/{name}").config.randomization
    plain: dict[str, object] = {"action_delay_ms": [0.0, 0.0], "observation_delay_ms": [0.0, 0.0]}
    for term in ("sensor_noise", "sensor_bias", "sensor_drift"):
        plain[term] = dict.fromkeys(getattr(drawn, term), 0.0)
    env = VecEnv(observing_measurements(load_task(f"fr3/{name}", {"randomization": plain})), 8, "native")
    state = jax.jit(env.reset)(jax.random.key(0))
    np.testing.assert_allclose(
        jax.jit(measured_expert(env))(state), jax.jit(env.expert)(state), atol=2e-3, rtol=0.0
    )


def test_policy_and_expert_play_the_same_episodes(monkeypatch):
    monkeypatch.setattr(plays, "SHIFTS", (BY_NAME["pose_bias"], BY_NAME["action_latency"]))
    config = QUICK | {"tolerance_m": 0.3, "reward": {"action": 0.0}}
    env = make("fr3/reach", 16, "native", config)
    still = lambda obs: jnp.zeros((*obs.shape[:-1], env.action_size))  # noqa: E731
    found = evaluate(env, still, 16, seed=3)
    result = run_robustness("fr3/reach", config, "native", still, found)
    assert [row.name for row in result.rows] == [TRAINED, "action_latency"]  # it has no poses to be off
    trained = result.rows[0]
    assert trained.policy.successes == found.success.successes
    for row in result.rows:
        assert row.expert is not None
        assert row.difference is not None
        assert row.difference.episodes == row.policy.episodes == row.expert.episodes == 16
        gap = (row.policy.successes - row.expert.successes) / 16
        assert row.difference.difference == pytest.approx(gap)
    # An arm that stands still does so however late its commands are.
    assert len({row.policy.successes for row in result.rows}) == 1
    assert result.to_json()["rows"][0]["difference"]["p"] <= 1.0

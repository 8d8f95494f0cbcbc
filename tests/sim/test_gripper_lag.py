"""Fingers that begin late and move no faster than they can, as a gripper with a driver of its own has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import robolearn
from robolearn.robots import load_robot
from robolearn.robots.gripper_files import load_gripper
from robolearn.sim.gripper_lag import GripperLag, gripper_lag
from robolearn.sim.sensing import SensingConfig

PERIOD, SUBSTEPS = 0.02, 4
STEP = PERIOD / SUBSTEPS


def set_points(latency_s, speed_m_s, sent, periods):
    """[periods * SUBSTEPS] of a gripper that rests at 0.08 m and is then sent an opening in each period."""
    lag = GripperLag((latency_s, latency_s), (speed_m_s, speed_m_s), PERIOD, SUBSTEPS)
    state, found = lag.start(jax.random.key(0), jnp.array([0.08])), []
    for k in range(periods):
        state, got = lag.send(state, jnp.full((SUBSTEPS, 1), sent(k)))
        found.append(np.asarray(got)[:, 0])
    return np.concatenate(found)


@pytest.mark.parametrize("latency_s", [0.0, 0.005, 0.035, 0.2])
def test_a_step_arrives_after_the_latency_and_at_the_speed(latency_s):
    found = set_points(latency_s, 0.1, lambda k: 0.03, 40)
    t = np.arange(1, len(found) + 1) * STEP
    np.testing.assert_allclose(
        found, np.maximum(0.08 - 0.1 * np.maximum(t - latency_s, 0.0), 0.03), atol=1e-6
    )


def test_an_opening_that_is_taken_back_in_time_moves_the_fingers_back():
    found = set_points(0.04, 0.1, lambda k: 0.03 if k < 5 else 0.08, 20)
    assert found.min() == pytest.approx(0.07, abs=1e-6)
    assert found[-1] == pytest.approx(0.08)


@pytest.mark.parametrize("name", ["franka_hand", "robotiq_2f85", "schunk_egk40"])
def test_latency_and_speed_come_from_the_grippers_file_and_are_drawn_for_each_episode(name):
    file = load_gripper(name)
    assert file.sources["latency_s"].source
    lag = gripper_lag(load_robot(f"fr3+{name}").gripper, SensingConfig(), PERIOD, SUBSTEPS)
    keys = jax.random.split(jax.random.key(0), 2000)
    drawn = jax.vmap(lambda key: lag.start(key, jnp.zeros(1)))(keys)
    for values, (low, high) in (
        (drawn.latency, file.latency_s),
        (drawn.speed, (0.8 * file.speed_max_m_s, file.speed_max_m_s)),
    ):
        share = (np.asarray(values) - low) / (high - low)
        np.testing.assert_allclose(np.quantile(share, [0.0, 0.5, 1.0]), [0.0, 0.5, 1.0], atol=0.05)
    assert abs(np.corrcoef(drawn.latency, drawn.speed)[0, 1]) < 0.1


def test_a_gripper_without_a_latency_follows_the_stream_and_a_config_has_the_last_word():
    own, hand = load_robot("fr3").gripper, load_robot("fr3+franka_hand").gripper
    assert gripper_lag(own, SensingConfig(), PERIOD, SUBSTEPS) is None
    assert gripper_lag(own, SensingConfig(gripper_delay_ms=(50.0, 50.0)), PERIOD, SUBSTEPS) is not None
    state = gripper_lag(hand, SensingConfig(gripper_delay_ms=(50.0, 50.0)), PERIOD, SUBSTEPS)
    assert state.start(jax.random.key(1), jnp.zeros(1)).latency == pytest.approx(0.05)


@pytest.mark.parametrize("share", [(0.0, 1.0), (0.9, 0.8), (0.5, 1.5)])
def test_a_share_of_the_speed_that_cannot_be_is_refused(share):
    with pytest.raises(ValueError, match="a share is"):
        SensingConfig(gripper_speed_share=share)


def test_the_fingers_of_the_environment_are_late_and_slow():
    config = {"randomization": {"gripper_delay_ms": [100, 100], "gripper_speed_share": [0.5, 0.5]}}
    env = robolearn.make("fr3+franka_hand/pick_cube", 2, "native", config)
    step, state = jax.jit(env.step), env.reset(jax.random.key(0))
    first = np.asarray(env.readings(state.physics)["gripper_width"])[:, 0]
    closing = jnp.zeros((2, env.action_size)).at[:, -1].set(-1.0)
    widths = []
    for _ in range(20):
        state = step(state, closing)
        widths.append(np.asarray(env.readings(state.physics)["gripper_width"])[:, 0])
    assert np.abs(widths[4] - first).max() < 5e-4  # 0.1 s
    np.testing.assert_allclose(widths[19], first - 0.3 * 0.05, atol=4e-3)

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from env_programs import programs

import robolearn
from robolearn.errors import TaskError
from robolearn.policy.slots import Slot
from robolearn.sim.sensing import CommandDelay, Sensing, SensingConfig

PERIOD = 0.02
ENVS = 6  # of which the plain environment's programs are those of tests/env/test_vec_env.py
SLOTS = (
    Slot("q", (2,), "rad", "joint_state.position"),
    Slot("dq", (2,), "rad/s", "joint_state.velocity"),
    Slot("turn", (4,), "1", "pose.cube.orientation"),
    Slot("place", (3,), "m", "pose.cube.position"),
)
UPRIGHT = jnp.array([1.0, 0.0, 0.0, 0.0])


def reading(t):
    return {
        "q": jnp.array([t, -2.0 * t]),
        "dq": jnp.array([1.0, -2.0]),
        "turn": UPRIGHT,
        "place": jnp.full(3, t),
    }


@functools.cache
def compiled(config):
    """`start` and `measure` of a config, given as JSON, compiled once for all seeds."""
    sensing = Sensing(SLOTS, SensingConfig.model_validate_json(config), PERIOD)
    return jax.jit(sensing.start), jax.jit(sensing.measure)


def run(config, steps=200, seed=0, at=lambda k: reading(k * PERIOD)):
    """What one environment measures in each period, {slot: [steps + 1, ...]}."""
    start, measure = compiled(json.dumps(config))
    state, first = start(jax.random.key(seed), at(0))
    seen = [first]
    for k in range(1, steps + 1):
        state, measured = measure(state, at(k))
        seen.append(measured)
    return {name: np.stack([np.asarray(m[name]) for m in seen]) for name in first}


def test_nothing_declared_is_inactive():
    assert not Sensing(SLOTS, SensingConfig(), PERIOD).active


def test_noise_is_white_gaussian_of_the_declared_deviation_by_name_before_unit():
    seen = run({"sensor_noise": {"rad": 0.01, "rad/s": 0.5, "dq": 0.2}}, at=lambda k: reading(0.0))
    for name, deviation in (("q", 0.01), ("dq", 0.2)):
        error = seen[name] - np.asarray(reading(0.0)[name])
        assert error.std() == pytest.approx(deviation, rel=0.15)
        assert abs(error.mean()) < 0.2 * deviation
        assert abs(np.corrcoef(error[:-1, 0], error[1:, 0])[0, 1]) < 0.2
    np.testing.assert_array_equal(seen["turn"], np.tile(UPRIGHT, (201, 1)))


def test_bias_lasts_an_episode_and_differs_between_episodes():
    errors = []
    for seed in range(30):
        seen = run({"sensor_bias": {"q": 0.05}}, steps=3, seed=seed, at=lambda k: reading(0.0))
        np.testing.assert_array_equal(seen["q"][0], seen["q"][-1])
        errors.append(seen["q"][0])
    assert np.abs(errors).max() <= 0.05
    assert np.std(errors) == pytest.approx(0.05 / np.sqrt(3), rel=0.25)


def test_a_drift_is_a_straight_line_from_the_bias_and_differs_between_episodes():
    slopes = []
    for seed in range(30):
        seen = run(
            {"sensor_bias": {"q": 0.05}, "sensor_drift": {"rad": 0.5}}, 5, seed, lambda k: reading(0.0)
        )
        steps = np.diff(seen["q"], axis=0)
        np.testing.assert_allclose(steps, np.tile(steps[0], (5, 1)), atol=1e-7)
        assert np.abs(seen["q"][0]).max() <= 0.05
        slopes.append(steps[0] / PERIOD)
    assert 0.4 < np.abs(slopes).max() <= 0.5
    assert np.std(slopes) == pytest.approx(0.5 / np.sqrt(3), rel=0.25)
    alone = run({"sensor_drift": {"dq": 0.1}}, 3, at=lambda k: reading(0.0))
    np.testing.assert_array_equal(alone["dq"][0], reading(0.0)["dq"])  # it begins where the truth is
    assert (alone["dq"][1] != alone["dq"][0]).all()


def test_a_config_without_drift_is_written_as_before_there_was_any():
    assert "sensor_drift" not in SensingConfig().model_dump()
    assert SensingConfig(sensor_drift={"rad": 0.1}).model_dump()["sensor_drift"] == {"rad": 0.1}


@pytest.mark.parametrize("ms", [7.0, 20.0, 33.0, 40.0])
def test_a_delay_in_ms_is_exact_between_control_periods(ms):
    seen = run({"observation_delay_ms": [ms, ms]}, steps=10)
    t = np.maximum(np.arange(11) * PERIOD - ms / 1000, 0.0)
    np.testing.assert_allclose(seen["q"][:, 0], t, atol=1e-6)


@pytest.mark.parametrize(("all_ms", "poses_ms"), [(0.0, 30.0), (10.0, 30.0), (30.0, 0.0)])
def test_a_delay_of_poses_comes_on_top_and_leaves_joints_alone(all_ms, poses_ms):
    seen = run({"observation_delay_ms": [all_ms, all_ms], "pose_delay_ms": [poses_ms, poses_ms]}, steps=10)
    for slot, late_ms in (("q", all_ms), ("place", all_ms + poses_ms)):
        t = np.maximum(np.arange(11) * PERIOD - late_ms / 1000, 0.0)
        np.testing.assert_allclose(seen[slot][:, 0], t, atol=1e-6)


def test_the_delay_of_poses_is_drawn_by_itself():
    config = SensingConfig(observation_delay_ms=(5, 35), pose_delay_ms=(20, 80))
    sensing = Sensing(SLOTS, config, PERIOD)
    state, _ = jax.vmap(lambda key: sensing.start(key, reading(0.0)))(
        jax.random.split(jax.random.key(0), 4000)
    )
    share = (np.asarray(state.pose_delay) * PERIOD - 0.020) / 0.060
    np.testing.assert_allclose(np.quantile(share, np.linspace(0, 1, 21)), np.linspace(0, 1, 21), atol=0.03)
    assert abs(np.corrcoef(state.delay, share)[0, 1]) < 0.06


def test_delays_are_drawn_from_their_range():
    found = [
        10 * PERIOD - run({"observation_delay_ms": [5, 35]}, steps=10, seed=seed)["q"][-1, 0]
        for seed in range(40)
    ]
    assert 0.005 <= min(found) < 0.011
    assert 0.029 < max(found) <= 0.0351


def test_an_orientation_is_interpolated_as_a_rotation():
    quarter = jnp.array([np.cos(np.pi / 4), 0.0, 0.0, np.sin(np.pi / 4)])
    turned = lambda k: reading(0.0) | {"turn": -quarter if k else UPRIGHT}  # noqa: E731 - the same rotation, negated
    seen = run({"observation_delay_ms": [10, 10]}, steps=1, at=turned)["turn"][1]
    np.testing.assert_allclose(np.abs(seen), [np.cos(np.pi / 8), 0, 0, np.sin(np.pi / 8)], atol=1e-6)


def test_dropped_messages_repeat_the_last_one_for_every_slot_they_carry():
    seen = run({"observation_drop": 0.3, "sensor_noise": {"rad/s": 0.1}}, steps=600)
    lost = seen["q"][1:, 0] == seen["q"][:-1, 0]
    assert lost.mean() == pytest.approx(0.3, abs=0.06)
    np.testing.assert_array_equal(lost, seen["dq"][1:, 0] == seen["dq"][:-1, 0])
    kept = np.flatnonzero(~lost) + 1
    np.testing.assert_allclose(seen["q"][kept, 0], kept * PERIOD, atol=1e-6)


def test_command_delays_are_uniform_in_their_range_and_one_for_each_episode():
    delay = CommandDelay((5.0, 35.0), PERIOD, 4, gripper=False)
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.vmap(lambda key: delay.start(key, jnp.zeros(2), jnp.zeros(1)).delay)(keys)
    share = (np.asarray(drawn) - 0.005) / 0.030
    np.testing.assert_allclose(np.quantile(share, np.linspace(0, 1, 21)), np.linspace(0, 1, 21), atol=0.03)
    assert (share >= 0).all()
    assert (share <= 1).all()


@pytest.mark.parametrize("ms", [0.0, 3.0, 20.0, 27.5, 41.0])
def test_commands_arrive_late_by_exactly_the_delay(ms):
    """The stream as received at t is the stream as sent at t - delay, at every substep."""
    steps, substeps = 12, 4
    delay = CommandDelay((ms, ms), PERIOD, substeps, gripper=True)
    start = jnp.array([0.5, -0.5])
    state = delay.start(jax.random.key(0), start, jnp.array([0.04]))
    velocities = np.concatenate([[[0.0, 0.0]], np.random.default_rng(0).normal(size=(steps, 2))])
    positions = np.asarray(start) + np.concatenate(
        [[[0.0, 0.0]], np.cumsum(0.5 * (velocities[1:] + velocities[:-1]) * PERIOD, axis=0)]
    )
    widths = np.linspace(0.04, 0.0, steps + 1)
    got, grips = [], []
    for k in range(1, steps + 1):
        targets = {
            "joint_position_target": jnp.asarray(positions[k], jnp.float32),
            "joint_velocity_target": jnp.asarray(velocities[k], jnp.float32),
            "gripper_width_target": jnp.asarray(widths[k : k + 1], jnp.float32),
        }
        state, arm, grip = delay.send(state, targets)
        got.append(np.asarray(arm))
        grips.append(np.asarray(grip))
    t = np.arange(1, steps * substeps + 1) * PERIOD / substeps - ms / 1000
    k = np.clip(np.floor(t / PERIOD + 1e-6).astype(int), 0, steps - 1)
    tau = np.where(t < 0, 0.0, t - k * PERIOD)[:, None]
    acceleration = (velocities[k + 1] - velocities[k]) / PERIOD
    sent = positions[k] + velocities[k] * tau + 0.5 * acceleration * tau**2
    np.testing.assert_allclose(np.concatenate(got), sent, atol=2e-6)
    settled = np.abs(t / PERIOD - np.round(t / PERIOD)) > 1e-3  # off the instants at which the opening jumps
    expected = np.where(t < 0, 0.04, widths[k + 1])
    np.testing.assert_allclose(np.concatenate(grips)[settled, 0], expected[settled], atol=1e-6)


def test_the_environment_senses_and_delays_but_rewards_the_truth():
    config = {"episode_s": 0.6, "randomization": {"sensor_bias": {"joint_position": 0.05}}}
    env = robolearn.make("fr3/reach", ENVS, "native", config)
    plain = robolearn.make("fr3/reach", ENVS, "native", {"episode_s": 0.6})
    key, action = jax.random.key(0), jnp.full((ENVS, env.action_size), 0.5)
    (reset_sensed, step_sensed), (reset, step) = programs(env), programs(plain)
    a, b = step_sensed(reset_sensed(key), action), step(reset(key), action)
    np.testing.assert_array_equal(np.asarray(a.reward), np.asarray(b.reward))
    np.testing.assert_array_equal(np.asarray(a.critic_obs)[:, -3:], np.asarray(b.critic_obs)[:, -3:])
    bias = np.asarray(a.obs - b.obs)[:, :7]
    assert (np.abs(bias) > 1e-4).any()
    assert np.abs(bias).max() <= 0.05

    late = robolearn.make(
        "fr3/reach", ENVS, "native", {"episode_s": 0.6, "randomization": {"action_delay_ms": [30, 30]}}
    )
    reset_late, step_late = programs(late)
    state, truth = reset_late(key), reset(key)
    moved = []
    for _ in range(3):
        truth_before, truth = truth, step(truth, action)
        state = step_late(state, action)
        moved.append(np.abs(np.asarray(state.physics.qpos - truth_before.physics.qpos)).max())
    assert moved[0] < 2e-3, "nothing has reached the drives in the first 20 ms"
    q = [np.asarray(e.readings(s.physics)["joint_position"]) for e, s in ((late, state), (plain, truth))]
    assert np.abs(q[0] - q[1]).max() > 1e-3, "and it trails from then on"


def test_an_unknown_slot_is_named():
    with pytest.raises(TaskError, match="Did you mean 'dq'"):
        Sensing(SLOTS, SensingConfig(sensor_noise={"dqq": 0.1}), PERIOD)

"""The policy node's driver serves a policy with a history as its graph says, and a fresh start remembers nothing."""

import jax.numpy as jnp
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from robolearn_ros.driver import Go, PolicyDriver

from robolearn.env.task import load_task
from robolearn.policy.export import export_policy
from robolearn.policy.runtime import PolicyRuntime

RATE, RATIO, K = 500.0, 10, 3
HOLD = np.array([0.0, -0.7, 0.0, -2.2, 0.0, 1.6, 0.7])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    task = load_task("fr3/reach", {"history": K})
    n = task.robot.dof

    def actor(observation):
        past_velocity = observation[-2 * K * n : -K * n].reshape(K, n)  # before the past of the commands
        return jnp.tanh(0.2 + past_velocity[1] + 2.0 * past_velocity[2])

    return export_policy(
        task, actor, tmp_path_factory.mktemp("served") / "reach.robolearn", name="reach", training={}, evaluation={},
        signing_key=Ed25519PrivateKey.generate(),
    )  # fmt: skip


def sources(index):
    """What is measured in the control period of this tick: velocities that say which one it is."""
    speed = 0.1 * (1 + index // RATIO % 7)
    return {
        "joint_state.position": HOLD,
        "joint_state.velocity": np.full(7, speed),
        "goal.position": np.array([0.5, 0.0, 0.4]),
    }


def ends(driver, begin, periods):
    """Target velocities that the driver took from the policy in so many control periods from a tick on."""
    found = []
    for index in range(begin, begin + periods * RATIO):
        driver.command(index, Go.RUN, HOLD, sources(index))
        driver.advance(index, Go.RUN, sources(index))
        if index % RATIO == 0 and driver.computed:
            found.append(driver.runtime.memory["command_velocity"])
    return np.array(found)


def test_the_history_is_kept_between_ticks_and_begins_anew_after_a_hold(bundle):
    driver, alone = PolicyDriver(PolicyRuntime(bundle), RATE), PolicyRuntime(bundle)

    def by_itself(begin, periods):
        alone.reset({"joint_state.position": HOLD})
        found = []
        for index in range(begin, begin + periods * RATIO, RATIO):
            read = sources(index)
            alone.step(
                {
                    slot.name: read[slot.source]
                    for slot in (*bundle.manifest.slots, *bundle.manifest.goal_slots)
                }
            )
            found.append(alone.memory["command_velocity"])
        return np.array(found)

    driver.command(0, Go.HOLD, HOLD, sources(0))
    first = ends(driver, RATIO, 12)
    np.testing.assert_array_equal(first, by_itself(RATIO, 12))
    memory = driver.runtime.memory["past_joint_velocity"][
        :, 0
    ]  # the newest row is measured with the next step
    np.testing.assert_allclose(memory[1:], [0.1 * (1 + 12 % 7), 0.1 * (1 + 11 % 7)], rtol=1e-6)

    begin = 14 * RATIO
    driver.command(begin - RATIO, Go.HOLD, HOLD, sources(0))
    np.testing.assert_array_equal(ends(driver, begin, 12), by_itself(begin, 12))

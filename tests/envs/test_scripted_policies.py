"""Each task can be solved: its guide, or a script where it has none, succeeds on it."""

import jax
import pytest
from scripted import Guide, ReachPoseScript, play

import robolearn
from robolearn.tasks import task_classes

ENVS = 24
# (policy, least share of successes)
POLICIES = {
    "open_drawer": (Guide, 0.95),
    "peg_insert": (Guide, 0.95),
    "pick_cube": (Guide, 0.95),
    "push": (Guide, 0.9),
    "reach": (Guide, 0.95),
    "reach_pose": (ReachPoseScript, 0.85),
    "stack": (Guide, 0.95),
}


def test_every_task_has_a_policy():
    assert set(POLICIES) == set(task_classes())


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_the_policy_succeeds(name):
    policy, least = POLICIES[name]
    env = robolearn.make(f"fr3/{name}", num_envs=ENVS, engine="native")
    assert play(env, policy(), jax.random.key(0)) >= least

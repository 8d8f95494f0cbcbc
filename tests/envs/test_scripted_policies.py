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


# On the other arms a few tasks, each once: free in space, a grasp, a push. The rest takes long and differs little.
OTHER_ARMS = {"pick_cube": "ur5e", "push": "iiwa14", "reach": "ur5e", "reach_pose": "iiwa14"}
FEW = 8  # so that one failure in eight still passes


@pytest.mark.parametrize("name", sorted(OTHER_ARMS))
def test_the_policy_succeeds_on_another_arm(name):
    policy, _ = POLICIES[name]
    env = robolearn.make(f"{OTHER_ARMS[name]}/{name}", num_envs=FEW, engine="native")
    assert play(env, policy(), jax.random.key(0)) >= (FEW - 1) / FEW

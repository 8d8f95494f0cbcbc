"""Each task can be solved: its guide, or a script where it has none, succeeds on it."""

import jax
import pytest
from scripted import (
    DrawerScript,
    Guide,
    PegScript,
    PushScript,
    ReachPoseScript,
    ReachScript,
    StackScript,
    play,
)

import robolearn
from robolearn.tasks import task_classes

ENVS = 24
# (script, least share of successes). Pushing in a straight line is a crude way to push.
SCRIPTS = {
    "open_drawer": (DrawerScript, 0.95),
    "peg_insert": (PegScript, 0.95),
    "pick_cube": (Guide, 0.95),
    "push": (PushScript, 0.7),
    "reach": (ReachScript, 0.85),
    "reach_pose": (ReachPoseScript, 0.85),
    "stack": (StackScript, 0.9),
}


def test_every_task_has_a_script():
    assert set(SCRIPTS) == set(task_classes())


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_the_script_succeeds(name):
    script, least = SCRIPTS[name]
    env = robolearn.make(f"fr3/{name}", num_envs=ENVS, engine="native")
    assert play(env, script(), jax.random.key(0)) >= least

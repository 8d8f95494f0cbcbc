"""The steps of CONTRIBUTING.md are the steps needed: each is taken in a copy of the project, as its reader would."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

TASK = '''
"""Hold the tool centre point above a point."""

from robolearn_envs.reach import Reach, ReachConfig


class HoverConfig(ReachConfig):
    """As for reach, with less time to hold."""

    success_hold_s: float = 0.3


class Hover(Reach):
    """TCP position to a goal, with no expert to learn from."""

    name = "hover"
    summary = "bring the tool centre point to a random point and hold it there"
    success_text = "TCP within 2 cm of the goal at the end"
    config_type = HoverConfig

    def expert(self, readings, memory, goal):
        """None: it is learned from reward alone."""
        return None
'''

ENGINE = """

def _mirror(model: mujoco.MjModel, num_envs: int, room: Room) -> Physics:
    from robolearn.sim.mirror import MirrorPhysics

    return MirrorPhysics(model, num_envs)


ENGINES["mirror"] = _mirror
"""
MIRROR = '''
"""The native engine under another name."""

from robolearn.sim.native import NativePhysics


class MirrorPhysics(NativePhysics):
    """As native."""

    engine = "mirror"
'''


@pytest.fixture
def copy(tmp_path):
    """A copy of the project's sources and tests; nothing is installed from it."""
    for folder in ("robolearn", "envs", "tests", "configs", "ros2_ws"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "build")
        )
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def run(copy, *arguments):
    """A Python command in the copy: its output, and whether it went well."""
    path = os.pathsep.join(str(copy / part) for part in (".", "envs", "ros2_ws/src/robolearn_ros"))
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": path, "COLUMNS": "200", "NO_COLOR": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
    )
    return ended.stdout + ended.stderr, ended.returncode


def check(copy, chosen, *files):
    """Run chosen tests of the copy, which must pass: their number and what they printed."""
    output, code = run(copy, "-m", "pytest", "-rs", "-k", chosen, *(f"tests/{file}" for file in files))
    assert code == 0, output[-3000:]
    return int(re.search(r"(\d+) passed", output)[1]), output


@pytest.mark.slow
def test_a_task_is_one_file(copy):
    (copy / "envs/robolearn_envs/hover.py").write_text(TASK.lstrip())
    listed, code = run(copy, "-m", "robolearn", "tasks")
    assert code == 0, listed
    assert "fr3/hover" in listed
    few = "words or slots or reward_terms or no_episode or solves"
    passed, output = check(copy, f"fr3/hover and ({few})", "envs/test_every_task.py")
    assert passed == 4
    assert "hover has neither an expert nor a script in SCRIPTS" in output


def test_an_arm_is_one_file_and_a_profile(copy):
    for folder in ("robolearn/robots", "configs/safety"):
        text = (copy / folder / "ur5e.yaml").read_text()
        (copy / folder / "mine.yaml").write_text(re.sub(r"\bur5e\b", "mine", text))
    output, code = run(copy, "-m", "robolearn", "robots", "check", "robolearn/robots/mine.yaml")
    assert code == 0, output
    passed, _ = check(copy, "mine", "robots/test_robot_limits.py", "safety/test_profile.py")
    assert passed >= 3


def test_a_slot_source_is_a_line_of_the_table(copy):
    table = copy / "robolearn/policy/sources.py"
    row = 'SOURCES = (\n    Source("wind.speed", (3,), "m/s", "std_msgs/Float64MultiArray", "/wind", "measured wind"),'
    table.write_text(table.read_text().replace("SOURCES = (", row, 1))
    slot = "from robolearn.policy.slots import Slot; Slot('wind', (3,), 'm/s', 'wind.speed')"
    output, code = run(copy, "-c", slot)
    assert code == 0, output
    passed, _ = check(copy, "not fr3", "policy/test_sources.py", "ros/test_messages.py")
    assert passed >= 3


@pytest.mark.slow
def test_an_engine_is_a_class_and_a_line_of_the_table(copy):
    (copy / "robolearn/sim/mirror.py").write_text(MIRROR.lstrip())
    with (copy / "robolearn/sim/engines.py").open("a") as file:
        file.write(ENGINE)
    passed, _ = check(copy, "mirror and reach and not pose", "sim/test_engines.py")
    assert passed == 1  # against the native engine


def test_a_rule_without_the_other_steps_fails_the_test_that_names_them(copy):
    table = copy / "robolearn/safety/rules.py"
    row = 'RULES = (\n    Rule("noise", _S, "noise_max_db", "dB", Effect.STOP, "the arm is quiet"),'
    table.write_text(table.read_text().replace("\nRULES = (", f"\n{row}", 1))
    output, code = run(copy, "-m", "pytest", "tests/safety/test_every_rule.py", "-k", "has_a_limit and noise")
    assert code == 1, output[-3000:]
    assert "noise_max_db" in output

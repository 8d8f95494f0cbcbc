"""Cubes are picked over the way in which each manufacturer's gripper is commanded."""

import pytest

from benchmarks import grippers


@pytest.mark.slow
@pytest.mark.parametrize("name", ["franka_hand", "robotiq_2f85", "schunk_egk40"])
def test_a_cube_is_picked_with_few_commands_to_the_gripper(name, tmp_path, capsys):
    assert grippers.measure(name, range(2), 250.0, None, tmp_path) == 2
    said = capsys.readouterr().out
    assert (
        float(said.split(" commands to the gripper")[0].split()[-1]) < 12.0
    )  # moves and grasps do not alternate

"""An arm of one's own, from an MJCF file and a limits block, through every command that takes `robot/task`."""

import os
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import yaml

import robolearn
from robolearn.cli import app as cli
from robolearn.env import naming
from robolearn.errors import BundleError, RobotError, TaskError
from robolearn.learn.evaluate_bundle import bundle_env
from robolearn.policy.bundle import PolicyBundle

MJCF = """
<mujoco model="three">
  <worldbody>
    <light pos="0 0 3"/>
    <geom name="floor" type="plane" size="2 2 0.1"/>
    <body name="stand" pos="0 0 0.1">
      <geom type="box" size="0.05 0.05 0.1"/>
      <body name="upper" pos="0 0 0.2">
        <joint name="turn" axis="0 0 1" range="-150 150"/>
        <joint name="lift" axis="0 1 0" range="-100 100"/>
        <geom type="capsule" fromto="0 0 0 0.3 0 0.1" size="0.04"/>
        <body name="fore" pos="0.3 0 0.1">
          <joint name="bend" axis="0 1 0" range="-150 150"/>
          <geom type="capsule" fromto="0 0 0 0.25 0 0" size="0.03"/>
        </body>
      </body>
    </body>
  </worldbody>
</mujoco>
"""
SHORT = ("env.episode_s=0.4", "env.success_hold_s=0.1", "total_steps=1024", "num_envs=64", "ppo.minibatches=4",
         "ppo.actor_hidden=[8]", "ppo.critic_hidden=[8]")  # fmt: skip


def robot_file(folder, name="my_arm.yaml", reach_m=0.6):
    given = {"source": "nameplate", "trust": "primary"}
    limits = {
        "position_min_rad": [-2.5, -1.7, -2.6],
        "position_max_rad": [2.5, 1.7, 2.6],
        "velocity_rad_s": [2.0, 2.0, 2.0],
        "torque_nm": [80.0, 80.0, 40.0],
    }
    data = {
        "schema": "robolearn.robot/1",
        "name": "three",
        "label": "An arm of three joints",
        "joint_names": ["turn", "lift", "bend"],
        "model": {"mjcf": "three.xml", "flange_body": "fore", "flange_xyz_m": [0.28, 0, 0]},
        "limits": {key: {"value": value, **given} for key, value in limits.items()},
    }
    if reach_m is not None:
        data["reach_m"] = {"value": reach_m, **given}
    folder.mkdir(exist_ok=True)
    (folder / "three.xml").write_text(MJCF)
    (folder / name).write_text(yaml.safe_dump(data))
    return folder / name


def run(*arguments):
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    return end.value.code or 0


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    """A folder with the robot file in arms/, and what training and export by the command line made in it."""
    folder = tmp_path_factory.mktemp("cell")
    before = os.getcwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBOLEARN_HOME", str(folder / "home"))
        patch.setattr("robolearn.learn.run.EVALUATED_AT_ONCE", 16)
        file = robot_file(folder / "arms")
        patch.chdir(folder)
        trained = run("train", "arms/my_arm.yaml/reach", "--no-bundle", *SHORT)
        patch.chdir(folder / "arms")  # from another folder, the run finds its arm
        exported = run("export", folder / "runs" / "three-reach", "-o", folder / "three.robolearn")
    assert os.getcwd() == before
    return SimpleNamespace(folder=folder, file=file, trained=trained, exported=exported)


@pytest.mark.slow
def test_an_own_arm_is_trained_and_exported_under_its_name(cell):
    assert (cell.trained, cell.exported) == (0, 0)
    assert [path.name for path in (cell.folder / "runs").iterdir()] == ["three-reach"]
    manifest = PolicyBundle.load(cell.folder / "three.robolearn").manifest
    assert (manifest.name, manifest.robot, manifest.task) == ("three-reach", "three", "three/reach")
    assert manifest.robot_digest == robolearn.load_robot(cell.file).digest


@pytest.mark.slow
def test_its_bundle_is_evaluated_with_the_file_it_was_trained_with_or_the_one_given(
    cell, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    bundle = cell.folder / "three.robolearn"
    assert run("eval", bundle, "--episodes", 2, "--no-shifts", "-o", tmp_path) == 0
    assert "three/reach: " in capsys.readouterr().out
    assert (tmp_path / "three-evaluation.json").is_file()
    moved = cell.file.rename(cell.folder / "arms" / "moved.yaml")
    loaded = PolicyBundle.load(bundle)
    with pytest.raises(
        BundleError, match=r"'three', but its file '/.*/my_arm.yaml' was not found: .*--robot my_arm.yaml"
    ):
        bundle_env(loaded, 1)
    assert bundle_env(loaded, 1, robot=str(moved)).task.full_name == "three/reach"
    other = robot_file(cell.folder / "others", reach_m=0.5)
    with pytest.raises(BundleError, match="made for another three/reach: its robot file"):
        bundle_env(loaded, 1, robot=str(other))
    moved.rename(cell.file)


def test_an_own_arm_is_shown_and_made(tmp_path, monkeypatch, capsys):
    file = robot_file(tmp_path)
    assert run("tasks", "show", f"{file}/reach") == 0
    assert "three/reach" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    env = robolearn.make("my_arm.yaml/reach", num_envs=2, engine="native")
    assert env.task.robot.joint_names == ("turn", "lift", "bend")
    assert [env.model.geom(i).name for i in range(env.model.ngeom)].count(
        "floor"
    ) == 1  # the task's, not the file's


def test_gymnasium_knows_it_by_the_id_that_register_gives(tmp_path, monkeypatch):
    import robolearn.env.gym

    monkeypatch.chdir(robot_file(tmp_path).parent)
    name = robolearn.env.gym.register("my_arm.yaml/reach")
    assert name == "robolearn/three-reach-v0"
    assert robolearn.env.gym.register(f"{tmp_path}/my_arm.yaml/reach") == name
    monkeypatch.chdir("/")
    env = gymnasium.make(name, config={"episode_s": 0.6})
    assert env.action_space.shape == (3,)
    assert np.isfinite(env.reset(seed=0)[0]).all()


@pytest.mark.parametrize(
    ("task", "kind", "message"),
    [
        ("my_arm.yaml/reech", TaskError, "Did you mean 'my_arm.yaml/reach'?"),
        ("gone.yaml/reach", RobotError, "No file 'gone.yaml'"),
        (
            "my_arm/reach",
            TaskError,
            "A task is ROBOT/TASK. Robots: fr3, iiwa14, ur5e, or the path of a robot file.",
        ),
        ("short.yaml/reach_pose", TaskError, "needs 6 joints; robot 'three' has 3. Use 'reach'"),
    ],
)
def test_what_cannot_be_made_is_said(tmp_path, monkeypatch, task, kind, message):
    robot_file(tmp_path)
    robot_file(tmp_path, "short.yaml", reach_m=None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=message):
        robolearn.make(task, num_envs=1, engine="native")


def test_a_name_that_the_task_uses_too_is_a_plain_message(tmp_path):
    file = robot_file(tmp_path)
    (tmp_path / "three.xml").write_text(
        MJCF.replace('type="box"', 'name="floor" type="box"').replace(
            'name="floor" type="plane"', 'type="plane"'
        )
    )
    with pytest.raises(
        TaskError, match="three/reach' cannot be built .*repeated name 'floor'.*rename that element"
    ):
        robolearn.make(f"{file}/reach", num_envs=1, engine="native")


def test_names_of_folders_and_files(tmp_path, monkeypatch):
    file = robot_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert naming.split_task("a/b.yaml/reach") == ("a/b.yaml", "reach")
    assert naming.file_stem("fr3/reach") == "fr3-reach"
    assert naming.file_stem("my_arm.yaml/reach") == naming.file_stem(f"{file}/reach") == "three-reach"
    assert naming.file_stem("arms/gone.yaml/reach") == "gone-reach"
    assert naming.absolute("my_arm.yaml/reach") == f"{file}/reach"
    assert naming.absolute("fr3/reach") == "fr3/reach"

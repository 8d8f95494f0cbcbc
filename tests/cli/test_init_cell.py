"""`robolearn init-cell`: the files of a cell from a few answers, checked before they are written."""

import pytest
from typer.testing import CliRunner

from robolearn.cli.app import app
from robolearn.deploy.deployment import load_deployment, node_parameters
from robolearn.deploy.new_cell import Cell, write_cell
from robolearn.deploy.operators import operator_key_path
from robolearn.errors import RobolearnError
from robolearn.keys import load_or_create_key, public_text
from robolearn.robots import load_robot, robot_names
from robolearn.safety.profile import SafetyProfile


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBOLEARN_HOME", str(tmp_path / "home"))


def asked(*words):
    return CliRunner().invoke(app, ["init-cell", *map(str, words)])


@pytest.mark.parametrize("robot", robot_names())
def test_a_cell_of_every_arm_is_ready_to_serve(robot, tmp_path):
    folder = tmp_path / "cell"
    said = asked(
        folder, "--robot", robot, "--name", "cell 7: north", "--operator", "anna", "--approver", "--namespace", "left",
        "--joint-prefix", "left_", "--person-topic", "/scanner/range", "--workspace", "0.9 -0.8 0 -0.9 0.8 1.2",
        "--tcp-speed", "0.8", "--no-ask",
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    assert f"--deploy {folder / 'cell.yaml'}" in said.output
    assert "robolearn approve BUNDLE --who anna" in said.output
    deployment = load_deployment(folder / "cell.yaml")
    assert (deployment.deployment_id, deployment.mode, deployment.namespace) == (
        "cell 7: north",
        "manual_reduced",
        "left",
    )
    assert (deployment.person_topic, deployment.joint_prefix) == ("/scanner/range", "left_")
    assert deployment.operators == {"anna": public_text(load_or_create_key(operator_key_path()))}
    assert deployment.operator == "anna"
    assert deployment.approver_keys == [public_text(load_or_create_key())]
    profile = SafetyProfile.load(folder / "profile.yaml")
    profile.check_against(load_robot(robot))
    assert profile.mode("automatic").tcp_speed_max_m_s.value == 0.8
    assert profile.mode("automatic").tcp_speed_max_m_s.source == "set for this cell"
    assert profile.mode("manual_reduced").tcp_speed_max_m_s.value == 0.25
    stay_in = profile.mode("automatic").workspace.stay_in
    assert list(stay_in.min_m) == [-0.9, -0.8, 0.0]
    assert list(stay_in.max_m) == [0.9, 0.8, 1.2]
    assert "cell 7: north" in profile.title
    nodes = node_parameters(deployment, "b.robolearn")
    assert nodes["safety_node"]["profile"] == str(folder / "profile.yaml")
    assert "# Hz, of the safety node" in (folder / "cell.yaml").read_text()  # the comments stay


def test_the_gripper_is_asked_for_and_served(tmp_path):
    words = ("--robot", "fr3", "--gripper", "franka_hand", "--name", "cell", "--no-ask")
    assert asked(tmp_path / "cell", *words).exit_code == 0
    deployment = load_deployment(tmp_path / "cell" / "cell.yaml")
    assert deployment.robot == "fr3+franka_hand"
    nodes = node_parameters(deployment, "b.robolearn")
    assert nodes["gripper_node"]["robot"] == "fr3+franka_hand"
    SafetyProfile.load(tmp_path / "cell" / "profile.yaml").check_against(load_robot(deployment.robot))
    for gripper, message in (
        ("claw", "Unknown gripper 'claw'"),
        ("robotiq_2f85", "names its gripper itself"),
    ):
        words = (
            "--robot",
            "fr3" if gripper == "claw" else "fr3+franka_hand",
            "--gripper",
            gripper,
            "--name",
            "x",
        )
        assert message in str(asked(tmp_path / "other", *words).exception)
    assert not (tmp_path / "other").exists()


def test_without_answers_the_packaged_values_stay(tmp_path):
    deployment, profile = write_cell(tmp_path / "cell", Cell("ur5e", "bench"))
    packaged = SafetyProfile.load("ur5e")
    made = SafetyProfile.load(profile)
    assert made.mode("automatic").tcp_speed_max_m_s == packaged.mode("automatic").tcp_speed_max_m_s
    assert load_deployment(deployment).operators == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"robot": "fr4"}, "Unknown arm 'fr4'"),
        ({"mode": "fast"}, "fast"),
        ({"controller": "forward"}, "Commands would be sent at 500 Hz"),
        ({"controller": "own"}, "'forward', 'trajectory' or 'robolearn'"),
        ({"workspace_m": (0.0, 0.0, 0.0)}, "expected two corners"),
        ({"workspace_m": (0.0, 0.0, 0.0, 0.1, 0.1, 0.1)}, "home"),
        ({"namespace": "a b"}, "expected letters, digits and underscores"),
        ({"operators": {"anna": "no key"}}, "anna"),
        ({"tcp_speed_max_m_s": 99.0}, "tcp_speed_max_m_s"),
    ],
)
def test_a_wrong_answer_is_named_and_nothing_is_written(changes, message, tmp_path):
    folder = tmp_path / "cell"
    with pytest.raises(RobolearnError) as refused:
        write_cell(folder, Cell(**{"robot": "fr3", "name": "cell", **changes}))
    assert message in str(refused.value)
    assert not folder.exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(RobolearnError, match="is not empty"):
        write_cell(tmp_path, Cell("fr3", "cell"))
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_where_nobody_can_be_asked_the_arm_and_the_name_are_needed(tmp_path):
    assert "--robot and --name are required" in str(asked(tmp_path / "cell").exception)
    words = ("--robot", "fr3", "--name", "x", "--workspace", "a b c d e f")
    assert "expected six numbers" in str(asked(tmp_path / "cell", *words).exception)

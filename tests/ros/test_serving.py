"""`robolearn serve`: nodes as processes, an arm of one's own, what is said at the start and refused before it."""

import shutil
import signal

import pytest
import ros_standin

from robolearn.cli import app as cli
from robolearn.config import config_path
from robolearn.deploy import serve_command as serve
from robolearn.deploy.serving import NodeProcess, Serving, ServingError, free_domain
from robolearn.robots import load_robot
from robolearn.safety.profile import SafetyProfile


@pytest.mark.parametrize(("rate", "message"), [
    ("0", "key 'rate_hz' is 0.0: Input should be greater than or equal to 50."),
    ("333", "The command rate is 333 Hz, but must be a whole multiple of the policy's 50 Hz."),
])  # fmt: skip
def test_a_rate_that_cannot_be_is_refused_once_before_anything_starts(
    rate, message, tmp_path, monkeypatch, capsys
):
    bundle = ros_standin.export_reaching(tmp_path)
    monkeypatch.setattr(serve, "Serving", lambda *_, **__: pytest.fail("nodes were started"))
    with pytest.raises(SystemExit) as end:
        cli.main(["serve", str(bundle.path), "--robot", "fr3", "--sim", "--rate", rate])
    assert end.value.code
    assert " ".join(capsys.readouterr().err.split()).count(message) == 1


@pytest.mark.ros
def test_a_node_that_ends_by_itself_is_told_with_its_last_words(tmp_path):
    with Serving(tmp_path, domain_id=free_domain()) as serving:
        serving.start("safety_node", robot="fr4")
        with pytest.raises(ServingError, match=r"safety_node ended with status 2:\nUnknown robot 'fr4'"):
            serving.wait_for_output("safety_node", "never", 30.0)
        assert serving.stop() == {"safety_node": 2}


@pytest.mark.ros
def test_a_node_is_killed_started_again_and_ended_in_order(tmp_path):
    with Serving(tmp_path, domain_id=free_domain()) as serving:
        node: NodeProcess = serving.start_sim()
        serving.kill("sim_node")
        assert node.exit_code == -signal.SIGKILL
        first = node.pid
        assert serving.restart("sim_node").pid != first
        with pytest.raises(ServingError, match=r"was not ready within 0.1 s"):
            serving.wait_for_output("sim_node", "never", 0.1)


@pytest.mark.ros
def test_a_node_refuses_such_a_rate_by_itself(tmp_path):
    bundle = ros_standin.export_reaching(tmp_path)
    with Serving(tmp_path, rate_hz=333.0, domain_id=free_domain()) as serving:
        node = serving.start_policy(bundle.path, require_approval=False)
        assert node.wait(30.0) == 2
        assert (
            node.last_words()
            == "The command rate is 333 Hz, but must be a whole multiple of the policy's 50 Hz."
        )


@pytest.mark.ros
def test_an_arm_of_ones_own_is_served_and_its_profile_told_with_its_digest(tmp_path):
    bundle = ros_standin.export_reaching(tmp_path)
    cell = tmp_path / "cell"
    cell.mkdir()
    shutil.copy(load_robot("fr3").path, cell / "my_arm.yaml")
    shutil.copy(config_path("safety/fr3.yaml"), cell / "my_cell.yaml")
    shutil.copy(config_path("deploy/ros2_control.yaml"), cell / "my_deploy.yaml")
    words = ["--robot", "cell/my_arm.yaml", "--deploy", "cell/my_deploy.yaml", "--sim"]
    said = ros_standin.serve_until_ctrl_c(["serve", str(bundle.path), *words], tmp_path)
    digest = SafetyProfile.load(cell / "my_cell.yaml").digest
    told = f"Safety profile: my_cell, mode manual_reduced, sha256 {digest}"
    assert told in said
    assert "  robolearn operate start --deploy cell/my_deploy.yaml\n" in said
    (node,) = tmp_path.glob("runs/serve/*/safety_node.out")
    assert told in node.read_text()
    assert "Traceback" not in node.read_text()


@pytest.mark.ros
def test_a_second_set_of_nodes_for_the_same_arm_is_refused_and_the_first_process_named(tmp_path):
    domain = free_domain()
    bundle = ros_standin.export_reaching(tmp_path)
    with Serving(tmp_path / "first", domain_id=domain) as first:
        first.start_sim()
        first.start_safety(log_dir=None)
        first.start_policy(bundle.path)
        first.wait_until_active(60.0)
        with Serving(tmp_path / "second", domain_id=domain) as second:
            second.start_sim()
            second.start_safety(log_dir=None)
            second.start_policy(bundle.path)
            for name, node in second.nodes.items():
                assert node.wait(60.0) == 2
                assert node.last_words().startswith(f"Process {first.nodes[name].pid} already ")
        first.check()

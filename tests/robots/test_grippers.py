"""Files of grippers: facts with sources, models, and arms by name with another gripper."""

import mujoco
import numpy as np
import pytest
import yaml

from robolearn.errors import RobotError
from robolearn.robots import gripper_names, load_robot
from robolearn.robots.gripper_files import load_gripper, split_robot
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.profile import SafetyProfile

OTHERS = [name for name in gripper_names() if name != "parallel"]


def test_three_grippers_of_manufacturers_come_with_it():
    assert OTHERS == ["franka_hand", "robotiq_2f85", "schunk_egk40"]


@pytest.mark.parametrize("name", OTHERS)
def test_every_figure_of_a_manufacturer_names_its_source(name):
    file = load_gripper(name)
    for key in ("width_max_m", "grip_force_n", "speed_max_m_s", "tcp_z_m", "palm_mass_kg", "finger_mass_kg"):
        assert file.sources[key].source
    assert file.ros is not None
    assert file.ros.source


@pytest.mark.parametrize("name", OTHERS)
def test_an_arm_gets_the_gripper_that_its_name_ends_in(name):
    robot, plain = load_robot(f"fr3+{name}"), load_robot("fr3")
    file = load_gripper(name)
    assert (robot.name, robot.arm) == (f"fr3+{name}", "fr3")
    assert robot.digest != plain.digest
    assert robot.joint_names == plain.joint_names
    model = robot.spec().compile()
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    for width in (0.0, 0.04, file.width_max_m):
        data.ctrl[model.actuator("gripper").id] = width
        for _ in range(400):
            mujoco.mj_step(model, data)
        assert data.sensor("gripper_width").data[0] == pytest.approx(width, abs=1e-3)
    pads = [data.geom(f"gripper_{side}_pad").xpos for side in ("left", "right")]
    assert np.linalg.norm(np.mean(pads, axis=0) - data.site("tcp").xpos) < 2e-3


@pytest.mark.parametrize("name", OTHERS)
def test_the_profile_of_the_arm_is_that_of_the_arm_with_any_gripper(name):
    robot = load_robot(f"fr3+{name}")
    monitor = SafetyMonitor(robot, SafetyProfile.load(robot.arm), "automatic", 0.002)
    assert monitor.state == "holding"


def test_the_digest_is_over_the_grippers_facts_and_not_over_its_sources(tmp_path):
    robot = yaml.safe_load(load_robot("fr3").path.read_text())
    data = yaml.safe_load((load_robot("fr3").path.parent / "grippers" / "franka_hand.yaml").read_text())

    def digest(**changes):
        gripper = {**data, **changes}
        name = f"gripper{len(list(tmp_path.iterdir()))}.yaml"
        (tmp_path / name).write_text(yaml.safe_dump(gripper))
        path = tmp_path / f"robot_{name}"
        path.write_text(yaml.safe_dump({**robot, "gripper": name}))
        return load_robot(path).digest

    first = digest()
    assert first == load_robot("fr3+franka_hand").digest
    assert digest(sources={}, ros=None) == first
    assert digest(tcp_z_m=0.12) != first


def test_an_unknown_gripper_is_refused_by_name():
    with pytest.raises(RobotError, match="Unknown gripper 'robotiq'.*robotiq_2f85"):
        load_robot("fr3+robotiq")
    assert split_robot("fr3") == ("fr3", "")


def test_a_source_of_a_key_that_no_gripper_has_is_refused(tmp_path):
    data = yaml.safe_load((load_robot("fr3").path.parent / "grippers" / "parallel.yaml").read_text())
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**data, "sources": {"width_m": {"source": "me", "trust": "model"}}}))
    with pytest.raises(RobotError, match="'width_m', which is no key"):
        load_gripper(str(path))

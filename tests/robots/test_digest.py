"""The digest is over facts: what people read changes nothing, every number does."""

import copy

import pytest
import yaml

from robolearn.errors import RobotError
from robolearn.robots import load_robot, robot_names, same_joints

ARM = """<mujoco><compiler angle="radian"/><worldbody><body name="link"><inertial pos="0 0 0.1" mass="1"
diaginertia="0.01 0.01 0.01"/><joint name="turn" axis="0 0 1" range="-1 1"/></body></worldbody></mujoco>"""


@pytest.fixture
def arm(tmp_path):
    """The FR3's file as data, and what a changed one gives."""
    data = yaml.safe_load(load_robot("fr3").path.read_text(encoding="utf-8"))

    def digest(change=lambda data: None, head=""):
        changed = copy.deepcopy(data)
        change(changed)
        file = tmp_path / "arm.yaml"
        file.write_text(head + yaml.safe_dump(changed, sort_keys=bool(head)), encoding="utf-8")
        return load_robot(file).digest

    return digest


def rename(value, prefix):
    """Every joint name with a prefix, wherever it stands."""
    if isinstance(value, dict):
        return {key: rename(one, prefix) for key, one in value.items()}
    if isinstance(value, list):
        return [rename(one, prefix) for one in value]
    return prefix + value if isinstance(value, str) and value.startswith("fr3_joint") else value


def test_layout_comments_sources_and_the_drivers_topics_change_nothing(arm):
    same = load_robot("fr3").digest
    assert arm() == arm(head="# a comment\n") == same

    def reworded(data):
        data["label"] = "the arm at the window"
        data["limits"]["torque_nm"] |= {"source": "elsewhere", "trust": "memory", "note": "looked up again"}
        data["ros"]["state_topic"] = "/left/joint_states"
        data["traps"] = []

    assert arm(reworded) == same


def test_a_prefix_of_the_joint_names_changes_nothing(arm):
    def prefixed(data):
        data.update(rename(copy.deepcopy(data), "left_"))

    assert arm(prefixed) == load_robot("fr3").digest


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["limits"]["torque_nm"]["value"].__setitem__(0, 86.0),
        lambda d: d["home_rad"]["value"].__setitem__(0, 0.01),
        lambda d: d["servo"]["kp_nm_rad"].__setitem__(2, 9999),
        lambda d: d["links"]["bodies"][1].__setitem__("mass_kg", 3.0),
        lambda d: d["kinematics"]["steps"][1]["xyz_m"].__setitem__(2, 0.334),
        lambda d: d.__setitem__("name", "fr3b"),
    ],
)
def test_every_fact_counts(arm, change):
    assert arm(change) != load_robot("fr3").digest


def test_packaged_arms_differ():
    assert len({load_robot(name).digest for name in robot_names()}) == len(robot_names())


@pytest.fixture
def own(tmp_path):
    """Writes a robot file that names a model file, and gives its digest."""

    def digest(folder=tmp_path, **model):
        limits = {key: {"value": value, "source": "s", "trust": "model"} for key, value in {
            "position_min_rad": [-1.0], "position_max_rad": [1.0], "velocity_rad_s": [1.0],
            "acceleration_rad_s2": [5.0], "jerk_rad_s3": [50.0], "torque_nm": [10.0],
            "torque_rate_nm_s": [100.0]}.items()}  # fmt: skip
        data = {
            "schema": "robolearn.robot/1", "name": "one", "label": "One", "joint_names": ["turn"], "limits": limits,
            "model": {"flange_body": "link"} | model,
        }  # fmt: skip
        (folder / "one.yaml").write_text(yaml.safe_dump(data))
        return load_robot(folder / "one.yaml").digest

    return digest


def test_of_a_model_file_comments_and_layout_change_nothing_and_a_number_does(tmp_path, own):
    def digest(text):
        (tmp_path / "one.xml").write_text(text)
        return own(mjcf="one.xml")

    first = digest(ARM)
    assert digest(ARM.replace("<worldbody>", "<!-- a comment -->\n  <worldbody>\n")) == first
    assert digest(ARM.replace('mass="1"', 'mass="2"')) != first
    with pytest.raises(RobotError, match="one.xml"):
        digest("<mujoco>")


def test_what_an_mjcf_file_includes_counts(tmp_path, own):
    (tmp_path / "parts").mkdir()
    (tmp_path / "one.xml").write_text('<mujoco><include file="parts/arm.xml"/></mujoco>')
    (tmp_path / "parts" / "arm.xml").write_text('<mujoco><include file="parts/link.xml"/></mujoco>')

    def digest(text):
        (tmp_path / "parts" / "link.xml").write_text(text)
        return own(mjcf="one.xml")

    first = digest(ARM)
    assert digest(ARM.replace("<worldbody>", "<!-- a comment --><worldbody>")) == first
    assert digest(ARM.replace('mass="1"', 'mass="2"')) != first
    (tmp_path / "parts" / "link.xml").unlink()
    with pytest.raises(RobotError, match="link.xml"):
        own(mjcf="one.xml")


XMLNS = 'xmlns:xacro="http://www.ros.org/wiki/xacro"'
XACRO = """<robot name="one" {XMLNS}><xacro:include filename="$(find my_arm)/mass.xacro"/>
<xacro:arg name="length" default="0.1"/><link name="base"/><link name="link"><visual><geometry>
<mesh filename="file://$(find my_arm)/link.stl"/></geometry></visual><inertial><origin xyz="0 0 $(arg length)"/>
<mass value="${mass}"/><inertia ixx="0.01" iyy="0.01" izz="0.01" ixy="0" ixz="0" iyz="0"/></inertial></link>
<joint name="turn" type="revolute"><parent link="base"/><child link="link"/><axis xyz="0 0 1"/>
<limit lower="-1" upper="1" effort="10" velocity="1"/></joint></robot>""".replace("{XMLNS}", XMLNS)


def test_what_a_xacro_file_includes_counts_and_not_where_it_lies(tmp_path, own):
    pytest.importorskip("xacro")

    def digest(place="here", mass="1", comment="", **model):
        folder = tmp_path / place
        package = folder / "my_arm"
        package.mkdir(parents=True, exist_ok=True)
        (package / "package.xml").write_text("<package><name>my_arm</name></package>")
        (package / "mass.xacro").write_text(
            f'<robot {XMLNS}>{comment}<xacro:property name="mass" value="{mass}"/></robot>'
        )
        (folder / "one.urdf.xacro").write_text(XACRO)
        return own(folder, urdf="one.urdf.xacro", package_dirs=["."], **model)

    first = digest()
    assert digest(comment="<!-- a comment -->") == digest("elsewhere") == first
    assert digest(mass="2") != first
    assert digest(xacro_args={"length": "0.2"}) != first


@pytest.mark.parametrize(
    ("names", "others", "same"),
    [
        (["a1", "a2"], ["a1", "a2"], True),
        (["left_a1", "left_a2"], ["a1", "a2"], True),
        (["a1", "a2"], ["l/a1", "l/a2"], True),
        (["left_a2", "left_a1"], ["a1", "a2"], False),
        (["left_a1", "right_a2"], ["a1", "a2"], False),
        (["a1"], ["a1", "a2"], False),
        (["b1", "b2"], ["a1", "a2"], False),
    ],
)
def test_joints_are_the_same_but_for_one_prefix(names, others, same):
    assert same_joints(names, others) is same

"""Model files as manufacturers publish them: each trait is used, or refused by name with the way on."""

import mujoco
import numpy as np
import pytest
from published import CORNERS, HAND, LIMIT, arm, ascii_stl, mesh, mjcf, obj, urdf, write

from robolearn.errors import RobotError
from robolearn.robots import check_robot, forward, load_robot

URDF = {"urdf": "arm.urdf", "flange_body": "tool0"}
MJCF = {"mjcf": "arm.xml", "flange_body": "fore", "flange_xyz_m": [0.25, 0, 0]}


def agrees(robot):
    """Whether kinematics and model agree on the TCP; its position at zero."""
    model = robot.spec().compile()
    data = mujoco.MjData(model)
    for q in np.random.default_rng(0).uniform(-1, 1, (5, robot.dof)):
        data.qpos[: robot.dof] = q
        mujoco.mj_forward(model, data)
        np.testing.assert_allclose(data.site("tcp").xpos, forward(robot, q)[0], atol=1e-9)
        np.testing.assert_allclose(data.sensor("tcp_pos").data, data.site("tcp").xpos, atol=1e-9)
    return forward(robot, np.zeros(robot.dof), gripper=None)[0]


def test_a_flange_on_a_fixed_joint(tmp_path):
    tip = agrees(load_robot(write(tmp_path, urdf(), arm(URDF))))
    np.testing.assert_allclose(tip, [0.55, 0, 0.3], atol=1e-7)


@pytest.fixture
def package(tmp_path):
    """A ROS package `my_arm` with a mesh, in a folder of its own."""
    folder = tmp_path / "ws" / "share" / "my_arm"
    (folder / "meshes").mkdir(parents=True)
    (folder / "package.xml").write_text("<package><name>my_arm</name></package>")
    (folder / "meshes" / "upper.obj").write_text(obj())
    return folder


@pytest.mark.parametrize("scheme", ["package", "model"])
@pytest.mark.parametrize("by", ["AMENT_PREFIX_PATH", "ROS_PACKAGE_PATH", "package_dirs", "tree"])
def test_meshes_of_packages_are_found(tmp_path, package, monkeypatch, by, scheme):
    folder = tmp_path / "cell"
    folder.mkdir()
    model = dict(URDF)
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    if by == "AMENT_PREFIX_PATH":
        monkeypatch.setenv(by, str(tmp_path / "ws"))
    elif by == "ROS_PACKAGE_PATH":
        monkeypatch.setenv(by, f"/nowhere:{package.parent}")
    elif by == "package_dirs":
        model["package_dirs"] = ["../ws/share"]
    else:
        folder = package / "urdf"
        folder.mkdir()
    path = write(folder, urdf(upper=mesh(f"{scheme}://my_arm/meshes/upper.obj")), arm(model))
    assert load_robot(path).spec().compile().nmesh == 1


def test_a_package_that_is_not_there_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    path = write(tmp_path, urdf(upper=mesh("package://my_arm/meshes/upper.obj")), arm(URDF))
    with pytest.raises(
        RobotError, match=r"link 'upper' .*package 'my_arm' was not found.*package_dirs: \[FOLDER\]"
    ):
        load_robot(path)


def test_a_file_uri_and_a_plain_path(tmp_path):
    (tmp_path / "u per.obj").write_text(obj())
    text = urdf(upper=mesh(f"file://{tmp_path}/u%20per.obj"), fore=mesh("u per.obj"))
    model = load_robot(write(tmp_path, text, arm(URDF))).spec().compile()
    assert model.nmesh == 1
    assert (model.geom_type == mujoco.mjtGeom.mjGEOM_MESH).sum() == 2


def test_an_ascii_stl_is_read(tmp_path):
    pytest.importorskip("trimesh")
    (tmp_path / "upper.stl").write_text(ascii_stl())
    model = load_robot(write(tmp_path, urdf(upper=mesh("upper.stl")), arm(URDF))).spec().compile()
    assert model.mesh_vertnum[0] == len(CORNERS)


def collada(path, metres_per_unit):
    trimesh = pytest.importorskip("trimesh")
    pytest.importorskip("collada")
    data = trimesh.creation.box((0.3, 0.08, 0.08))
    text = data.export(file_type="dae").decode()
    path.write_text(text.replace("<asset>", f'<asset><unit name="u" meter="{metres_per_unit}"/>', 1))


def test_a_collada_mesh_that_touches_is_read_in_its_unit(tmp_path):
    collada(tmp_path / "upper.dae", 0.1)
    model = load_robot(write(tmp_path, urdf(upper=mesh("upper.dae")), arm(URDF))).spec().compile()
    np.testing.assert_allclose(np.ptp(model.mesh_vert, axis=0).max(), 0.03, rtol=1e-4)


def test_a_mesh_that_is_only_seen_may_be_unreadable(tmp_path):
    (tmp_path / "upper.dae").write_text("no mesh")
    text = urdf(upper=mesh("upper.dae", "visual"), fore=mesh("gone.dae", "visual"))
    assert load_robot(write(tmp_path, text, arm(URDF))).spec().compile().nmesh == 0


def test_a_collision_mesh_that_cannot_be_read_is_named_unless_the_link_has_a_hull(tmp_path):
    (tmp_path / "upper.stl").write_text("no mesh")
    data = arm(URDF)
    path = write(tmp_path, urdf(upper=mesh("upper.stl")), data)
    with pytest.raises(
        RobotError, match="collision mesh of link 'upper' cannot be read: .*upper.stl.*`hulls`"
    ):
        load_robot(path)
    shape = {"type": "box", "center_m": [0.15, 0, 0], "half_size_m": [0.2, 0.05, 0.05]}
    data["hulls"] = {"upper": {"source": "measured", "trust": "primary", "margin_m": 0.01, "shapes": [shape]}}
    model = load_robot(write(tmp_path, urdf(upper=mesh("upper.stl")), data)).spec().compile()
    assert model.geom("upper_0").conaffinity[0] == 1


def test_names_of_geometry_that_are_there_twice(tmp_path, capfd):
    box = '<collision name="part"><geometry><box size="0.1 0.1 0.1"/></geometry></collision>'
    load_robot(write(tmp_path, urdf(upper=box * 2, fore=box), arm(URDF)))
    assert capfd.readouterr() == ("", "")


def test_a_xacro_file_is_expanded_with_its_arguments(tmp_path):
    pytest.importorskip("xacro")
    begin = '<xacro:arg name="reach" default="0.1"/>'
    text = urdf(begin=begin).replace("<robot ", '<robot xmlns:xacro="http://www.ros.org/wiki/xacro" ')
    text = text.replace('xyz="0.25 0 0"', 'xyz="$(arg reach) 0 0"')
    model = {"urdf": "arm.urdf.xacro", "flange_body": "tool0", "xacro_args": {"reach": "0.2"}}
    tip = agrees(load_robot(write(tmp_path, text, arm(model))))
    np.testing.assert_allclose(tip, [0.5, 0, 0.3], atol=1e-7)
    broken = write(tmp_path, text.replace("$(arg reach)", "$(arg rech)"), arm(model))
    with pytest.raises(RobotError, match="xacro cannot expand .*rech.*model.xacro_args"):
        load_robot(broken)


def test_without_xacro_the_command_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "xacro", None)
    model = {"urdf": "arm.urdf.xacro", "flange_body": "tool0"}
    with pytest.raises(RobotError, match=r"pip install 'robolearn\[arms\]'.*xacro arm.urdf.xacro > arm.urdf"):
        load_robot(write(tmp_path, urdf(), arm(model)))


def test_an_mjcf_file_given_as_urdf_is_named(tmp_path):
    with pytest.raises(RobotError, match="root is <mujoco>, not <robot>. An MJCF file goes by `mjcf`"):
        load_robot(write(tmp_path, mjcf(), arm(URDF)))


def test_effort_and_speed_of_zero_are_not_stated(tmp_path):
    path = write(
        tmp_path, urdf(limit=LIMIT.replace("80", "0").replace('velocity="2"', 'velocity="0"')), arm(URDF)
    )
    assert "wider" not in " ".join(check_robot(path))
    load_robot(path)


def test_a_torque_that_the_file_does_not_state_is_asked_for_by_name(tmp_path):
    data = arm(URDF)
    data["limits"]["torque_nm"] = {"value": None, "source": "URDF", "trust": "secondary", "note": "effort 0"}
    found = " ".join(check_robot(write(tmp_path, urdf(limit=LIMIT.replace("80", "0")), data)))
    assert "limits.torque_nm is null" in found
    assert "turn, lift, bend" in found


def test_a_base_that_is_not_at_the_files_origin(tmp_path):
    tip = agrees(load_robot(write(tmp_path, mjcf(where='pos="-0.47 0.2 0.1"'), arm(MJCF))))
    np.testing.assert_allclose(tip, [0.55, 0, 0.4], atol=1e-9)  # over the origin, as high as the file has it


def test_a_base_body_faces_along_x_at_the_origin(tmp_path):
    text = mjcf(
        where='pos="0.47 0.2 0.1" quat="0 0 0 1"',
        world='<geom name="desk" type="box" size=".1 .1 .1" pos="0.47 0.2 0"/>',
    )
    robot = load_robot(write(tmp_path, text, arm(MJCF | {"base_body": "base"})))
    np.testing.assert_allclose(agrees(robot), [0.55, 0, 0.3], atol=1e-9)
    model = robot.spec().compile()
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    np.testing.assert_allclose(data.geom("desk").xpos, [0, 0, -0.1], atol=1e-9)
    path = write(tmp_path, text, arm(MJCF | {"base_body": "upper"}))
    with pytest.raises(
        RobotError, match="base_body is 'upper', but the bodies that carry the first joint are world, base"
    ):
        load_robot(path)


def test_a_continuous_joint_is_used_with_the_robot_files_range(tmp_path):
    robot = load_robot(write(tmp_path, urdf(second="continuous"), arm(URDF)))
    agrees(robot)
    np.testing.assert_allclose(robot.spec().compile().joint("lift").range, [-2.4, 2.4])


def test_a_prismatic_joint_of_the_arm_is_refused_or_held(tmp_path):
    text = urdf(second="prismatic")
    with pytest.raises(
        RobotError, match=r"'lift' on the way to 'tool0' is not a hinge.*model.hold: \{lift: 0.0\}"
    ):
        load_robot(write(tmp_path, text, arm(URDF)))
    held = arm(URDF | {"hold": {"lift": 0.1}}, joints=("turn", "bend"))
    np.testing.assert_allclose(agrees(load_robot(write(tmp_path, text, held))), [0.55, 0.1, 0.3], atol=1e-7)


def test_a_hinge_is_held_at_a_position(tmp_path):
    held = arm(URDF | {"hold": {"lift": -np.pi / 2}}, joints=("turn", "bend"))
    robot = load_robot(write(tmp_path, urdf(), held))
    np.testing.assert_allclose(agrees(robot), [0, 0, 0.85], atol=1e-7)
    path = write(tmp_path, urdf(), arm(URDF, joints=("turn", "bend")))
    with pytest.raises(
        RobotError, match=r"are \['turn', 'lift', 'bend'\]. List exactly these.*hold: \{lift: 0.0\}"
    ):
        load_robot(path)


@pytest.mark.parametrize(
    ("declared", "bodies"),
    [
        ({"cut": ["hand"]}, 4),
        ({"keep": ["hand"]}, 7),
        ({"hold": {"left_finger": 0.02, "right_finger": 0.02}}, 7),
        ({"cut": ["left", "hand"]}, 4),
    ],
)
def test_a_hand_with_mimic_joints_is_cut_kept_or_held(tmp_path, declared, bodies):
    robot = load_robot(write(tmp_path, urdf(extra=HAND), arm(URDF | declared)))
    agrees(robot)
    model = robot.spec(None).compile()
    assert (model.nv, model.nbody - 2) == (3, bodies)  # besides world and base_link
    if "hold" in declared:
        np.testing.assert_allclose(model.body("left").pos, [0, 0.02, 0])
        np.testing.assert_allclose(model.body("right").pos, [0, -0.02, 0])


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            {},
            r"2 joints besides the 3 that are used: 'left_finger', .*`cut: \[hand\]`.*`keep: \[hand\]`.*`hold",
        ),
        ({"cut": ["hnd"]}, "model.cut: Unknown body 'hnd'.*Did you mean 'hand'"),
        ({"cut": ["upper"]}, "model.cut names 'upper', which carries the flange 'tool0'"),
        ({"keep": ["upper"]}, "model.keep names 'upper', which carries joint 'lift' of the arm"),
        ({"hold": {"lift": 0.0}}, "model.hold names 'lift', which is also in joint_names"),
        ({"hold": {"left_fingr": 0.0}}, "model.hold: Unknown joint 'left_fingr'.*Did you mean 'left_finger'"),
    ],
)
def test_what_is_besides_the_arm_is_declared(tmp_path, declared, message):
    with pytest.raises(RobotError, match=message):
        load_robot(write(tmp_path, urdf(extra=HAND), arm(URDF | declared)))


def test_a_second_arm_and_a_mobile_base_are_kept_with_their_joints_held(tmp_path):
    other = '<body name="other" pos="0 .5 0"><joint name="other_turn" axis="0 0 1"/><geom size=".05"/></body>'
    cart = mjcf(world=other).replace('<body name="base" >', '<body name="base" ><freejoint name="drive"/>')
    data = arm(MJCF | {"keep": ["other"], "hold": {"drive": 0}})
    robot = load_robot(write(tmp_path, cart, data))
    np.testing.assert_allclose(agrees(robot), [0.55, 0, 0.3], atol=1e-9)
    assert robot.spec(None).compile().nv == 3
    data["model"]["hold"] = {"drive": 1.0}
    with pytest.raises(RobotError, match="'drive' is a ball or free joint"):
        load_robot(write(tmp_path, cart, data))


BAR = '<body name="bar"><joint name="bar_joint" axis="0 1 0"/><geom size=".02"/></body>'
TIE = '<equality><joint joint1="bar_joint" joint2="bend"/></equality>'
CABLE = '<tendon><fixed name="cable"><joint joint="lift" coef="1"/><joint joint="bend" coef="1"/></fixed></tendon>'


def test_coupled_joints_of_the_arm_are_refused_by_name(tmp_path):
    tied = mjcf(hand=BAR, extra=TIE)
    with pytest.raises(RobotError, match="'bend' of the arm is tied to bar_joint.*Cut or hold"):
        load_robot(write(tmp_path, tied, arm(MJCF)))
    agrees(load_robot(write(tmp_path, tied, arm(MJCF | {"cut": ["bar"]}))))
    agrees(load_robot(write(tmp_path, tied, arm(MJCF | {"hold": {"bar_joint": 0.0}}))))
    with pytest.raises(RobotError, match="Tendon 'cable' couples joint 'bend' of the arm"):
        load_robot(write(tmp_path, mjcf(extra=CABLE), arm(MJCF)))
    mimic = urdf().replace(
        '<child link="fore"/>', '<child link="fore"/><mimic joint="lift" multiplier="-1"/>'
    )
    with pytest.raises(RobotError, match="'bend' of the arm is tied to"):
        load_robot(write(tmp_path, mimic, arm(URDF)))


FINGERS = """<body name="hand" pos=".25 0 0" euler="0 1.5707963 0"><geom type="box" size=".03 .08 .02" pos="0 0 .02"/>
 <body name="l" pos="0 {at} .06"><joint name="lf" type="slide" axis="0 {sign} 0" range="{range}"/>
  <geom type="box" size=".01 .005 .03" pos="0 .005 0" mass=".05"/></body>
 <body name="r" pos="0 -{at} .06"><joint name="rf" type="slide" axis="0 -{sign} 0" range="{range}"/>
  <geom type="box" size=".01 .005 .03" pos="0 -.005 0" mass=".05"/></body></body>"""
GRIPPER = {
    "palm_body": "hand",
    "finger_joints": ["lf", "rf"],
    "tcp_xyz_m": [0, 0, 0.08],
    "grip_force_n": 30.0,
}
HOLDING = {
    "mjcf": "arm.xml",
    "flange_body": "fore",
    "flange_xyz_m": [0.25, 0, 0],
    "flange_rpy_rad": [0, np.pi / 2, 0],
    "gripper": GRIPPER,
}


@pytest.mark.parametrize(
    ("at", "sign", "between", "closed_at"),
    [(0.0, 1, "0 .04", "lower"), (0.0, -1, "-.04 0", "upper"), (-0.01, 1, ".01 .05", "lower")],
)
def test_a_gripper_in_the_file_is_the_gripper(tmp_path, at, sign, between, closed_at):
    hand = FINGERS.format(at=at, sign=sign, range=between).replace("--", "")
    tie = '<equality><joint joint1="lf" joint2="rf"/></equality>'
    data = arm(HOLDING | {"gripper": GRIPPER | {"closed_at": closed_at}})
    robot = load_robot(write(tmp_path, mjcf(hand=hand, extra=tie), data))
    agrees(robot)
    np.testing.assert_allclose(forward(robot, np.zeros(3))[0], [0.63, 0, 0.3], atol=1e-6)
    assert (robot.gripper.width_max_m, robot.gripper.grip_force_n) == (pytest.approx(0.08), 30.0)
    model = robot.spec().compile()
    assert [model.actuator(i).name for i in range(model.nu)] == ["turn", "lift", "bend", "gripper"]
    sim = mujoco.MjData(model)
    for width in (0.08, 0.02, 0.0):
        sim.ctrl[:] = [0, 0, 0, width]
        mujoco.mj_step(model, sim, 400)
        assert sim.sensor("gripper_width").data[0] == pytest.approx(width, abs=2e-3)
        gap = sim.body("l").xpos[1] - sim.body("r").xpos[1]
        assert gap == pytest.approx(width, abs=2e-3)
    assert robot.spec(None).compile().nv == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"finger_joints": ["lf", "rff"]}, "Unknown joint 'rff'"),
        ({"finger_joints": ["rf", "lf"]}, "'rf' opens along .*name the other finger first"),
        ({"palm_body": "hnd"}, "model.gripper.palm_body: Unknown body 'hnd'"),
    ],
)
def test_what_is_no_parallel_gripper_is_refused(tmp_path, change, message):
    text = mjcf(hand=FINGERS.format(at=0.0, sign=1, range="0 .04"))
    with pytest.raises(RobotError, match=message):
        load_robot(write(tmp_path, text, arm(HOLDING | {"gripper": GRIPPER | change})))


def test_a_gripper_whose_fingers_turn_is_refused(tmp_path):
    text = mjcf(hand=FINGERS.format(at=0.0, sign=1, range="0 .04")).replace('"slide"', '"hinge"')
    with pytest.raises(RobotError, match="'lf' is not a sliding finger; .*Cut the gripper"):
        load_robot(write(tmp_path, text, arm(HOLDING)))


XACRO = 'xmlns:xacro="http://www.ros.org/wiki/xacro" '


def test_find_in_a_xacro_file_means_what_a_package_path_does(tmp_path, package, monkeypatch):
    pytest.importorskip("xacro")
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    (package / "size.xacro").write_text(f'<robot {XACRO}><xacro:property name="reach" value="0.2"/></robot>')
    begin = '<xacro:include filename="$(find my_arm)/size.xacro"/>'
    text = (
        urdf(begin=begin)
        .replace("<robot ", f"<robot {XACRO}")
        .replace('xyz="0.25 0 0"', 'xyz="${reach} 0 0"')
    )
    model = {"urdf": "arm.urdf.xacro", "flange_body": "tool0", "package_dirs": ["ws/share"]}
    tip = agrees(load_robot(write(tmp_path, text, arm(model))))
    np.testing.assert_allclose(tip, [0.5, 0, 0.3], atol=1e-7)
    lost = write(tmp_path, text.replace("find my_arm", "find other"), arm(model))
    with pytest.raises(RobotError, match="package 'other' was not found in model.package_dirs"):
        load_robot(lost)


def test_an_absolute_path_of_the_machine_that_expanded_the_file_is_found_here(tmp_path, package):
    text = urdf(upper=mesh("file:///root/ws/install/my_arm/share/my_arm/meshes/upper.obj"))
    model = URDF | {"package_dirs": ["ws/share"]}
    assert load_robot(write(tmp_path, text, arm(model))).spec().compile().nmesh == 1
    gone = write(tmp_path, text.replace("upper.obj", "gone.obj"), arm(model))
    with pytest.raises(RobotError, match="gone.obj' does not exist"):
        load_robot(gone)


def test_meshes_of_what_is_cut_need_not_be_there(tmp_path):
    hand = HAND.replace('<link name="left">', f'<link name="left">{mesh("gone.stl")}')
    data = arm(URDF | {"cut": ["hand"]})
    load_robot(write(tmp_path, urdf(extra=hand), data))
    with pytest.raises(RobotError, match="gone.stl"):
        load_robot(write(tmp_path, urdf(extra=hand), arm(URDF | {"keep": ["hand"]})))


def test_links_without_an_inertial_are_named(tmp_path):
    box = '<collision><geometry><box size="0.1 0.1 0.1"/></geometry></collision>'
    text = urdf(upper=box, fore=box)
    text = text.replace(
        '<link name="base_link"/>', f'<link name="base_link">{box}</link>'
    )  # it does not move
    assert "no inertial" not in " ".join(check_robot(write(tmp_path, text, arm(URDF))))
    start = text.index("<inertial>", text.index('link name="fore"'))
    bare = text[:start] + text[text.index("</inertial>", start) + len("</inertial>") :]
    found = " ".join(check_robot(write(tmp_path, bare, arm(URDF))))
    assert "states no inertial of fore: their masses are worked out from the geometry" in found


def test_a_link_with_a_mass_and_no_geometry_gets_advice_that_can_be_followed(tmp_path):
    found = " ".join(check_robot(write(tmp_path, urdf(), arm(URDF))))
    assert "'fore' have a mass and no geometry" in found
    assert "write one under `hulls`" in found
    assert "Fit hulls to the meshes" not in found


def test_mujoco_writes_no_log_into_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = mujoco.MjLogConfig.get()
    log.logto_file = True  # as a fresh process has it
    mujoco.MjLogConfig.set(log)
    (tmp_path / "files").mkdir()
    check_robot(write(tmp_path / "files", mjcf(), arm(MJCF)))
    assert not mujoco.MjLogConfig.get().logto_file
    data = mujoco.MjData(load_robot("ur5e").spec().compile())
    data.qpos[0] = np.nan
    mujoco.mj_step(data.model, data)
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


@pytest.mark.parametrize(
    ("turn", "back"), [([0, 0, 0], False), ([3.14159265, 0, 0], True), ([0, 1.5707963, 0], False)]
)
def test_a_gripper_that_points_back_into_the_arm_is_questioned(tmp_path, turn, back):
    found = check_robot(write(tmp_path, urdf(), arm(URDF | {"flange_rpy_rad": turn})))
    assert any("'tool0' points back into the arm" in finding for finding in found) == back

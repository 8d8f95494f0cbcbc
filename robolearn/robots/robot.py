"""The robot: facts from one file, and what is built from them (limits, kinematics, MuJoCo spec).

robot = load_robot("fr3")
model = robot.spec().compile()
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from robolearn.config import build, read_document
from robolearn.errors import CalibrationError, ConfigError, RobotError, unknown
from robolearn.robots.calibration import Calibration, is_calibration, read_calibration
from robolearn.robots.consistency import contradictions
from robolearn.robots.digest import robot_digest
from robolearn.robots.drives import default_servo
from robolearn.robots.from_model_file import completed
from robolearn.robots.gripper import Gripper, add_gripper, gripper_facts
from robolearn.robots.gripper_files import SEPARATOR, load_gripper, split_robot
from robolearn.robots.kinematics import ChainStep, chain_from_model
from robolearn.robots.limits import JointLimits, joint_limits, read_only
from robolearn.robots.model import add_drives, add_payload, add_sensors, build_arm
from robolearn.robots.own_gripper import adopt_gripper, own_gripper_facts
from robolearn.robots.schema import ModelFile, RobotFile, RosInterface, Scalar, Servo

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, eq=False)
class Robot:
    """One arm. name: what `load_robot` takes of a packaged arm, with its gripper where that is not the file's own
    (`fr3+franka_hand`). joint_names: the names of ROS and of MuJoCo, n of them, base to flange. home_rad: [n].

    chain: fixed and revolute steps from the base to the flange. cartesian: published limits of the TCP and elbow,
    unit in the key. digest: SHA-256 of the facts in the robot file, the gripper's file and, where the
    arm is an MJCF, URDF or xacro file, that file and what it includes (`robolearn.robots.digest`); a calibration
    leaves it as it is. None: not known; `file` has the notes and sources. calibration: what logs of the arm changed
    of the model.
    """

    name: str
    label: str
    joint_names: tuple[str, ...]
    home_rad: NDArray[np.float64]
    limits: JointLimits
    chain: tuple[ChainStep, ...]
    gripper: Gripper
    cartesian: Mapping[str, float]
    payload_kg: float | None
    reach_m: float | None
    mass_kg: float | None
    moving_mass_kg: float | None
    ros: RosInterface | None
    digest: str
    path: Path
    file: RobotFile = field(repr=False)
    servo: Servo = field(repr=False)
    calibration: Calibration | None = field(default=None, repr=False)

    @property
    def nominal_servo(self) -> Servo:
        """The drives without a calibration."""
        return self.servo if self.calibration is None else _base(self.calibration).servo

    @property
    def arm(self) -> str:
        """The name without that of a gripper: arms that differ in their gripper alone share it."""
        return split_robot(self.name)[0]

    @property
    def dof(self) -> int:
        """Number of joints."""
        return len(self.joint_names)

    def spec(self, gripper: str | None = "parallel") -> mujoco.MjSpec:
        """A fresh MuJoCo spec of the arm, standing at the origin, with the gripper or with none.

        Sites `flange` and `tcp`, one position actuator for each joint and `gripper`, sensors `<joint>_pos`,
        `<joint>_vel`, `tcp_pos`, `tcp_quat`, `tcp_linvel` (base frame) and `gripper_width`, keyframe `home`.
        """
        self.tool_steps(gripper)
        own = self.file.model.gripper if self.file.model is not None else None
        spec, base, last = build_arm(self.file, self.limits, self.path.parent, gripper is not None)
        add_drives(spec, self.joint_names, self.limits, self.servo)
        flange = spec.site("flange")
        if self.calibration is not None and self.calibration.payload is not None:
            payload = self.calibration.payload
            add_payload(last, flange, payload.mass_kg, payload.com_m)
        ctrl, qpos = list(self.home_rad), list(self.home_rad)
        if gripper is None:
            last.add_site(name="tcp", pos=flange.pos, quat=flange.quat, size=[0.005] * 3, rgba=[0, 0, 0, 0])
        else:
            if own is None:
                add_gripper(spec, last, flange, self.gripper)
            else:
                adopt_gripper(spec, own, self.gripper.file)
            ctrl.append(self.gripper.width_max_m)
            qpos += [self.gripper.width_max_m / 2.0] * 2
        add_sensors(spec, self.joint_names, base)
        spec.add_key(name="home", qpos=qpos, ctrl=ctrl)
        return spec

    def tool_steps(self, gripper: str | None = "parallel") -> tuple[ChainStep, ...]:
        """The fixed steps from the flange to the TCP: none without a gripper."""
        if gripper is None:
            return ()
        if gripper != self.gripper.name:
            raise RobotError(unknown("gripper", gripper, [self.gripper.name]) + " None means no gripper.")
        return (self.gripper.mount, self.gripper.tcp)


def robot_names() -> tuple[str, ...]:
    """The robots that come with robolearn."""
    return tuple(sorted(p.stem for p in _FOLDER.glob("*.yaml")))


def is_packaged(name: str) -> bool:
    """Whether this is a packaged arm's name, with or without that of a gripper: `fr3`, `fr3+robotiq_2f85`."""
    return split_robot(name)[0] in robot_names()


def load_robot(name: str | Path) -> Robot:
    """A robot by name, or from the path of a robot file. Raises RobotError, with every fault that was found.

    `fr3+franka_hand` is the packaged arm with another gripper; a file of one's own names its gripper itself.
    """
    if isinstance(name, str) and is_packaged(name):
        return _packaged(name)
    if not is_robot_path(name):
        raise RobotError(unknown("robot", str(name), robot_names()) + " Or give the path of a robot YAML.")
    return robot_from_file(Path(name).expanduser())


def is_robot_path(name: str | Path) -> bool:
    """Whether this is the path of a robot file, there or not, rather than the name of a packaged robot."""
    return Path(name).suffix in (".yaml", ".yml")


def read_robot_file(path: Path) -> RobotFile:
    """The parsed robot file, or the one that a calibration is for, keys and types checked.

    What the file leaves to its model file is taken from there. Raises RobotError.
    """
    try:
        document = read_document(path)
        if is_calibration(document.data):
            return calibrated(path).file
        data = completed(document.data, path.parent, str(path))
        return build(RobotFile, data, str(path), document.line)
    except ConfigError as error:
        raise RobotError(str(error)) from None


def named_model(path: Path) -> ModelFile | None:
    """The `model` block of a robot file, without reading the model file. Raises RobotError."""
    try:
        data = read_document(path).data
        if is_calibration(data):
            return calibrated(path).file.model
        if (model := data.get("model")) is None:
            return None
        return build(ModelFile, model if isinstance(model, dict) else {}, f"{path}, model")
    except ConfigError as error:
        raise RobotError(str(error)) from None


def robot_from_file(path: Path, gripper_name: str = "") -> Robot:
    """The robot that a file describes; of a calibration, the calibrated robot.

    gripper_name: in place of the file's.
    Raises RobotError where the file contradicts itself or lacks a part, CalibrationError for another base file.
    """
    if is_calibration(_yaml(path)):
        return calibrated(path)
    file = read_robot_file(path)
    problems = contradictions(file)
    if problems:
        raise RobotError(f"{path}: " + " ".join(problems))
    limits = joint_limits(file.limits)
    names = tuple(file.joint_names)
    gripper_file = load_gripper(gripper_name or file.gripper, path.parent)
    gripper = gripper_facts(gripper_file, file.gripper_mount)
    if file.model is not None and file.model.gripper is not None:
        spec, _, _ = build_arm(file, limits, path.parent, gripper=True)
        gripper = own_gripper_facts(spec, file.model.gripper, gripper)
    chain = _chain(file, limits, path.parent)
    middle = (limits.position_min_rad + limits.position_max_rad) / 2
    home = file.home_rad.value if file.home_rad else None
    cartesian = {key: fact.value for key, fact in file.cartesian.items() if fact.value is not None}
    other = gripper_file.name if gripper_name else ""
    return Robot(
        name=f"{file.name}{SEPARATOR}{other}" if other else file.name,
        label=f"{file.label} with {gripper_file.label}" if other else file.label,
        joint_names=names,
        home_rad=read_only(middle if home is None else home),
        limits=limits,
        chain=chain,
        gripper=gripper,
        cartesian=MappingProxyType(cartesian),
        payload_kg=_value(file.payload_kg),
        reach_m=_value(file.reach_m),
        mass_kg=_value(file.mass_kg),
        moving_mass_kg=_value(file.moving_mass_kg),
        ros=file.ros,
        digest=robot_digest(file, gripper_file, path.parent),
        path=path,
        file=file,
        servo=file.servo or _default_servo(file, limits, gripper, path.parent),
    )


def calibrated(path: str | Path) -> Robot:
    """The robot of a calibration file, with the drives that were identified.

    Raises CalibrationError where the file is none, or where the robot file is another than the one it was made with.
    """
    calibration = read_calibration(path)
    base = calibration.base.file
    try:
        robot = _base(calibration)
    except RobotError as error:
        raise CalibrationError(f"{path}: the robot file it is for cannot be loaded: {error}") from None
    if robot.digest != calibration.base.digest:
        raise CalibrationError(
            f"Calibration '{path}' was made with another robot file '{base}' (sha256 {calibration.base.digest[:12]}, "
            f"here {robot.digest[:12]}). Fit the log again with the file of this arm."
        )
    servo = calibration.servo
    if len(servo.kp_nm_rad) != robot.dof:
        raise CalibrationError(f"Calibration '{path}' has drives for {len(servo.kp_nm_rad)} joints.")
    return replace(robot, servo=servo, calibration=calibration, path=Path(calibration.path))


def _base(calibration: Calibration) -> Robot:
    """The robot that a calibration is for, by name or from a file beside the calibration, as the file has it."""
    file = calibration.base.file
    return load_robot(Path(calibration.path).parent / file if is_robot_path(file) else file)


def _yaml(path: Path) -> dict[str, Any]:
    try:
        return read_document(path).data
    except ConfigError as error:
        raise RobotError(str(error)) from None


@lru_cache(maxsize=16)
def _packaged(name: str) -> Robot:
    arm, gripper = split_robot(name)
    return robot_from_file(_FOLDER / f"{arm}.yaml", gripper)


def _value(fact: Scalar | None) -> float | None:
    return None if fact is None else fact.value


def _chain(file: RobotFile, limits: JointLimits, folder: Path) -> tuple[ChainStep, ...]:
    if file.kinematics is not None:
        return tuple(
            ChainStep(_triple(step.xyz_m), _triple(step.rpy_rad), _triple(step.axis), step.type, step.name)
            for step in file.kinematics.steps
        )
    assert file.model is not None
    spec, _, last = build_arm(file, limits, folder)
    place = file.model
    flange = ChainStep(
        _triple(place.flange_xyz_m), _triple(place.flange_rpy_rad), (0, 0, 1), "fixed", "flange"
    )
    return chain_from_model(spec.compile(), tuple(file.joint_names), flange, last.name)


def _triple(values: list[float]) -> tuple[float, float, float]:
    x, y, z = values
    return float(x), float(y), float(z)


def _default_servo(file: RobotFile, limits: JointLimits, gripper: Gripper, folder: Path) -> Servo:
    """Drives for an arm whose file declares none, for the arm with the gripper on it."""
    own = file.model is not None and file.model.gripper is not None
    spec, _, last = build_arm(file, limits, folder, gripper=own)
    if not own:
        add_gripper(spec, last, spec.site("flange"), gripper)
    return default_servo(spec.compile(), file.joint_names, limits)

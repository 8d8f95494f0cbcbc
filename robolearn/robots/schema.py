"""The format of a robot file: typed, closed to unknown keys, every number with its source and trust.

Trust: see `robolearn.robots.sourced`. An unpublished number is `value: null` with a `note`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from robolearn.config import Config
from robolearn.robots.sourced import Sourced, Text
from robolearn.robots.wrench_frames import WrenchFrame

# Bounds that any arm keeps by far; beyond them a file is a slip of the unit or made to do harm.
JOINTS_MAX = 64
_METRES, _KILOGRAMS = 100.0, 1e5
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]
Number = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, le=1e9, allow_inf_nan=False)]
Latency = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Mass = Annotated[float, Field(gt=0.0, le=_KILOGRAMS, allow_inf_nan=False)]
Point = Annotated[
    list[Annotated[float, Field(ge=-_METRES, le=_METRES, allow_inf_nan=False)]],
    Field(min_length=3, max_length=3),
]
Numbers = Annotated[list[Number], Field(max_length=JOINTS_MAX)]
Positives = Annotated[list[Positive], Field(max_length=JOINTS_MAX)]


class _Value(Sourced):
    value: Any

    @model_validator(mode="after")
    def _null_needs_note(self):
        if self.value is None and not self.note:
            raise ValueError("a null value needs a note with the reason")
        return self


class Scalar(_Value):
    """One number."""

    value: Number | None


class Vector(_Value):
    """One number for each joint, in the order of joint_names."""

    value: Numbers | None


class Step(Config):
    """One transform of the chain: by xyz, then rpy about fixed axes, then a turn about axis if revolute."""

    name: Text
    type: Literal["revolute", "fixed"]
    xyz_m: Point
    rpy_rad: Point
    axis: Point = [0.0, 0.0, 1.0]


class Kinematics(Sourced):
    """The chain from the base to the flange."""

    steps: Annotated[list[Step], Field(max_length=4 * JOINTS_MAX)]


class Inertia(Config):
    """The inertia tensor about the centre of mass, kg m^2."""

    xx: Number
    yy: Number
    zz: Number
    xy: Number
    xz: Number
    yz: Number


class CapsuleShape(Config):
    """A capsule between two points of the link's frame."""

    type: Literal["capsule"]
    from_m: Point
    to_m: Point
    radius_m: Positive


class BoxShape(Config):
    """A box along the axes of the link's frame."""

    type: Literal["box"]
    center_m: Point
    half_size_m: Point


class Capsule(CapsuleShape):
    """A capsule that is seen."""

    color: Text


class Box(BoxShape):
    """A box that is seen."""

    color: Text


class Accent(Config):
    """A coloured disc for the eye only: nothing touches it."""

    type: Literal["accent"]
    center_m: Point
    axis: Point
    radius_m: Positive
    half_width_m: Positive
    color: Text


Geometry = Annotated[Capsule | Box | Accent, Field(discriminator="type")]


Shape = Annotated[CapsuleShape | BoxShape, Field(discriminator="type")]


class Hull(Sourced):
    """Shapes that together contain a link: what touches the world in simulation, and what the safety monitor watches.

    margin_m: how far at least they reach beyond the geometry that `source` names, on every side.
    """

    margin_m: Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
    shapes: Annotated[list[Shape], Field(min_length=1)]


class Link(Config):
    """A rigid body; joint is the joint that moves it, none for the base. Its frame is that joint's frame.

    The base does not move, so its centre of mass and inertia may be null.
    geometry is what is seen. Where there is no hull, its capsules and boxes are the hull.
    """

    name: Text
    joint: str | None
    mass_kg: Mass
    com_m: Point | None
    inertia_kgm2: Inertia | None
    inertia_frame_rpy_rad: Point = [0.0, 0.0, 0.0]
    geometry: Annotated[list[Geometry], Field(max_length=256)]
    hull: Hull | None = None

    @model_validator(mode="after")
    def _moving_links_need_inertia(self):
        if self.joint is not None and (self.com_m is None or self.inertia_kgm2 is None):
            raise ValueError("a link that a joint moves needs com_m and inertia_kgm2")
        return self


class Links(Config):
    """All bodies, base first."""

    inertia_source: Sourced
    geometry_source: Sourced
    colors: dict[str, Point]
    bodies: Annotated[list[Link], Field(max_length=JOINTS_MAX + 1)]


class OwnGripper(Config):
    """A parallel gripper of the model file: two sliding fingers, which then are the robot's gripper.

    palm_body: its body, with all that hangs on it. finger_joints: that on the side of +y of the TCP first; at the one
    end of their range the fingers touch, at the other they are width_max_m apart. tcp: in the palm's frame, z out,
    y along the way that the fingers open.
    """

    palm_body: Text
    finger_joints: Annotated[list[Text], Field(min_length=2, max_length=2)]
    closed_at: Literal["lower", "upper"] = "lower"
    tcp_xyz_m: Point
    tcp_rpy_rad: Point = [0.0, 0.0, 0.0]
    grip_force_n: Positive


class ModelFile(Config):
    """A model of the user's own: an MJCF, URDF or xacro file, and which part of it is the arm.

    Paths are relative to the robot file. package_dirs: folders that hold the packages of `package://` paths.
    base_body: the body that stands at the origin, upright, facing along x; without it the file's own axes and heights
    are kept, and the body that carries the first joint stands over the origin. What the file holds besides the arm:
    `cut` removes a body with all that hangs on it, `keep` leaves it there with its joints held, `hold` fixes single
    joints at a position (rad, m). gripper: one of the file's own, in place of robolearn's.
    """

    mjcf: str | None = None
    urdf: str | None = None
    package_dirs: list[Text] = []
    xacro_args: dict[str, str] = {}
    base_body: Text | None = None
    keep: list[Text] = []
    hold: dict[str, Number] = {}
    cut: list[Text] = []
    gripper: OwnGripper | None = None
    flange_body: Text
    flange_xyz_m: Point = [0.0, 0.0, 0.0]
    flange_rpy_rad: Point = [0.0, 0.0, 0.0]

    @model_validator(mode="after")
    def _one_file(self):
        if (self.mjcf is None) == (self.urdf is None):
            raise ValueError("give either mjcf or urdf")
        return self


class VelocityCurve(Config):
    """Position-dependent speed limit: |v| <= max(0, sqrt(2 decel d) - offset), d = distance to q_max or q_min."""

    q_min_rad: Numbers
    q_max_rad: Numbers
    offset_rad_s: Numbers
    decel_rad_s2: Numbers


class LimitSetFacts(Sourced):
    """One set of limits as a manufacturer published it; a file may hold several that disagree."""

    applies_to: Text
    position_min_rad: Numbers
    position_max_rad: Numbers
    velocity_rad_s: Numbers
    acceleration_rad_s2: Numbers | None = None
    jerk_rad_s3: Numbers | None = None
    torque_nm: Numbers | None = None
    torque_rate_nm_s: Numbers | None = None
    velocity_curve: VelocityCurve | None = None


class LimitFacts(Config):
    """What the joints may do. `velocity_curves` names the sets whose curves `velocity_bounds` takes the least of."""

    position_min_rad: Vector
    position_max_rad: Vector
    velocity_rad_s: Vector
    torque_nm: Vector
    acceleration_rad_s2: Vector | None = None
    jerk_rad_s3: Vector | None = None
    torque_rate_nm_s: Vector | None = None
    velocity_curves: list[str] = []
    sets: dict[str, LimitSetFacts] = {}


class Servo(Sourced):
    """The simulated joint drives: stiffness and damping of a position servo, rotor inertia, viscous friction.

    friction_nm: Coulomb friction; empty for none.
    """

    kp_nm_rad: Positives
    kv_nms_rad: Positives
    armature_kgm2: Numbers
    damping_nms_rad: Numbers
    friction_nm: list[Number] = []


class SelfDistance(Sourced):
    """Pairs of links that are fewer than three joints apart and can touch, watched by the monitor as all others are.

    A name is that of a link, of one shape of its hull (`LINK_0`, `LINK_1`, ...) or `gripper`, which stands for all
    parts of the gripper, and for none where none is mounted.
    """

    pairs: list[Annotated[list[Text], Field(min_length=2, max_length=2)]]


class Mount(Sourced):
    """Where the gripper sits on the flange.

    hull: in the gripper's frame, shapes that contain it and the tools that may be mounted in its place. The safety
    monitor watches them instead of the gripper's parts; nothing touches them in simulation.
    """

    xyz_m: Point = [0.0, 0.0, 0.0]
    rpy_rad: Point = [0.0, 0.0, 0.0]
    hull: Hull | None = None


class Qos(Config):
    """Quality of service of a topic."""

    reliability: Literal["reliable", "best_effort"]
    durability: Literal["volatile", "transient_local"] = "volatile"
    depth: Annotated[int, Field(ge=1)] = 1


class StatusTopic(Config):
    """A topic on which the arm's driver tells its state, and which values let the arm move.

    type: such as std_msgs/msg/Bool.  field: of the message.  ready: the values with which the arm may move; or min, the
    least one.  cause: what is said where it may not.  latched: the driver keeps the last message for late subscribers.
    """

    topic: Text
    type: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*/msg/[A-Z][A-Za-z0-9]*$")]
    field: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] = "data"
    ready: list[int] = []
    min: float | None = None
    cause: Text
    latched: bool = False

    @model_validator(mode="after")
    def _one_condition(self):
        if bool(self.ready) is (self.min is not None):
            raise ValueError("give either `ready`, the values with which the arm may move, or `min`")
        return self


class RosInterface(Sourced):
    """What the arm's ROS 2 driver speaks. state: positions by joint name; raw_state: the faster topic, where there
    is one. command_type is the message; controller is the ros2_control controller behind command_topic."""

    namespace: str = ""
    state_topic: Text
    state_type: Text = "sensor_msgs/msg/JointState"
    state_rate_hz: Positive
    state_qos: Qos
    raw_state_topic: str | None = None
    raw_state_rate_hz: Positive | None = None
    raw_state_qos: Qos | None = None
    command_topic: Text
    command_type: Text
    command_rate_hz: Positive
    command_qos: Qos
    controller: Text
    controller_type: Text
    other_controllers: list[str] = []
    wrench_topic: Text | None = None  # geometry_msgs/msg/WrenchStamped
    wrench_frames: dict[str, WrenchFrame] = {}  # by frame id; `tcp` needs none
    status_topics: dict[str, StatusTopic] = {}
    recovery: list[str] = []
    beware: list[str] = []


class RobotFile(Config):
    """A robot file as a whole."""

    schema_: Annotated[Literal["robolearn.robot/1"], Field(alias="schema")]
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    label: Text
    joint_names: Annotated[list[Name], Field(min_length=1, max_length=JOINTS_MAX)]
    joint_names_elsewhere: dict[str, str] = {}
    payload_kg: Scalar | None = None
    reach_m: Scalar | None = None
    mass_kg: Scalar | None = None
    moving_mass_kg: Scalar | None = None
    home_rad: Vector | None = None
    kinematics: Kinematics | None = None
    links: Links | None = None
    model: ModelFile | None = None
    hulls: dict[str, Hull] = {}  # of links that have none of their own, by name
    limits: LimitFacts
    cartesian: dict[str, Scalar] = {}
    servo: Servo | None = None
    gripper: Text = "parallel"  # a packaged gripper's name, or a gripper file beside this one
    gripper_mount: Mount | None = None
    self_distance: SelfDistance | None = None
    ros: RosInterface | None = None
    traps: list[str] = []

    def hull_of(self, link: Link) -> Hull | None:
        """The hull of a link, beside it or under `hulls`."""
        return link.hull or self.hulls.get(link.name)


class GripperInterface(Sourced):
    """What a gripper's ROS 2 driver speaks. Names are in the namespace of the arm, unless they begin with a slash.

    driver: how it is commanded. position: a position controller's topic; gripper_command: an action of
    control_msgs/GripperCommand; franka: the namespace of franka_gripper's actions move and grasp; schunk: that of a
    Schunk gripper's services. command: that topic, action or namespace.
    joints: in joint states on state_topic; position_open and position_closed: of each of them, rad or m, at the widest
    opening and with the fingers together. speed_m_s, force_n: what the driver is asked for, of the opening and each
    finger.
    """

    driver: Literal["position", "gripper_command", "franka", "schunk"]
    command: Text
    state_topic: Text
    joints: Annotated[list[Name], Field(min_length=1, max_length=8)]
    position_open: Number
    position_closed: Number
    speed_m_s: Positive
    force_n: Positive

    @model_validator(mode="after")
    def _open_is_not_closed(self):
        if self.position_open == self.position_closed:
            raise ValueError(
                "position_open and position_closed are the same: they do not determine an opening"
            )
        return self


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError("a latency is [shortest, longest] in s")
    return value


class GripperFile(Config):
    """A parallel gripper, in its own frame: z out of the flange, the fingers open along +y and -y.

    grip_force_n is what each finger presses with at most; finger_armature_kg is the drive's inertia as seen by one.
    speed_max_m_s: of the opening. latency_s: shortest and longest time from a command to the fingers' first motion, of
    a gripper whose driver takes single commands. sources: of single numbers, in place of `facts`.
    """

    schema_: Annotated[Literal["robolearn.gripper/1"], Field(alias="schema")]
    name: Text
    label: Text
    facts: Sourced
    sources: dict[str, Sourced] = {}
    width_max_m: Positive
    tcp_z_m: Positive
    collar_radius_m: Positive
    palm_mass_kg: Mass
    palm_center_m: Point
    palm_half_size_m: Point
    finger_mass_kg: Mass
    finger_center_m: Point
    finger_half_size_m: Point
    pad_center_m: Point
    pad_half_size_m: Point
    pad_friction: Point
    grip_force_n: Positive
    speed_max_m_s: Positive | None = None
    latency_s: Annotated[tuple[Latency, Latency], AfterValidator(_rising)] | None = None
    kp_n_m: Positive
    kv_ns_m: Positive
    finger_armature_kg: Positive
    finger_damping_ns_m: Positive
    colors: dict[str, Point]
    ros: GripperInterface | None = None

    @model_validator(mode="after")
    def _sources_name_numbers(self):
        if unknown := [name for name in self.sources if name not in type(self).model_fields]:
            raise ValueError(f"sources names '{unknown[0]}', which is no key of a gripper file")
        return self

"""How a policy is deployed on one arm: rates, topics, keys and approval, in `configs/deploy/*.yaml`.

`robolearn serve` and the launch files get the nodes' parameters from `node_parameters`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from robolearn.config import Config, apply_overrides, build, config_dir, config_path, read_document, scalar
from robolearn.deploy.arm_names import arm_topic, full_namespace
from robolearn.deploy.command_grid import check_command_grid, check_shipped_controller
from robolearn.deploy.discovery import Range, discovery_environment
from robolearn.deploy.ending import lifeline
from robolearn.deploy.operators import check_operators, operators_as_list, with_local_operator
from robolearn.deploy.security import require_security, security_environment
from robolearn.errors import ConfigError, unknown
from robolearn.robots import Robot, is_packaged, load_robot, robot_names
from robolearn.robots.wrench_frames import sensor_places
from robolearn.safety.profile import SafetyProfile

DEFAULT_ROBOT = "fr3"
TEMPLATE = "ros2_control"  # the packaged file that is for no arm in particular
_FILES = (".yaml", ".yml")


SIMULATED_WRENCH = "robolearn/wrench"  # of a simulated arm whose robot file names no sensor


class Deployment(Config):
    """One arm in one cell. Empty topics mean those of the robot file."""

    robot: str = Field(
        description="robot name or robot YAML; a relative path starts at this file, then at the working directory"
    )
    namespace: str = Field(
        "", description="namespace of this arm's topics and nodes, such as left; empty for the robot file's"
    )
    joint_prefix: str = Field("", description="prefix of the driver's joint names, such as left_")
    deployment_id: str = Field(description="name of this installation in the log")
    rate_hz: float = Field(
        500.0, ge=50, le=1000, description="Hz, rate of the monitor and of the command stream"
    )
    profile: str = Field(
        "", description="safety profile, found as robot is; empty for the packaged one of this robot"
    )
    mode: str = Field("automatic", description="mode of the safety profile at startup")
    state_topic: str = Field("", description="joint states; empty for the fastest topic in the robot file")
    state_rate_hz: float = Field(
        0.0, ge=0, le=10000, description="rate of the joint states, Hz; 0 for the robot file's"
    )
    command_topic: str = Field(
        "", description="command topic of a forward controller; empty for the robot file's"
    )
    controller: Literal["forward", "trajectory", "robolearn"] = Field(
        "forward", description="controller type: forward, trajectory, or robolearn"
    )
    controller_name: str = Field(
        "", description="full name of the controller's node; empty: derived from command_topic and controller"
    )
    controller_rate_hz: float = Field(
        0.0, ge=0, le=10000, description="rate of a forward controller, Hz; 0 for the robot file's"
    )
    check_controller: bool = Field(
        True,
        description="compare the controller's joints, interface, rate and state with this file "
        "before a start; false for an arm without ros2_control",
    )
    status_gates: bool = Field(
        True,
        description="stop, and refuse a start, while a status topic of the "
        "robot file reports that the arm is not ready",
    )
    stream_before_start: bool = Field(
        False, description="stream the held position before the first start; false: send nothing before it"
    )
    person_topic: str = Field("robolearn/person_range", description="distance to the nearest person")
    gripper_node: bool = Field(
        True,
        description="command the gripper as its file says, by a node of its own; false, or a gripper whose file names "
        "no driver: openings on gripper_position_controller/commands alone",
    )
    wrench_topic: str = Field(
        "",
        description="force-torque sensor, recorded but not checked, read by policies that feel; empty for the robot "
        "file's, or none",
    )
    wrench_frames: dict[str, str] = Field(
        {},
        description="where the frame of the sensor's messages is, for policies that read it: frame id: tcp or flange, "
        "with ` reversed` where it tells what the tool does to its surroundings",
    )
    base_frame: str = Field("base", description="frame of goals and object poses")
    slot_topics: dict[str, str] = Field({}, description="slot source: topic, if it differs from the default")
    observation_age_max_s: float = Field(
        0.05, gt=0, le=1, description="maximum age of joint states for the policy, s"
    )
    trusted_keys: list[str] = Field(
        [], description="keys that may sign bundles; empty accepts any valid signature"
    )
    require_approval: bool = Field(True, description="serve only bundles approved with one of approver_keys")
    approver_keys: list[str] = Field([], description="key ids or public keys of the approvers")
    approvals_needed: int = Field(
        1,
        ge=1,
        le=2,
        description="number of people who must approve the bundle, with different keys of approver_keys",
    )
    operator: str = Field(
        "operator", description="pseudonym of the person who starts the nodes, for the first line of the log"
    )
    operators: dict[str, str] = Field(
        {}, description="who may start, reset and change the mode: pseudonym: public key or key id"
    )
    use_sim_time: bool = Field(
        False,
        description="the arm is a simulator that publishes /clock, and every time is its time; refused by the "
        "controller of a real arm",
    )
    rt_priority: int = Field(40, ge=0, le=95, description="SCHED_FIFO priority, 0 for none")
    discovery_range: Range = Field(
        "LOCALHOST",
        description="LOCALHOST: this machine and static_peers; SUBNET: every host on "
        "interface; SYSTEM_DEFAULT: as set in the environment",
    )
    static_peers: list[str] = Field([], description="other hosts, such as the arm driver's; needs interface")
    interface: str = Field(
        "", description="network interface to other hosts, by name or IPv4 address; `all` only with SUBNET"
    )
    security_keystore: str = Field(
        "",
        description="SROS 2 keystore, relative to this file or absolute; enforces SROS 2 for every node",
    )


def load_deployment(path: str | Path, overrides: list[str] | None = None) -> Deployment:
    """A deployment by path or packaged name, such as `deploy/fr3.yaml`. Raises ConfigError."""
    return _load(path, lambda data: apply_overrides(data, overrides or []), overrides or [])


def deployment_for(
    robot: str = "", deploy: str | Path = "", changes: Mapping[str, Any] | None = None
) -> Deployment:
    """The deployment of an arm: the file `deploy`, or the packaged one of `robot` (default fr3) where none is named.

    changes: keys in place of the file's.
    Raises ConfigError where there is no such file, a key is wrong, or the file is for another arm than `robot`;
    RobotError for an unknown robot.
    """
    changes = dict(changes or {})
    if not deploy:
        deploy = _packaged_for(robot or DEFAULT_ROBOT)
        changes |= {"robot": robot} if robot else {}
    deployment = _load(deploy, lambda data: {**data, **changes}, [f"{k}={v}" for k, v in changes.items()])
    if (
        robot
        and robot != deployment.robot
        and load_robot(robot).digest != load_robot(deployment.robot).digest
    ):
        raise ConfigError(f"{deploy} is for robot '{deployment.robot}', but robot '{robot}' was given.")
    return deployment


def node_parameters(
    deployment: Deployment, bundle: str | Path, *, sim: bool = False, log_dir: str | Path = ""
) -> dict[str, dict[str, Any]]:
    """Parameters by node, in the order in which the nodes start. Empty lists, which ROS 2 cannot pass, are left out.

    sim: also a simulated arm, which then is what the joint states come from. It needs no approval, and this account's
        own key may operate it.
    log_dir: new or empty folder of the safety log; empty for no log.
    Raises ConfigError where the arm's controller takes commands at another rate and does not interpolate, or makes
    more of them than the arm takes; ProfileError.
    """
    d = deployment
    # a simulated arm takes commands at the rate at which they are sent
    controller, controller_rate_hz = ("forward", d.rate_hz) if sim else (d.controller, d.controller_rate_hz)
    robot = load_robot(d.robot)
    wrench_topic = d.wrench_topic
    if sim and not (robot.ros and robot.ros.wrench_topic):
        wrench_topic = wrench_topic or SIMULATED_WRENCH
    check_command_grid(robot, d.rate_hz, controller, controller_rate_hz)
    if not sim:
        profile = SafetyProfile.load(d.profile or robot.arm)
        check_shipped_controller(robot, profile, d.rate_hz, controller, controller_rate_hz)
    shared = {"robot": d.robot, "rt_priority": d.rt_priority, "joint_prefix": d.joint_prefix}
    safety = {
        **shared,
        "profile": d.profile,
        "mode": d.mode,
        "rate_hz": d.rate_hz,
        "state_topic": d.state_topic,
        "command_topic": d.command_topic,
        "controller": controller,
        "controller_name": "" if sim else d.controller_name,
        "controller_rate_hz": controller_rate_hz,
        "check_controller": d.check_controller,
        "status_gates": d.status_gates and not sim,
        "stream_before_start": d.stream_before_start,
        "person_topic": d.person_topic,
        "wrench_topic": wrench_topic,
        "log_dir": str(log_dir),
        "deployment_id": d.deployment_id,
        "operator": d.operator,
        "operators": operators_as_list(with_local_operator(d.operators) if sim else d.operators),
    }
    sensor_places(robot, d.wrench_frames)  # a place that is none is said here, before any node starts
    policy = {
        **shared,
        "bundle": str(bundle),
        "command_rate_hz": d.rate_hz,
        "state_topic": d.state_topic,
        "state_rate_hz": d.rate_hz if sim and not _reads_slow_states(d, robot) else d.state_rate_hz,
        "base_frame": d.base_frame,
        "slot_topics": [f"{source}={topic}" for source, topic in d.slot_topics.items()],
        "wrench_topic": wrench_topic,
        "wrench_frames": [f"{frame}={place}" for frame, place in d.wrench_frames.items()],
        "observation_age_max_s": d.observation_age_max_s,
        "trusted_keys": list(d.trusted_keys),
        "require_approval": d.require_approval and not sim,
        "approver_keys": list(d.approver_keys),
        "approvals_needed": d.approvals_needed,
    }
    if d.use_sim_time and not d.check_controller:
        raise ConfigError(
            "use_sim_time needs check_controller: only the controller's own use_sim_time tells a simulator from a real "
            "arm, which is never driven on simulated time."
        )
    follows = {"use_sim_time": True} if d.use_sim_time else {}
    nodes = {"sim_node": {**shared, **_simulated(d, robot), "wrench_topic": wrench_topic}} if sim else {}
    nodes |= {"safety_node": safety | follows}
    if d.gripper_node and not sim and robot.gripper.file.ros is not None:
        nodes["gripper_node"] = {"robot": d.robot} | follows
    nodes["policy_node"] = policy | follows
    return {node: {k: v for k, v in given.items() if v != []} for node, given in nodes.items()}


def motion_parameters(
    deployment: Deployment,
    motion: str | Path,
    *,
    sim: bool = False,
    log_dir: str | Path = "",
    plant: str = "",
) -> dict[str, dict[str, Any]]:
    """Like `node_parameters`, with the player of a motion file in the policy's place.

    plant: what the simulated arm is, see `robolearn.sim.plant`; empty for the model. It reports its drives' torques.
    """
    nodes = node_parameters(deployment, "", sim=sim, log_dir=log_dir)
    del nodes["policy_node"]
    nodes.pop("gripper_node", None)  # a motion is of the arm alone
    nodes["motion_node"] = {
        "robot": deployment.robot,
        "rt_priority": deployment.rt_priority,
        "joint_prefix": deployment.joint_prefix,
        "motion": str(motion),
        "command_rate_hz": deployment.rate_hz,
        "state_topic": deployment.state_topic,
    } | ({"use_sim_time": True} if deployment.use_sim_time else {})
    if sim:
        nodes["sim_node"] |= {"effort": True, "plant": plant}
    return nodes


def node_environment(deployment: Deployment) -> dict[str, str]:
    """What the nodes' environment has in place of this process's: with which machines they speak, and SROS 2.

    Raises ConfigError for an interface or a host that there is not.
    """
    d = deployment
    discovery = discovery_environment(d.discovery_range, d.static_peers, d.interface)
    return {**discovery, **security_environment(d.security_keystore)}


def require_operators(deployment: Deployment) -> None:
    """Raises ConfigError for a deployment of a real arm without operators."""
    if not deployment.operators:
        raise ConfigError(
            "operators is empty: nobody could start this arm. Each operator runs `robolearn operate key`; "
            "add the printed line to `operators` in the deployment file."
        )


def profile_line(profile: SafetyProfile, mode: str) -> str:
    """What a start says of the limits in force: name, mode, and the digest that stands in the log and the report."""
    return f"Safety profile: {profile.name}, mode {mode}, sha256 {profile.digest}"


# -- for launch files, whose arguments are text --

_OF_A_LAUNCH = {
    "deploy": "deployment file; empty for the packaged one of the robot",
    "robot": "robot name or robot YAML; empty for the deployment file's",
    "bundle": "the .robolearn file",
    "log_dir": "new or empty folder for the safety log; empty: runs/launch/TIME; none: no log",
    "sim": "true: also start a simulated arm; no approval required",
}

_OF_ROS2_LAUNCH = ("launch-prefix", "launch-prefix-filter", "emulate_tty")


def launch_arguments() -> dict[str, str]:
    """Arguments of a launch file, and what each means: those of every launch, then the keys of a deployment file."""
    keys = {name: field.description or "" for name, field in Deployment.model_fields.items()}
    return _OF_A_LAUNCH | {name: f"{text} (empty: from the deployment file)" for name, text in keys.items()
                           if name not in _OF_A_LAUNCH}  # fmt: skip


def from_launch(
    arguments: Mapping[str, str], words: Iterable[str] = ()
) -> tuple[dict[str, dict[str, Any]], dict[str, str], str]:
    """Node parameters, the nodes' environment and their namespace from a launch file's arguments.

    Empty text is an argument that was not given.
    words: `name:=value` as they stand on the command line; `ros2 launch` itself ignores a name that no file declares.
    The nodes end with this process. Raises ConfigError or RobotError.
    """
    given = {name: text for name, text in arguments.items() if text}
    for name in [*given, *(word.partition(":=")[0] for word in words)]:
        if name not in launch_arguments() and name not in _OF_ROS2_LAUNCH:
            raise ConfigError(unknown("launch argument", name, launch_arguments()))
    sim = _value("sim", given.pop("sim", "false"))
    if not isinstance(sim, bool):
        raise ConfigError(f"Launch argument 'sim' is '{sim}', expected true or false.")
    if "bundle" not in given:
        raise ConfigError("Launch argument 'bundle' is missing: bundle:=/path/policy.robolearn")
    bundle, log_dir = given.pop("bundle"), _log_of_launch(given.pop("log_dir", ""))
    robot, deploy = given.pop("robot", ""), given.pop("deploy", "")
    changes = {name: _value(name, text) for name, text in given.items()}
    deployment = deployment_for(robot, deploy, changes)
    environment = node_environment(deployment)
    parameters = node_parameters(deployment, bundle, sim=sim, log_dir=log_dir)
    require_security(environment, parameters)
    return parameters, environment | lifeline(), full_namespace(deployment.namespace)


def _log_of_launch(given: str) -> str:
    """The folder of a launch's log: what was given, or a new one; empty for none."""
    if given == "none":
        return ""
    return given or str(Path("runs/launch", datetime.now().strftime("%Y%m%d-%H%M%S"), "safety").absolute())


def _value(name: str, text: str) -> Any:
    """An argument's text as a value, read like an override; a key that holds text takes it as it stands."""
    field = Deployment.model_fields.get(name)
    if field is not None and field.annotation is str:
        return text
    return scalar(text)


# -- files --


def _load(
    path: str | Path, change: Callable[[dict[str, Any]], dict[str, Any]], said: list[str]
) -> Deployment:
    file = config_path(path)
    document = read_document(file)
    data = dict(document.data)
    for key in ("robot", "profile"):
        if isinstance(data.get(key), str):
            data[key] = _beside(file, data[key])
    if isinstance(data.get("security_keystore"), str) and data["security_keystore"]:
        data["security_keystore"] = str(file.parent / Path(data["security_keystore"]).expanduser())
    if said:
        deployment = build(Deployment, change(data), f"{path}, with {', '.join(said)}")
    else:
        deployment = build(Deployment, change(data), str(path), document.line)
    check_operators(deployment.operators)
    full_namespace(deployment.namespace)
    return deployment


def _beside(file: Path, name: str) -> str:
    """A YAML that lies beside the deployment file; otherwise the name as it is."""
    found = file.parent / Path(name).expanduser()
    return str(found) if name.endswith(_FILES) and found.is_file() else name


def _packaged_for(robot: str) -> str:
    if robot != TEMPLATE:
        # An unknown name, or a file that cannot be read, is the first thing to mend.
        loaded = load_robot(robot)
        if is_packaged(robot) or (loaded.calibration and is_packaged(loaded.calibration.base.file)):
            return f"deploy/{loaded.arm}.yaml"
    template = config_dir() / "deploy" / f"{TEMPLATE}.yaml"
    raise ConfigError(
        f"No deployment file is known for the arm '{robot}'. Copy {template}, set what is yours, and name the copy: "
        "--deploy my_deploy.yaml, or in a launch deploy:=my_deploy.yaml. "
        f"Arms with a file of their own: {', '.join(robot_names())}."
    )


def _simulated(d: Deployment, robot: Robot) -> dict[str, Any]:
    """A simulated arm that speaks as this deployment expects its arm to speak."""
    return {
        "rate_hz": d.rate_hz,
        "raw_state_topic": "" if _reads_slow_states(d, robot) else d.state_topic,
        "command_topic": d.command_topic,
        "person_topic": d.person_topic,
        "base_frame": d.base_frame,
    } | ({"clock_rate": 1.0} if d.use_sim_time else {})


def _reads_slow_states(d: Deployment, robot: Robot) -> bool:
    """Whether the deployment names the slower of an arm's two topics of joint states."""
    ros = robot.ros
    if ros is None or ros.raw_state_topic is None:
        return False
    return d.state_topic in (ros.state_topic, arm_topic(robot, ros.state_topic, d.namespace))

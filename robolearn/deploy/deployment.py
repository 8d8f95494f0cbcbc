"""How a policy is deployed on one arm: rates, topics, keys and approval, in `configs/deploy/*.yaml`.

Whoever starts the nodes, `robolearn serve` or a launch file, gets their parameters from `node_parameters`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from robolearn.config import Config, apply_overrides, build, config_dir, config_path, read_yaml
from robolearn.deploy.command_grid import check_command_grid
from robolearn.errors import ConfigError, unknown
from robolearn.robots import load_robot, robot_names
from robolearn.safety.profile import SafetyProfile

DEFAULT_ROBOT = "fr3"
TEMPLATE = "ros2_control"  # the packaged file that is for no arm in particular
_FILES = (".yaml", ".yml")


class Deployment(Config):
    """One arm in one cell. Empty topics mean those of the robot file."""

    robot: str = Field(
        description="robot name, or a robot YAML; a relative path is first looked for beside this file"
    )
    deployment_id: str = Field(description="what this installation is called in the log")
    rate_hz: float = Field(
        500.0, ge=50, le=1000, description="Hz, of checking, of commands and of the command stream"
    )
    profile: str = Field(
        "", description="safety profile, found as robot is; empty for the packaged one of this robot"
    )
    mode: str = Field("automatic", description="mode of the safety profile at the start")
    state_topic: str = Field("", description="joint states; empty for the fastest topic in the robot file")
    state_rate_hz: float = Field(
        0.0, ge=0, le=10000, description="Hz at which joint states come; 0 for the rate in the robot file"
    )
    command_topic: str = Field("", description="position controller; empty for the robot file's")
    controller: Literal["forward", "robolearn"] = Field(
        "forward", description="what takes commands: a forward controller, or robolearn's, which interpolates"
    )
    controller_rate_hz: float = Field(
        0.0, ge=0, le=10000, description="Hz at which a forward controller takes them; 0 for the robot file's"
    )
    person_topic: str = Field("/robolearn/person_range", description="distance to the nearest person")
    base_frame: str = Field("base", description="frame of goals and object poses")
    slot_topics: dict[str, str] = Field(
        {}, description="slot source: topic, where it differs from the default"
    )
    observation_age_max_s: float = Field(
        0.05, gt=0, le=1, description="s; older joint states hold the policy"
    )
    trusted_keys: list[str] = Field(
        [], description="keys that may sign bundles; empty accepts any intact signature"
    )
    require_approval: bool = Field(True, description="serve only what one of approver_keys has approved")
    approver_keys: list[str] = Field([], description="key ids or public keys of those who may approve")
    operator: str = Field("operator", description="pseudonym in the log")
    rt_priority: int = Field(40, ge=0, le=95, description="SCHED_FIFO priority, 0 for none")
    discovery_range: Literal["", "LOCALHOST", "SUBNET", "OFF", "SYSTEM_DEFAULT"] = Field(
        "", description="ROS_AUTOMATIC_DISCOVERY_RANGE of the nodes; empty leaves the environment as it is"
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
    deployment = _load(deploy, lambda data: {**data, **changes}, [f"{k}={v}" for k, v in changes.items()])
    if (
        robot
        and robot != deployment.robot
        and load_robot(robot).digest != load_robot(deployment.robot).digest
    ):
        raise ConfigError(f"{deploy} is for robot '{deployment.robot}', but robot '{robot}' was asked for.")
    return deployment


def node_parameters(
    deployment: Deployment, bundle: str | Path, *, sim: bool = False, log_dir: str | Path = ""
) -> dict[str, dict[str, Any]]:
    """Parameters by node, in the order in which the nodes start. Empty lists, which ROS 2 cannot pass, are left out.

    sim: also a simulated arm, which then is what the joint states come from, and for which nobody need approve.
    log_dir: new or empty folder of the safety log; empty for no log.
    Raises ConfigError where the arm's controller takes commands at another rate and does not interpolate.
    """
    d = deployment
    # a simulated arm takes commands at the rate at which they are sent
    controller, controller_rate_hz = ("forward", d.rate_hz) if sim else (d.controller, d.controller_rate_hz)
    check_command_grid(load_robot(d.robot), d.rate_hz, controller, controller_rate_hz)
    shared = {"robot": d.robot, "rt_priority": d.rt_priority}
    safety = {
        **shared,
        "profile": d.profile,
        "mode": d.mode,
        "rate_hz": d.rate_hz,
        "state_topic": d.state_topic,
        "command_topic": d.command_topic,
        "controller": controller,
        "controller_rate_hz": controller_rate_hz,
        "person_topic": d.person_topic,
        "log_dir": str(log_dir),
        "deployment_id": d.deployment_id,
        "operator": d.operator,
    }
    policy = {
        **shared,
        "bundle": str(bundle),
        "command_rate_hz": d.rate_hz,
        "state_topic": d.state_topic,
        "state_rate_hz": d.rate_hz if sim and not _reads_slow_states(d) else d.state_rate_hz,
        "base_frame": d.base_frame,
        "slot_topics": [f"{source}={topic}" for source, topic in d.slot_topics.items()],
        "observation_age_max_s": d.observation_age_max_s,
        "trusted_keys": list(d.trusted_keys),
        "require_approval": d.require_approval and not sim,
        "approver_keys": list(d.approver_keys),
    }
    nodes = {"sim_node": {**shared, **_simulated(d)}} if sim else {}
    nodes |= {"safety_node": safety, "policy_node": policy}
    return {node: {k: v for k, v in given.items() if v != []} for node, given in nodes.items()}


def node_environment(deployment: Deployment, *, sim: bool = False) -> dict[str, str]:
    """What the nodes' environment has in place of this process's: which machines ROS 2 looks for others on.

    A simulated arm keeps to this machine, unless the environment or the deployment says otherwise; for a real arm,
    whose driver may run elsewhere, the environment stays as it is unless the deployment says otherwise.
    """
    name = "ROS_AUTOMATIC_DISCOVERY_RANGE"
    if deployment.discovery_range:
        return {name: deployment.discovery_range}
    return {name: "LOCALHOST"} if sim and name not in os.environ else {}


def profile_line(profile: SafetyProfile, mode: str) -> str:
    """What a start says of the limits in force: name, mode, and the digest that stands in the log and the report."""
    return f"Safety profile: {profile.name}, mode {mode}, sha256 {profile.digest}"


# -- for launch files, whose arguments are text --

_OF_A_LAUNCH = {
    "deploy": "deployment file; empty for the packaged one of the robot",
    "robot": "robot name or robot YAML; empty for the deployment file's",
    "bundle": "the .robolearn file",
    "log_dir": "new or empty folder of the safety log; empty for no log",
    "sim": "true: also start a simulated arm, for which nobody need approve",
}


def launch_arguments() -> dict[str, str]:
    """Arguments of a launch file, and what each means: those of every launch, then the keys of a deployment file."""
    keys = {name: field.description or "" for name, field in Deployment.model_fields.items()}
    return _OF_A_LAUNCH | {name: f"{text} (empty: as the deployment file has it)" for name, text in keys.items()
                           if name not in _OF_A_LAUNCH}  # fmt: skip


def from_launch(arguments: Mapping[str, str]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Node parameters, and the nodes' environment, from a launch file's arguments.

    Empty text is an argument that was not given. Raises ConfigError or RobotError.
    """
    given = {name: text for name, text in arguments.items() if text}
    for name in given:
        if name not in launch_arguments():
            raise ConfigError(unknown("launch argument", name, launch_arguments()))
    sim = _value("sim", given.pop("sim", "false"))
    if not isinstance(sim, bool):
        raise ConfigError(f"Launch argument 'sim' is '{sim}', expected true or false.")
    if "bundle" not in given:
        raise ConfigError("Launch argument 'bundle' is missing: bundle:=/path/policy.robolearn")
    bundle, log_dir = given.pop("bundle"), given.pop("log_dir", "")
    robot, deploy = given.pop("robot", ""), given.pop("deploy", "")
    changes = {name: _value(name, text) for name, text in given.items()}
    deployment = deployment_for(robot, deploy, changes)
    return node_parameters(deployment, bundle, sim=sim, log_dir=log_dir), node_environment(
        deployment, sim=sim
    )


def _value(name: str, text: str) -> Any:
    """An argument's text as a value: YAML, unless the key holds text, which is taken as it stands."""
    field = Deployment.model_fields.get(name)
    if field is not None and field.annotation is str:
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"Launch argument '{name}' is '{text}', which is no YAML value.") from None


# -- files --


def _load(
    path: str | Path, change: Callable[[dict[str, Any]], dict[str, Any]], said: list[str]
) -> Deployment:
    file = config_path(path)
    data = read_yaml(file)
    for key in ("robot", "profile"):
        if isinstance(data.get(key), str):
            data[key] = _beside(file, data[key])
    return build(Deployment, change(data), f"{path}, with {', '.join(said)}" if said else str(path))


def _beside(file: Path, name: str) -> str:
    """A YAML that lies beside the deployment file; otherwise the name as it is."""
    found = file.parent / Path(name).expanduser()
    return str(found) if name.endswith(_FILES) and found.is_file() else name


def _packaged_for(robot: str) -> str:
    if robot in robot_names():
        return f"deploy/{robot}.yaml"
    template = config_dir() / "deploy" / f"{TEMPLATE}.yaml"
    if robot != TEMPLATE:
        load_robot(
            robot
        )  # a name that nobody knows, or a file that cannot be read, is the first thing to mend
    raise ConfigError(
        f"No deployment file is known for the arm '{robot}'. Copy {template}, set what is yours, and name the copy: "
        "--deploy my_deploy.yaml, or in a launch deploy:=my_deploy.yaml. "
        f"Arms with a file of their own: {', '.join(robot_names())}."
    )


def _simulated(d: Deployment) -> dict[str, Any]:
    """A simulated arm that speaks as this deployment expects its arm to speak."""
    return {
        "rate_hz": d.rate_hz,
        "raw_state_topic": "" if _reads_slow_states(d) else d.state_topic,
        "command_topic": d.command_topic,
        "person_topic": d.person_topic,
        "base_frame": d.base_frame,
    }


def _reads_slow_states(d: Deployment) -> bool:
    """Whether the deployment names the slower of an arm's two topics of joint states."""
    ros = load_robot(d.robot).ros
    return ros is not None and ros.raw_state_topic is not None and d.state_topic == ros.state_topic

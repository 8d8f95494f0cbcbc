"""Which process of a cell may publish, subscribe and call what: the rights that an SROS 2 keystore is made of.

One enclave per process. A process that is not in the table has no key and cannot take part. What an enclave may not do
the others refuse, whatever the process tries.
"""

from __future__ import annotations

from typing import NamedTuple

from robolearn.deploy.arm_controller import FORWARD, TRAJECTORY, controller_node, controller_topic
from robolearn.deploy.arm_names import arm_topic, in_namespace
from robolearn.deploy.deployment import SIMULATED_WRENCH, Deployment
from robolearn.deploy.keystore import Rights
from robolearn.errors import RobotError
from robolearn.robots import Robot, load_robot

ENCLAVES = "/robolearn"
GRIPPER_TOPICS = ("gripper_position_controller/commands",)
_PARAMETERS = (
    "describe_parameters", "get_parameter_types", "get_parameters", "list_parameters", "set_parameters",
    "set_parameters_atomically", "get_type_description",
)  # fmt: skip
_LOOK_AT = ("describe_parameters", "get_parameter_types", "get_parameters", "list_parameters")
_LIFECYCLE = (
    "change_state", "get_state", "get_available_states", "get_available_transitions", "get_transition_graph",
)  # fmt: skip
_OPERATE = ("stop", "challenge", "operate", "request_stop", "request_challenge", "request")
_ACTION_CALLS, _ACTION_TOPICS = ("send_goal", "cancel_goal", "get_result"), ("feedback", "status")


def rights(deployment: Deployment) -> tuple[Rights, ...]:
    """The rights of every process of a cell, by the topics of its deployment. Raises RobotError."""
    d = deployment
    robot = load_robot(d.robot)
    ros = robot.ros
    if ros is None:
        raise RobotError(f"Robot '{d.robot}' has no `ros` section: add its topics and rates.")

    def own(name: str) -> str:
        return in_namespace(name, d.namespace)

    def arms(topic: str) -> str:
        return arm_topic(robot, topic, d.namespace)

    forward = own(d.command_topic) if d.command_topic else arms(ros.command_topic)
    sent = own("robolearn/sent_command")
    command = tuple(dict.fromkeys((forward, controller_topic(d.controller, forward, sent))))
    controller = d.controller_name or controller_node(d.controller, forward)
    simulated = controller_node(FORWARD, forward)
    # The arm's own and the simulated one's: the handshake reads both kinds with the keys of one cell.
    controllers = tuple(dict.fromkeys((controller, simulated)))
    managers = tuple(dict.fromkeys(f"{one.rpartition('/')[0]}/controller_manager" for one in controllers))
    trajectories = controller_topic(TRAJECTORY, forward)
    grippers = tuple(own(topic) for topic in GRIPPER_TOPICS)
    given = (arms(t) for t in (ros.raw_state_topic, ros.state_topic) if t)
    states = tuple(dict.fromkeys((*given, *((own(d.state_topic),) if d.state_topic else ()))))
    person, enabling = own(d.person_topic), own("robolearn/enabling_device")
    wrench = own(d.wrench_topic) if d.wrench_topic else arms(ros.wrench_topic) if ros.wrench_topic else ""
    wrench = wrench or own(SIMULATED_WRENCH)
    status = tuple(arms(one.topic) for one in ros.status_topics.values())
    poses = (own("robolearn/pose/*"), own("robolearn/gripper_width"))
    goal, wanted, opening, score, read = (
        own(f"robolearn/{name}")
        for name in ("goal", "policy_command", "policy_gripper", "ood_score", "policy_inputs")
    )
    other_goals = own("robolearn/goal/*")
    slots = (goal, other_goals, *poses, *d.slot_topics.values())
    given_goals = (t for s, t in d.slot_topics.items() if s == "goal" or s.startswith("goal."))
    goals = tuple(dict.fromkeys((goal, other_goals, *given_goals)))
    shown = (sent, own("robolearn/decision"), own("robolearn/decision_stamped"), "/diagnostics")
    told = (*shown, wanted, score, read, *states, "/rosout")
    ours = (wanted, opening, score, read, *shown[:3], person, enabling, *command)
    safety_node, policy_node, sim_node = (own(name) for name in ("safety_node", "policy_node", "sim_node"))
    reach = own("robolearn/reach_goal/_action")
    frames = ("/tf", "/tf_static")
    driver = _gripper_driver(d, robot)
    policy = tuple(f"{policy_node}/{name}" for name in (*_LIFECYCLE, "stage", "set_parameters"))
    looked_at = tuple(f"{node}/{name}" for node in (safety_node, policy_node) for name in _LOOK_AT)
    return (
        Rights(
            f"{ENCLAVES}/safety_node", "the monitor: the only process that may command the arm",
            publish=(*dict.fromkeys((*command, *grippers, *shown)),),
            subscribe=(*states, wanted, opening, score, read, person, enabling,
                       wrench, *status, "/diagnostics", *(f"{one}/status" for one in controllers)),
            serve=_services(safety_node, (*_PARAMETERS, *_OPERATE)),
            call=tuple(f"{one}/get_parameters" for one in (*controllers, *managers)),
        ),
        Rights(
            f"{ENCLAVES}/policy_node", "the policy",
            publish=(wanted, opening, score, read, "/diagnostics",
                     f"{policy_node}/transition_event", *_services(reach, _ACTION_TOPICS)),
            subscribe=(*states, *shown[:3], *slots, wrench, *frames),
            serve=(*_services(policy_node, (*_PARAMETERS, *_LIFECYCLE, "stage")), *_services(reach, _ACTION_CALLS)),
        ),
        Rights(
            f"{ENCLAVES}/sim_node", "a simulated arm and its cell",
            publish=(*states, person, wrench, *poses, "/diagnostics", *(f"{one}/status" for one in controllers),
                     *(driver.publish if driver else ()), *(("/clock",) if d.use_sim_time else ())),
            subscribe=(*command, *grippers, trajectories, *(driver.subscribe if driver else ())),
            serve=(*_services(sim_node, _PARAMETERS), *(driver.serve if driver else ()),
                   *(name for one in controllers for name in _services(one, _PARAMETERS))),
        ),
        *((_gripper_rights(d, grippers, driver),) if driver else ()),
        Rights(
            f"{ENCLAVES}/arm_driver", "the arm's driver and controller manager: everything except robolearn's topics",
            publish=("*",), subscribe=("*",), serve=("*",), call=("*",),
            denied=ours, denied_services=(f"{safety_node}/*", f"{policy_node}/*", f"{reach}/*"),
        ),
        Rights(f"{ENCLAVES}/person_sensor", "the person sensor", publish=(person,),
               serve=_services(own("person_sensor"), _PARAMETERS)),
        Rights(f"{ENCLAVES}/enabling_device", "the enabling device", publish=(enabling,),
               serve=_services(own("enabling_device"), _PARAMETERS)),
        Rights(f"{ENCLAVES}/tracker", "trackers of objects and the gripper's width",
               publish=(*poses, *(t for t in d.slot_topics.values() if t not in goals)),
               serve=_services(own("tracker"), _PARAMETERS)),
        Rights(
            f"{ENCLAVES}/operator", "`robolearn operate`: goals, and requests, which also need an operator key",
            publish=goals, subscribe=(*told, *_services(reach, _ACTION_TOPICS)),
            serve=_services(own("operate"), _PARAMETERS),
            call=(*_services(safety_node, _OPERATE), *policy, *looked_at, *_services(reach, _ACTION_CALLS)),
        ),
        Rights(f"{ENCLAVES}/viewer", "read-only access to published topics, `robolearn operate watch`",
               subscribe=(*told, goal, own("robolearn/gripper_width")),
               serve=_services(own("viewer"), _PARAMETERS)),
    )  # fmt: skip


class _GripperDriver(NamedTuple):
    """Topics and services of the driver of an arm's gripper."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    serve: tuple[str, ...]


def _gripper_driver(d: Deployment, robot: Robot) -> _GripperDriver | None:
    """What the driver of the arm's gripper offers; None where it has none, or no node commands it."""
    gripper = robot.gripper.file.ros
    if gripper is None or not d.gripper_node:
        return None
    command, state = (
        in_namespace(gripper.command, d.namespace),
        in_namespace(gripper.state_topic, d.namespace),
    )
    # Of an action `a`: a/_action/*; of a driver's namespace: whatever is below it.
    below = f"{command}/*"
    commanded = (command,) if gripper.driver == "position" else ()
    return _GripperDriver(publish=(state, below), subscribe=commanded, serve=(below,))


def _gripper_rights(d: Deployment, openings: tuple[str, ...], driver: _GripperDriver) -> Rights:
    """Of the gripper node: it uses what the driver offers."""

    def own(name: str) -> str:
        return in_namespace(name, d.namespace)

    return Rights(
        f"{ENCLAVES}/gripper_node", "commands the gripper, as the safety node lets it",
        publish=(own("robolearn/gripper_width"), "/diagnostics", *driver.subscribe),
        subscribe=(*openings, *driver.publish),
        serve=_services(own("gripper_node"), _PARAMETERS),
        call=driver.serve,
    )  # fmt: skip


def _services(node: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{node}/{name}" for name in names)

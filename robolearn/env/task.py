"""The task contract: what a manipulation task declares, and how tasks are found by name.

A task is written for one environment; `VecEnv` vmaps it. Its methods are pure JAX functions of arrays.
`observe` and `act` are exported with the policy, so they may use only what a robot can measure (slots), its goal
and the policy's own memory. Rewards, success and the critic may also use privileged slots.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from types import ModuleType
from typing import Annotated, Any, ClassVar, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer

from robolearn.config import Config, build, merged
from robolearn.env.cartesian_action import ActionConfig, make_action
from robolearn.env.history import with_history
from robolearn.env.joint_action import Targets
from robolearn.env.naming import split_task
from robolearn.errors import ConfigError, TaskError, unknown
from robolearn.policy.slots import Slot
from robolearn.robots import Robot, is_packaged, is_robot_path, load_robot, robot_names
from robolearn.sim.physics import Room
from robolearn.sim.randomize import Randomization

Array = jax.Array
Readings = dict[str, Array]

ENTRY_POINTS = "robolearn.tasks"
HISTORY_MAX = 64  # control periods


def _periods(value: int) -> int:
    if value != 0 and not 2 <= value <= HISTORY_MAX:
        raise ValueError(
            f"a policy remembers 2 to {HISTORY_MAX} control periods, the present one included, or 0: none"
        )
    return value


class TaskConfig(Config):
    """Config keys of every task. A task adds its own keys and its reward weights."""

    episode_s: float
    control_hz: float = 50.0
    physics_hz: float = 200.0
    success_hold_s: float = 0.5
    history: Annotated[int, AfterValidator(_periods)] = Field(
        default=0,
        description="control periods of the arm that the policy remembers, the present one included. 0: none",
    )
    action: ActionConfig = ActionConfig()
    reward: dict[str, float] = {}
    randomization: Randomization = Randomization()

    @model_serializer(mode="wrap")
    def _without_no_history(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Runs and bundles without a history have the config that they had before there was any."""
        data = dump(self)
        return data if self.history else {key: value for key, value in data.items() if key != "history"}


class Reset(NamedTuple):
    """The start of one episode, at rest: arm [n] rad, the goal by slot name, the gripper opening in m, and other
    joints of the scene by name (1 number, or 7 for a free joint: position, quaternion w, x, y, z).
    """

    arm: Array
    goal: Readings
    width: float | Array = 0.0
    joints: Readings = {}


T = TypeVar("T", bound=TaskConfig)


class Task(ABC, Generic[T]):
    """One manipulation task on one robot."""

    name: ClassVar[str]
    summary: ClassVar[str]
    success_text: ClassVar[str]
    config_type: ClassVar[type[TaskConfig]]

    def __init__(self, robot: Robot, config: T):
        self.robot = robot
        self.config = config
        self.substeps = _whole(config.physics_hz / config.control_hz, "physics_hz / control_hz")
        self.episode_steps = _whole(config.episode_s * config.control_hz, "episode_s * control_hz")
        self.hold_steps = _whole(config.success_hold_s * config.control_hz, "success_hold_s * control_hz")
        self.action = make_action(
            robot, config.action, 1.0 / config.control_hz, gripper=self.uses_gripper, rest_rad=self.rest_rad
        )

    # What the task declares.

    uses_gripper: ClassVar[bool] = False
    objects: ClassVar[tuple[str, ...]] = ()  # bodies that randomisation may resize
    rooms: ClassVar[Mapping[str, Room]] = {}  # by robot, for `warp`; `benchmarks/room.py` measures them

    @property
    def rest_rad(self) -> NDArray[np.float64]:
        """Rest posture [n] rad of the task."""
        return self.robot.home_rad

    @property
    @abstractmethod
    def slots(self) -> tuple[Slot, ...]:
        """What the policy measures, in order."""

    @property
    def goal_slots(self) -> tuple[Slot, ...]:
        """Slots of the goal."""
        return ()

    @property
    def memory_slots(self) -> tuple[Slot, ...]:
        """Slots that the policy keeps between control periods."""
        return self.action.memory_slots

    @abstractmethod
    def scene(self) -> mujoco.MjSpec:
        """The robot and its surroundings, with every sensor that `sensors` names."""

    @abstractmethod
    def sensors(self) -> dict[str, tuple[str, ...]]:
        """MuJoCo sensors that make up each slot, privileged ones included: {slot name: sensor names}."""

    @abstractmethod
    def reset(self, key: Array) -> Reset:
        """Draw the start of an episode."""

    @abstractmethod
    def observe(self, readings: Readings, memory: Any, goal: Readings) -> Array:
        """Observation of the actor, [D]. Exported with the policy."""

    def remember(self, readings: Readings, memory: Any) -> Any:
        """The memory with what is measured now, as `observe` and `act` are given it. Exported with the policy.

        Twice is as once. A task without a history keeps its memory as it is.
        """
        del readings
        return memory

    @abstractmethod
    def reward_terms(self, readings: Readings, memory: Any, goal: Readings, action: Array) -> Readings:
        """Every reward term by name, unweighted scalars; `config.reward` holds the weights."""

    @abstractmethod
    def achieved(self, readings: Readings, goal: Readings) -> Array:
        """Whether the goal is met now, scalar bool. Success is holding it to the episode's end."""

    # What most tasks need not change.

    def draw(self, key: Array, *names: str) -> Array:
        """[k], one number for each name, uniform in its range of `randomization.pose`."""
        ranges = jnp.asarray([self.config.randomization.pose[name] for name in names])
        return jax.random.uniform(key, (len(names),), minval=ranges[:, 0], maxval=ranges[:, 1])

    def critic_observe(self, readings: Readings, memory: Any, goal: Readings) -> Array:
        """Observation of the critic, [DC]: the actor's, and every privileged slot."""
        measured = {slot.name for slot in self.slots}
        extra = [readings[name].ravel() for name in sorted(readings) if name not in measured]
        return jnp.concatenate([self.observe(readings, memory, goal), *extra])

    def failed(self, readings: Readings, goal: Readings) -> Array:
        """Whether the episode has failed, scalar bool; it then terminates."""
        del readings, goal
        return jnp.zeros((), bool)

    def figures(self, readings: Readings, goal: Readings) -> Readings:
        """Scalars by name, unit in the name, of which an evaluation reports each episode's largest."""
        del readings, goal
        return {}

    def expert(self, readings: Readings, memory: Any, goal: Readings) -> Array | None:
        """A hand-written policy to imitate, action [A] in [-1, 1]; None if there is none.

        It depends only on its arguments, so that a network with the input `observe` can imitate it, and acts
        sensibly in any state. It may read privileged slots. It is not exported.
        """
        del readings, memory, goal
        return None

    def estimate(self, measured: Readings) -> Readings:
        """Measured slots, and the privileged ones that a robot can work out of them.

        An expert that reads these can be played on an arm; how well it does there is what a policy is compared with.
        """
        return measured

    def act(self, action: Array, memory: Any) -> tuple[Targets, Any]:
        """Targets of the next control period from an action [A] in [-1, 1]. Exported with the policy."""
        return self.action(action, memory)

    @property
    def action_size(self) -> int:
        """Length of the action vector."""
        return self.action.size

    @property
    def room(self) -> Room:
        """What `warp` keeps for one simulation: as measured with this robot, or plenty."""
        return self.rooms.get(self.robot.name, Room())

    @property
    def full_name(self) -> str:
        """`robot/task`."""
        return f"{self.robot.name}/{self.name}"


def _whole(value: float, what: str) -> int:
    whole = round(value)
    if whole < 1 or abs(value - whole) > 1e-9 * max(1.0, abs(value)):
        raise TaskError(
            f"{what} is {value:g}, but must be a whole number of at least 1: choose rates that divide evenly."
        )
    return whole


_REGISTERED: dict[str, type[Task[Any]]] = {}
TaskType = TypeVar("TaskType", bound=type[Task[Any]])


def register_task(kind: TaskType) -> TaskType:
    """Register a task class by name in this process, for example in a notebook; usable as a decorator.

    A package declares an entry point instead. Raises TaskError for the name of an installed task.
    """
    if kind.name in task_classes() and kind.name not in _REGISTERED:
        raise TaskError(f"Task '{kind.name}' is already installed. Choose another name.")
    _REGISTERED[kind.name] = kind
    return kind


def task_classes() -> dict[str, type[Task[Any]]]:
    """Every task class by name: installed ones, from the entry point group `robolearn.tasks`, and registered ones.

    An entry point names a class, or a package: of that every module is looked at, so that a new file is found without
    installing again. Raises TaskError where two installed tasks have one name.
    """
    found: dict[str, type[Task[Any]]] = {}
    for point in entry_points(group=ENTRY_POINTS):
        loaded = point.load()
        for kind in _tasks_of(loaded) if isinstance(loaded, ModuleType) else [loaded]:
            other = found.setdefault(kind.name, kind)
            if other is not kind:
                raise TaskError(
                    f"Two tasks are called '{kind.name}': {other.__module__} and {kind.__module__}. Rename one."
                )
    return found | _REGISTERED


def _tasks_of(package: ModuleType) -> Iterator[type[Task[Any]]]:
    """The task classes that the modules of a package define."""
    for info in iter_modules(package.__path__, f"{package.__name__}."):
        for kind in vars(import_module(info.name)).values():
            own = isinstance(kind, type) and kind.__module__ == info.name
            if own and issubclass(kind, Task) and "name" in vars(kind):
                yield kind


def task_names() -> list[str]:
    """Every `robot/task` that can be made of what is installed; a robot file of one's own adds its own."""
    return [f"{robot}/{task}" for robot in robot_names() for task in sorted(task_classes())]


def _unknown_task(name: str, robot: str, own: bool, tasks: list[str]) -> str:
    """The message for a task name that does not exist: the form of a name, its two parts, and the nearest name."""
    known = [f"{robot}/{task}" for task in tasks] if own else task_names()
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5) if "/" in name or name in tasks else []
    hint = f" Did you mean '{near[0]}'?" if near else ""
    robots = "" if own else f" Robots: {', '.join(robot_names())}, or the path of a robot file."
    return f"Unknown task '{name}'.{hint} A task is ROBOT/TASK.{robots} Tasks: {', '.join(tasks)}."


def has_expert(task: Task[Any]) -> bool:
    """Whether somebody wrote an expert for this task."""
    return type(task).expert is not Task.expert


def load_task(name: str, config: dict[str, Any] | None = None) -> Task[Any]:
    """The task `robot/task`, its defaults changed by config, group by group.

    robot: a packaged one, also with another gripper, or the path of a robot file: `fr3/reach`,
    `fr3+franka_hand/pick_cube`, `arms/my_arm.yaml/reach`.
    Raises TaskError, ConfigError or RobotError.
    """
    robot_name, task_name = split_task(name)
    classes, own = task_classes(), is_robot_path(robot_name)
    if task_name not in classes or not (own or is_packaged(robot_name)):
        raise TaskError(_unknown_task(name, robot_name, own, sorted(classes)))
    kind = classes[task_name]
    defaults = kind.config_type.model_construct().model_dump()
    resolved = build(kind.config_type, merged(defaults, config or {}), f"task {name}")
    for term in resolved.reward:
        if defaults["reward"] and term not in defaults["reward"]:
            raise ConfigError(f"task {name}: " + unknown("reward term", term, defaults["reward"]))
    poses = defaults["randomization"]["pose"]
    for pose in resolved.randomization.pose:
        if pose not in poses:
            raise ConfigError(f"task {name}: " + unknown("pose", pose, poses))
    for pose in poses:
        if pose not in resolved.randomization.pose:
            raise ConfigError(
                f"task {name}: randomization.pose.{pose} is missing: give both ends of its range."
            )
    task = kind(load_robot(robot_name), resolved)
    return with_history(task, resolved.history) if resolved.history else task

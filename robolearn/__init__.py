"""The front door: `import robolearn as rl`.

env = rl.make("fr3/reach", num_envs=1024)
run = rl.train("fr3/reach", total_steps=1_000_000)
run.plot(), run.evaluate(), run.video()
bundle = run.export()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from robolearn.deploy.serving import Serving
    from robolearn.env.task import Reset, Task, TaskConfig, load_task, register_task, task_names
    from robolearn.env.vec_env import VecEnv, make
    from robolearn.errors import RobolearnError
    from robolearn.policy.bundle import PolicyBundle
    from robolearn.policy.runtime import PolicyRuntime
    from robolearn.policy.slots import Slot
    from robolearn.recorder.safety_log import SafetyLog
    from robolearn.review.review import review_log
    from robolearn.robots import Robot, load_robot, robot_names
    from robolearn.safety.monitor import SafetyMonitor
    from robolearn.safety.profile import SafetyProfile
    from robolearn.safety.types import Command, Measured, Surroundings
    from robolearn.show.results import Run, open_run
    from robolearn.show.train import train

# Names are imported on first use, so that the robot's computer, which has no jax, can import robolearn.
_HOMES = {
    "Command": "robolearn.safety.types",
    "Measured": "robolearn.safety.types",
    "PolicyBundle": "robolearn.policy.bundle",
    "PolicyRuntime": "robolearn.policy.runtime",
    "Reset": "robolearn.env.task",
    "RobolearnError": "robolearn.errors",
    "Robot": "robolearn.robots",
    "Run": "robolearn.show.results",
    "SafetyLog": "robolearn.recorder.safety_log",
    "SafetyMonitor": "robolearn.safety.monitor",
    "SafetyProfile": "robolearn.safety.profile",
    "Serving": "robolearn.deploy.serving",
    "Slot": "robolearn.policy.slots",
    "Surroundings": "robolearn.safety.types",
    "Task": "robolearn.env.task",
    "TaskConfig": "robolearn.env.task",
    "VecEnv": "robolearn.env.vec_env",
    "load_robot": "robolearn.robots",
    "load_task": "robolearn.env.task",
    "make": "robolearn.env.vec_env",
    "open_run": "robolearn.show.results",
    "register_task": "robolearn.env.task",
    "review_log": "robolearn.review.review",
    "robot_names": "robolearn.robots",
    "task_names": "robolearn.env.task",
    "train": "robolearn.show.train",
}

__all__ = [
    "Command",
    "Measured",
    "PolicyBundle",
    "PolicyRuntime",
    "Reset",
    "RobolearnError",
    "Robot",
    "Run",
    "SafetyLog",
    "SafetyMonitor",
    "SafetyProfile",
    "Serving",
    "Slot",
    "Surroundings",
    "Task",
    "TaskConfig",
    "VecEnv",
    "__version__",
    "load_robot",
    "load_task",
    "make",
    "open_run",
    "register_task",
    "review_log",
    "robot_names",
    "task_names",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'robolearn' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

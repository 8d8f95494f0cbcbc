"""What can go wrong, as one tree; each message says what was wrong, what was expected and what to do.

RobolearnError
├── ConfigError          a config file or a `key=value` override
├── RobotError           a robot file, or a name that no robot has
├── TaskError            a task name, or a task that breaks its contract
├── PhysicsError         an engine that is missing, or cannot do what a model asks
├── CheckpointError      a checkpoint that cannot be read or written
├── BundleError          a policy bundle that is altered, unsigned or meant for another arm
├── ProfileError         a safety profile that is missing a limit or contradicts itself
├── LogError             a safety log that cannot be written or read
├── DataError            a recording that cannot be read, or from which nothing can be identified
├── CalibrationError     a calibration that is altered, or made for another robot file
└── MissingDependency    something that is not installed, and the command that installs it
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RobolearnError(Exception):
    """Base of every error that robolearn raises on purpose; the command line prints it and exits with 2."""


class ConfigError(RobolearnError):
    """A config file or an override is wrong."""


class RobotError(RobolearnError):
    """A robot is unknown, or its file is incomplete or contradictory."""


class TaskError(RobolearnError):
    """A task is unknown or breaks the task contract."""


class PhysicsError(RobolearnError):
    """A physics engine is missing, or is asked for something it cannot do."""


class CheckpointError(RobolearnError):
    """A checkpoint cannot be written, or none can be read."""


class BundleError(RobolearnError):
    """A policy bundle is altered, unsigned, unapproved or does not fit the arm."""


class ProfileError(RobolearnError):
    """A safety profile misses a limit or contradicts itself or the robot file."""


class LogError(RobolearnError):
    """A safety log cannot be written or read."""


class DataError(RobolearnError):
    """A recording cannot be read, or holds too little to identify anything."""


class CalibrationError(RobolearnError):
    """A calibration cannot be read, or was made for another robot file."""


class MissingDependency(RobolearnError):
    """Something optional is not installed. The message holds the command that installs it."""


def unknown(kind: str, name: str, available: Iterable[str]) -> str:
    """The message for a name that does not exist: what was given, what there is, and the nearest of them."""
    names = sorted(available)
    message = f"Unknown {kind} '{name}'. Available: {', '.join(names) or 'none'}."
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"{message} Did you mean '{near[0]}'?" if near else message

"""Controllers that arms ship with: what they make of a command stream, and which arms they are refused for.

A forward command controller hands on the newest message in each cycle of its controller manager. Sender and
manager have two clocks, so that it repeats and drops samples wherever their rates differ, and now and then where
they are the same. A joint trajectory controller interpolates between the points of its newest message, at the
manager's time. Fed one point at a time it begins each time anew; fed with points that overlap those of the message
before, all with absolute stamps, it plays one continuous path (`HorizonTrajectory`), whose end is a braking motion:
if the messages end, the arm brakes.

Both are emulated here, after the source of ros2_controllers (jazzy: forward_controllers_base.cpp, trajectory.cpp and
JointTrajectoryController::update, which commands the sample one period ahead).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robolearn.errors import ConfigError
from robolearn.robots import Robot
from robolearn.safety.braking import plan_braking
from robolearn.safety.profile import SafetyProfile

Vector = NDArray[np.float64]

FORWARD = (
    "forward_command_controller/ForwardCommandController",
    "forward_command_controller/MultiInterfaceForwardCommandController",
    "position_controllers/JointGroupPositionController",
)
TRAJECTORY = (
    "joint_trajectory_controller/JointTrajectoryController",
    "ur_controllers/ScaledJointTrajectoryController",
)


@dataclass(frozen=True)
class Timing:
    """How sender and manager wake up, in seconds; as measured with real-time priority on two shared cores."""

    wake_s: float = 5e-6  # half-normal scale of a loop's wake-up behind its grid
    late_share: float = 0.01  # of the cycles that are later than that
    late_s: float = 1e-4  # half-normal scale of those
    latency_s: float = 2e-4  # of a message
    latency_spread_s: float = 3e-5
    drift: float = 2e-4  # of one clock against the other: both phases pass by within seconds


@dataclass(frozen=True)
class Smoothness:
    """Acceleration of the commands that the hardware gets in each cycle of the manager, largest joint, rad/s2."""

    p50: float
    p90: float
    p99: float
    largest: float

    def __str__(self) -> str:
        return (
            f"p50 {self.p50:.3g}, p90 {self.p90:.3g}, p99 {self.p99:.3g}, at most {self.largest:.3g} rad/s2"
        )


@dataclass(frozen=True)
class Points:
    """One JointTrajectory message: header stamp, then times after it [k], positions and velocities [k, n]."""

    stamp_s: float
    times_s: Vector
    positions_rad: Vector
    velocities_rad_s: Vector


class HorizonTrajectory:
    """Makes overlapping trajectories of a command stream: its newest samples, then the braking motion after them.

    The path is played `delay_s` after the samples' stamps, so that the next message is there before the braking
    motion of this one begins.
    """

    def __init__(
        self,
        acceleration_max_rad_s2: Vector,
        jerk_max_rad_s3: Vector,
        period_s: float,
        delay_s: float,
        overlap_s: float = 0.02,
    ):
        """period_s: of the stream.  overlap_s: how far back a message reaches behind what is played."""
        if delay_s < period_s or overlap_s < period_s:
            raise ConfigError("delay_s and overlap_s must be at least one period of the stream.")
        self.period_s, self.delay_s = period_s, delay_s
        self._limits = acceleration_max_rad_s2, jerk_max_rad_s3
        self._samples: deque[tuple[float, Vector]] = deque(maxlen=3 + round((delay_s + overlap_s) / period_s))

    def push(self, stamp_s: float, position_rad: Vector) -> None:
        """One more sample of the stream, as sent."""
        self._samples.append((stamp_s, np.array(position_rad, float)))

    def points(self) -> Points | None:
        """The message to send now; None while there are not samples enough."""
        if len(self._samples) < 4:
            return None
        stamps = np.array([stamp for stamp, _ in self._samples])
        path = np.array([position for _, position in self._samples])
        steps = np.diff(path, axis=0) / np.diff(stamps)[:, None]
        velocity = (steps[1:] + steps[:-1]) / 2  # central: one end less on either side
        acceleration = (steps[-1] - steps[-2]) / self.period_s
        tail = plan_braking(path[-1], steps[-1], acceleration, *self._limits, self.period_s)
        tail_path, tail_steps = tail.trajectory
        # The sample in between: its velocity is the mean of the steps before and after it, as of the others.
        after = tail_steps[:1] if len(tail_steps) else np.zeros((1, path.shape[1]))
        velocity = np.vstack([velocity, (steps[-1:] + after) / 2])
        times, path = stamps[1:] - stamps[1], path[1:]
        if len(tail_path):
            ahead = np.vstack([tail_steps[1:], np.zeros((1, path.shape[1]))])
            tail_velocity = (tail_steps + ahead) / 2
            tail_velocity[-1] = 0.0  # the end must rest
            path, velocity = np.vstack([path, tail_path]), np.vstack([velocity, tail_velocity])
            times = np.append(times, times[-1] + self.period_s * np.arange(1, len(tail_path) + 1))
        else:
            velocity[-1] = 0.0
        return Points(float(stamps[1]) + self.delay_s, times, path, velocity)


class TrajectoryPlayer:
    """A joint trajectory controller: a message replaces the one before, from what is desired at that moment."""

    def __init__(self, period_s: float, start_rad: Vector):
        """period_s: of its updates.  start_rad: [n], desired until a first message."""
        self._period_s = period_s
        self._position = np.array(start_rad, float)  # desired now
        self._velocity = np.zeros_like(self._position)
        self._active: Points | None = None
        self._before = 0.0, self._position, self._velocity

    def push(self, points: Points, now_s: float) -> None:
        """A message that came before the update at now_s."""
        self._active, self._before = points, (now_s, self._position, self._velocity)

    def step(self, now_s: float) -> Vector:
        """What is commanded at now_s, [n]: the sample one period ahead."""
        if self._active is None:
            return self._position
        self._position, self._velocity = _sample(self._active, self._before, now_s)
        return _sample(self._active, self._before, now_s + self._period_s)[0]


def play_forward(arrival_s: Vector, position_rad: Vector, ticks_s: Vector) -> Vector:
    """What a forward command controller commands at each tick: the newest message. [ticks, n]."""
    newest = np.searchsorted(arrival_s, ticks_s, side="right") - 1
    return position_rad[np.maximum(newest, 0)]


def play_trajectories(
    messages: Sequence[tuple[float, Points]], ticks_s: Vector, period_s: float, start_rad: Vector
) -> Vector:
    """What a joint trajectory controller commands at each tick, [ticks, n].

    messages: (arrival, points), ascending. A message replaces the one before at the first tick after its arrival;
    before its first point the path comes from what is desired then, after its last point that one is held.
    """
    player, k = TrajectoryPlayer(period_s, start_rad), 0
    out = np.empty((len(ticks_s), len(np.asarray(start_rad))))
    for i, now in enumerate(ticks_s.tolist()):
        while k < len(messages) and messages[k][0] <= now:
            player.push(messages[k][1], now)
            k += 1
        out[i] = player.step(now)
    return out


def smoothness(commanded_rad: Vector, period_s: float) -> Smoothness:
    """Of commands [ticks, n] on the hardware's grid; ticks at rest do not count."""
    acceleration = np.abs(np.diff(commanded_rad, 2, axis=0)).max(axis=1) / period_s**2
    moved = acceleration[np.abs(np.diff(commanded_rad, axis=0))[1:].max(axis=1) > 1e-9]
    if not len(moved):
        return Smoothness(0.0, 0.0, 0.0, 0.0)
    p50, p90, p99 = np.percentile(moved, [50, 90, 99])
    return Smoothness(float(p50), float(p90), float(p99), float(moved.max()))


def measure(
    controller_type: str,
    profile: SafetyProfile,
    home_rad: Vector,
    command_rate_hz: float,
    manager_rate_hz: float,
    timing: Timing | None = None,
    duration_s: float = 12.0,
    seed: int = 0,
) -> Smoothness:
    """What a shipped controller makes of a smooth motion at a fifth of the joint speeds; trajectories with a horizon.

    Raises ConfigError for a type of controller that is not emulated.
    """
    timing, random = timing or Timing(), np.random.default_rng(seed)
    period, manager_period = 1.0 / command_rate_hz, 1.0 / manager_rate_hz
    grid = np.arange(0.0, duration_s, period)
    limits = next(iter(profile.modes.values()))
    path = _reference(grid, np.asarray(home_rad, float), limits.velocity_max_rad_s.array)
    sent = grid + _wakes(len(grid), timing, random)
    latency = timing.latency_s + np.abs(random.normal(size=len(grid))) * timing.latency_spread_s
    arrival = np.maximum.accumulate(sent + latency)
    ticks = np.arange(0.0, duration_s - 0.1, manager_period * (1.0 + timing.drift))
    woken = ticks + _wakes(len(ticks), timing, random)
    if controller_type in FORWARD:
        return smoothness(play_forward(arrival, path, woken), manager_period)
    if controller_type not in TRAJECTORY:
        raise ConfigError(
            f"No emulation of the controller type '{controller_type}'. Known: {', '.join(FORWARD + TRAJECTORY)}."
        )
    every = max(1, round(command_rate_hz / 50.0))  # messages at 50 Hz: each holds some hundred points
    horizon = HorizonTrajectory(
        limits.acceleration_max_rad_s2.array, limits.jerk_max_rad_s3.array, period, 0.04, max(0.02, period)
    )
    messages = []
    for i, stamp in enumerate(grid):
        horizon.push(float(stamp), path[i])
        points = horizon.points() if i % every == 0 else None
        if points is not None:
            messages.append((float(arrival[i]), points))
    return smoothness(play_trajectories(messages, woken, manager_period, path[0]), manager_period)


def shipped_controller_problem(
    robot: Robot,
    profile: SafetyProfile,
    controller_type: str,
    command_rate_hz: float,
    manager_rate_hz: float,
) -> str:
    """Why an arm must not be driven through this controller, with the figures; empty where it may be.

    A forward controller takes commands at the manager's own rate only. Where the manufacturer publishes acceleration
    limits, the 99th percentile of what the hardware would see must be within them.
    """
    if controller_type in FORWARD and abs(command_rate_hz - manager_rate_hz) > 1e-6 * manager_rate_hz:
        found = measure(controller_type, profile, robot.home_rad, command_rate_hz, manager_rate_hz)
        return (
            f"{controller_type} gets {command_rate_hz:g} Hz, its controller manager runs at {manager_rate_hz:g} Hz: "
            f"it repeats or drops samples (emulated: {found}). Set rate_hz to {manager_rate_hz:g}, or use "
            "robolearn_controller."
        )
    found = measure(controller_type, profile, robot.home_rad, command_rate_hz, manager_rate_hz)
    manufacturers = robot.limits.acceleration_rad_s2
    if manufacturers is not None and found.p99 > float(np.min(manufacturers)):
        return (
            f"{controller_type} breaks the acceleration limit of {robot.name}, {float(np.min(manufacturers)):g} rad/s2 "
            f"(emulated: {found}). Use robolearn_controller."
        )
    return ""


def _reference(t: Vector, home_rad: Vector, velocity_max_rad_s: Vector) -> Vector:
    """From rest to a sine about home with a fifth of the joint speeds, [k, n]; accelerations below 3 rad/s2."""
    rate = 2.0 + 0.1 * np.arange(len(home_rad))
    u = np.clip(t / 2.0, 0.0, 1.0)[:, None]
    size = np.minimum(0.2 * velocity_max_rad_s, 1.2) / rate
    return home_rad + u**3 * (10 - 15 * u + 6 * u**2) * size * np.sin(rate * t[:, None])


def _wakes(count: int, timing: Timing, random: np.random.Generator) -> Vector:
    late = np.where(random.random(count) < timing.late_share, timing.late_s, timing.wake_s)
    return np.abs(random.normal(size=count)) * late


def _sample(p: Points, before: tuple[float, Vector, Vector], t: float) -> tuple[Vector, Vector]:
    """Position and velocity [n] at time t: cubic between points."""
    times = p.stamp_s + p.times_s
    k = int(np.searchsorted(times, t, side="right")) - 1
    if k == len(times) - 1:
        return p.positions_rad[-1], p.velocities_rad_s[-1]
    t1, p1, v1 = times[k + 1], p.positions_rad[k + 1], p.velocities_rad_s[k + 1]
    t0, p0, v0 = before if k < 0 else (times[k], p.positions_rad[k], p.velocities_rad_s[k])
    span = t1 - t0
    if span <= 0.0:
        return p1, v1
    u, travel = (t - t0) / span, p1 - p0
    c2 = 3 * travel - (2 * v0 + v1) * span
    c3 = (v0 + v1) * span - 2 * travel
    return p0 + (v0 * span + (c2 + c3 * u) * u) * u, (v0 * span + (2 * c2 + 3 * c3 * u) * u) / span

"""A motion from which an arm's drives can be identified, and that its safety profile lets through unchanged.

Each joint moves along a finite Fourier series of its own harmonics around the home position, at rest at both ends.
Phases and the spectrum's tilt are searched for the smallest of the largest relative standard deviation that lag,
inertia, friction and delay would have, by the Fisher information of one servo. The arm's motion is then made smaller
until the safety monitor itself, with every limit tightened by the margin, lets every sample through as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robolearn.data.motion_file import PlannedMotion
from robolearn.errors import DataError
from robolearn.robots import Robot
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.profile import ModeLimits, SafetyProfile
from robolearn.safety.types import Command, Measured, Surroundings, Verdict
from robolearn.sysid.parameters import Model

Array = NDArray[np.float64]
Progress = Callable[[str, int, int], None]

PERIOD_S = 10.0  # of the Fourier series
RAMP_S = 1.5  # from rest, and to rest
HIGHEST_HZ = 8.0
HARMONICS = 14  # of each joint
CANDIDATES = 60
AMPLITUDE_RAD = 0.45  # of a joint, at most
NOISE = (2e-4, 1e-2)  # rad, rad/s: of the sensors that the motion is designed for
# Kept to the workspace and between links beyond the profile's own, m: the first that the home position keeps.
DISTANCES_M = (0.03, 0.02, 0.01, 0.005)
DELAY_KNOWN = 0.01  # relative: the other joints tell the delay too
COARSE_S = 0.02  # period of the first looks
PLACES, SHIFT_RAD, SHIFT_S = (
    12,
    0.4,
    2.5,
)  # middles of the motion that are tried, how far from home, and the way there
ENOUGH, SCALE_MIN = 0.7, 0.1  # of the first design: large enough to look no further, and too small
_SHRINK = 0.85


@dataclass(frozen=True)
class Excitation:
    """A motion and what it was checked with. margin: share of every limit that it leaves; scale: of the first design.

    worst_deviation: [n], the largest relative standard deviation among lag, inertia, friction, delay of each joint.
    """

    motion: PlannedMotion
    margin: float
    scale: float
    worst_deviation: Array
    checked_cycles: int


def excite(
    robot: Robot,
    profile: SafetyProfile,
    *,
    duration_s: float = 30.0,
    rate_hz: float = 500.0,
    margin: float = 0.2,
    mode: str = "automatic",
    seed: int = 0,
    progress: Progress | None = None,
) -> Excitation:
    """Compute the motion for an arm under a profile. Raises DataError where the limits leave no motion of use."""
    if not 0.05 <= margin <= 0.8:
        raise DataError(
            f"margin (--margin) is {margin:g}, expected 0.05 to 0.8: the margin to every limit, as a fraction of it."
        )
    if not 8.0 <= duration_s <= 600.0:
        raise DataError(f"duration_s (--duration) is {duration_s:g}, expected 8 to 600 s.")
    if not 10.0 <= rate_hz <= 10_000.0:
        raise DataError(f"rate_hz (--rate) is {rate_hz:g}, expected 10 to 10,000 Hz.")
    profile.check_against(robot)
    tight, distance, refused = _tightest(robot, profile, mode, margin, rate_hz)
    limits = tight.mode(mode)
    count = round(duration_s * rate_hz) + 1
    time = np.arange(count) / rate_hz
    window = _window(time, duration_s)
    random = np.random.default_rng(seed)
    inertia = Model(robot, 1.0 / rate_hz, effort=False).layout.reference_inertia
    shape, worst = np.zeros((count, robot.dof)), np.zeros(robot.dof)
    for j in range(robot.dof):
        shape[:, j], worst[j] = _joint(robot, limits, j, float(inertia[j]), time, window, random)
    shift, scale = _place(robot, tight, mode, time, shape, random, progress)
    middle = robot.home_rad + _window(time, duration_s, SHIFT_S)[:, None] * shift
    for _ in range(20):
        position = middle + scale * shape
        velocity = _derivative(position, rate_hz)
        refused = replayed(robot, tight, mode, time, position, velocity)
        if refused is None:
            break
        scale *= _SHRINK
    if refused is not None or scale < SCALE_MIN:
        raise DataError(
            f"No useful motion around the home position of '{robot.name}' is "
            f"possible within profile '{profile.name}' with a "
            f"margin of {margin:g}: {refused or 'it would be too small.'} Choose a smaller margin, or a home position "
            "farther from the limits."
        )
    problem = replayed(robot, profile, mode, time, position, velocity)
    if problem is not None:
        raise DataError(f"The safety monitor refuses the motion: {problem}.")
    about = {
        "robot": robot.name,
        "robot_digest": robot.digest,
        "profile": profile.name,
        "profile_digest": profile.digest,
        "mode": mode,
        "margin": f"{margin:g}",
        "distance_margin_m": f"{distance:g}",
        "seed": str(seed),
        "rate_hz": f"{rate_hz:g}",
    }
    motion = PlannedMotion(robot.joint_names, time, position, velocity, about)
    return Excitation(motion, margin, scale, worst, count)


def _place(
    robot: Robot,
    tight: SafetyProfile,
    mode: str,
    time: Array,
    shape: Array,
    random: np.random.Generator,
    progress: Progress | None,
) -> tuple[Array, float]:
    """Around where [n], from home, the motion can be largest, and how large; looked for at a coarse rate.

    Links may be close to each other at home: a little aside there can be more room.
    """
    every = max(1, round(COARSE_S / (time[1] - time[0])))
    coarse, small = time[::every], shape[::every]
    best = np.zeros(robot.dof), 0.0
    for k in range(PLACES):
        if progress is not None:
            progress("places", k, PLACES)
        shift = random.uniform(-SHIFT_RAD, SHIFT_RAD, robot.dof) if k else np.zeros(robot.dof)
        middle = robot.home_rad + _window(coarse, time[-1], SHIFT_S)[:, None] * shift
        scale = 1.0
        while scale > best[1]:
            position = middle + scale * small
            velocity = _derivative(position, 1.0 / (coarse[1] - coarse[0]))
            if replayed(robot, tight, mode, coarse, position, velocity) is None:
                best = shift, scale
                break
            scale *= _SHRINK**2
        if best[1] > ENOUGH:
            break
    return best


def _tightest(
    robot: Robot, profile: SafetyProfile, mode: str, margin: float, rate_hz: float
) -> tuple[SafetyProfile, float, str | None]:
    """The tightened profile with the largest distance that the home position keeps, and that distance."""
    home, time = np.tile(robot.home_rad, (3, 1)), np.arange(3) / rate_hz
    refused: str | None = ""
    for distance in DISTANCES_M:
        tight = tightened(profile, mode, margin, distance)
        refused = replayed(robot, tight, mode, time, home, 0.0 * home)
        if refused is None:
            return tight, distance, None
    raise DataError(
        f"The home position of '{robot.name}' violates profile '{profile.name}' with a margin of {margin:g} and "
        f"{DISTANCES_M[-1] * 1e3:g} mm: {refused} Choose a smaller margin, or another home position."
    )


def tightened(profile: SafetyProfile, mode: str, margin: float, distance_m: float) -> SafetyProfile:
    """The profile with every limit of motion closer by a share of itself, and distances by distance_m."""
    limits = profile.mode(mode)
    low, high = limits.position_min_rad.array, limits.position_max_rad.array
    room = 0.25 * margin * (high - low)
    changes: dict[str, object] = {
        "position_min_rad": _with(limits.position_min_rad, tuple(low + room)),
        "position_max_rad": _with(limits.position_max_rad, tuple(high - room)),
        "self_distance_min_m": _with(
            limits.self_distance_min_m, limits.self_distance_min_m.value + distance_m
        ),
    }
    for name in ("velocity_max_rad_s", "acceleration_max_rad_s2", "jerk_max_rad_s3", "torque_max_nm"):
        if hasattr(getattr(limits, name), "value"):
            changes[name] = _with(getattr(limits, name), tuple(getattr(limits, name).array * (1 - margin)))
    for name in ("tcp_speed_max_m_s", "elbow_speed_max_m_s", "link_speed_max_m_s"):
        changes[name] = _with(getattr(limits, name), getattr(limits, name).value * (1 - margin))
    space = limits.workspace
    inner = space.stay_in.model_copy(
        update={
            "min_m": tuple(
                x + distance_m if x != 0.0 else x for x in space.stay_in.min_m
            ),  # the floor it stands on
            "max_m": tuple(x - distance_m for x in space.stay_in.max_m),
        }
    )
    planes = tuple(p.model_copy(update={"offset_m": p.offset_m + distance_m}) for p in space.planes)
    boxes = tuple(
        b.model_copy(
            update={
                "min_m": tuple(x - distance_m for x in b.min_m),
                "max_m": tuple(x + distance_m for x in b.max_m),
            }
        )
        for b in space.keep_out
    )
    changes["workspace"] = space.model_copy(update={"stay_in": inner, "planes": planes, "keep_out": boxes})
    modes = {**profile.modes, mode: limits.model_copy(update=changes)}
    return profile.model_copy(update={"modes": modes})


def replayed(
    robot: Robot,
    profile: SafetyProfile,
    mode: str,
    time: Array,
    position: Array,
    velocity: Array,
    rest_s: float = 0.1,
) -> str | None:
    """Play a motion through the monitor, on an arm that follows perfectly: None, or why a sample did not pass."""
    period = float(time[1] - time[0])
    monitor = SafetyMonitor(robot, profile, mode, period)
    names, far, now = robot.joint_names, 20.0, 100.0
    at, speed = position[0], np.zeros(robot.dof)
    for _ in range(
        round(monitor.limits.mode.rest_readings_min.value) + 1
    ):  # until the arm's position is known
        now += period
        monitor.check((), Measured(names, at, speed, now), Surroundings(far, now, False, True, now), now)
    answer = monitor.start(now, Measured(names, at, speed, now), "robolearn sysid excite")
    if not answer.accepted:
        return answer.text
    resting = max(1, round(rest_s / period))
    for k in range(-resting, len(time)):
        now += period
        target, slope = position[max(k, 0)], velocity[k] if k >= 0 else np.zeros(robot.dof)
        around = Surroundings(far, now, False, True, now)
        decision = monitor.check(
            [Command(names, target, now, slope)], Measured(names, at, speed, now), around, now
        )
        if decision.verdict is not Verdict.PASS:
            first = decision.records[0]
            return f"{decision.verdict} by {first.rule} {first.where} at {max(k, 0) * period:.2f} s: {first.text}"
        speed, at = (decision.command_rad - at) / period, decision.command_rad
    return None


def _with(number: object, value: object):
    return number.model_copy(update={"value": value})  # type: ignore[attr-defined]


def _window(time: Array, duration_s: float, ramp_s: float = RAMP_S) -> Array:
    """0 at rest at both ends, 1 between, with three continuous derivatives."""
    s = np.clip(np.minimum(time, duration_s - time) / ramp_s, 0.0, 1.0)
    return s**4 * (35 - 84 * s + 70 * s**2 - 20 * s**3)


def _derivative(values: Array, rate_hz: float) -> Array:
    """Backward differences, as a controller sees them: at rest before the first sample."""
    return np.diff(values, axis=0, prepend=values[:1]) * rate_hz


def _joint(
    robot: Robot,
    limits: ModeLimits,
    j: int,
    link_inertia: float,
    time: Array,
    window: Array,
    random: np.random.Generator,
) -> tuple[Array, float]:
    """The best of some random series of one joint, [N] rad, and its worst relative standard deviation."""
    rate = 1.0 / (time[1] - time[0])
    home = robot.home_rad[j]
    room = min(home - limits.position_min_rad.array[j], limits.position_max_rad.array[j] - home)
    bounds = (
        min(AMPLITUDE_RAD, 0.9 * room),
        0.6 * limits.velocity_max_rad_s.array[j],
        limits.acceleration_max_rad_s2.array[j],
        limits.jerk_max_rad_s3.array[j],
    )
    best: tuple[float, Array] | None = None
    orders = np.unique(np.round(np.geomspace(1, HIGHEST_HZ * PERIOD_S, HARMONICS)).astype(int))
    for _ in range(CANDIDATES):
        chosen = np.unique(np.maximum(orders + random.integers(-1, 2, len(orders)) * (orders > 3), 1))
        omega = 2 * np.pi * chosen / PERIOD_S
        slow, fast = 2 * np.pi * random.uniform(0.1, 0.3), 2 * np.pi * random.uniform(0.4, 2.5)
        amplitude = 1.0 / ((1.0 + omega / slow) * (1.0 + omega / fast))
        phase = random.uniform(0, 2 * np.pi, len(chosen))
        series = np.cos(omega * time[:, None] + phase) @ amplitude * window
        series = series * _largest(series, rate, bounds)
        worst = _deviation(robot, j, link_inertia, series, rate)
        if best is None or worst < best[0]:
            best = worst, series
    assert best is not None
    return best[1], best[0]


def _largest(series: Array, rate: float, bounds: tuple[float, float, float, float]) -> float:
    """The factor with which a series just keeps its bounds of position, velocity, acceleration and jerk."""
    factor, values = np.inf, series
    for bound in bounds:
        factor = min(factor, bound / max(float(np.abs(values).max()), 1e-12))
        values = np.diff(values, prepend=values[:1]) * rate
    return factor


def _deviation(robot: Robot, j: int, link_inertia: float, series: Array, rate: float) -> float:
    """The largest relative standard deviation of lag, inertia, friction and delay of one servo.

    q = exp(-s delay) u / (1 + lag s + inertia s^2) - friction sign(dq/dt); friction is that which turns 0.1 mrad.
    """
    servo = robot.servo
    lag = servo.kv_nms_rad[j] / servo.kp_nm_rad[j]
    inertia = (link_inertia + servo.armature_kgm2[j]) / servo.kp_nm_rad[j]
    delay, friction = 0.01, 1e-4
    pad = int(rate)
    spectrum = np.fft.rfft(np.concatenate([series, np.zeros(pad)]))
    s = 2j * np.pi * np.fft.rfftfreq(len(series) + pad, 1 / rate)
    response = np.exp(-s * delay) / (1 + lag * s + inertia * s * s)

    def back(values: NDArray[np.complex128]) -> Array:
        return np.fft.irfft(values, len(series) + pad)

    speed = back(spectrum * response * s)
    columns = [
        back(-lag * s * response**2 * np.exp(s * delay) * spectrum),
        back(-inertia * s * s * response**2 * np.exp(s * delay) * spectrum),
        -friction * np.tanh(speed / 0.005),
        back(-delay * s * response * spectrum),
    ]
    position = np.stack(columns, axis=1) / NOISE[0]
    velocity = np.gradient(np.stack(columns, axis=1), axis=0) * rate / NOISE[1]
    information = position.T @ position + velocity.T @ velocity
    information[3, 3] += 1.0 / DELAY_KNOWN**2
    return float(np.sqrt(np.diag(np.linalg.pinv(information))).max())

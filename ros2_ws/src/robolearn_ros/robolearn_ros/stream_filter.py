"""robolearn_controller's own C++ filter in Python, so that tests and the simulated arm run the code of the real arm.

Compiled once with the system's C++ compiler into a cache folder, and loaded with ctypes. No rclpy here.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robolearn.deploy.controller import NAME, controller_source
from robolearn.errors import ConfigError

Vector = NDArray[np.float64]

FLAGS = ("-std=c++17", "-O2", "-fPIC", "-shared", "-ffp-contract=off")
STATES = ("waiting", "following", "late", "braking", "stopped")
_I64, _F64, _U8 = ctypes.c_int64, ctypes.c_double, ctypes.c_uint8


@dataclass(frozen=True)
class FilterConfig:
    """Numbers of the filter, in the order of FilterConfig in stream_filter.hpp, where they are explained."""

    step_s: float = 0.001
    stream_period_s: float = 0.002
    delay_s: float = 0.006
    delay_max_s: float = 0.03
    late_max_s: float = 0.03
    lag_max_s: float = 0.1
    follow_error_max_rad: float = 0.1
    start_tolerance_rad: float = 0.1
    restart_tolerance_rad: float = 0.02
    start_rest_s: float = 0.1
    start_blend_s: float = 1.0
    rest_velocity_rad_s: float = 0.01
    bandwidth_rad_s: float = 80.0


@dataclass(frozen=True)
class Bounds:
    """Joint limits, each [n]."""

    position_min_rad: Vector
    position_max_rad: Vector
    velocity_max_rad_s: Vector
    acceleration_max_rad_s2: Vector
    jerk_max_rad_s3: Vector


@dataclass(frozen=True)
class Motion:
    """What the filter commanded in each of its steps: [steps, n]; state and reason as text, [steps]."""

    position_rad: Vector
    velocity_rad_s: Vector
    acceleration_rad_s2: Vector
    state: NDArray[np.str_]
    reason: NDArray[np.str_]


class StreamFilter:
    """One filter of n joints. Every call is as in stream_filter.hpp; times are integers, ns."""

    def __init__(self, bounds: Bounds, config: FilterConfig | None = None, *, restart_by_stream: bool = True):
        """Raises ConfigError where a number cannot be used, or there is no compiler."""
        self._library = library()
        self.config = config or FilterConfig()
        rows = [np.asarray(getattr(bounds, field.name), np.float64) for field in fields(Bounds)]
        self.joints = len(rows[0])
        if any(row.shape != (self.joints,) for row in rows):
            raise ConfigError("Every bound must have one number for each joint.")
        numbers = np.array([getattr(self.config, field.name) for field in fields(FilterConfig)])
        problem = ctypes.c_char_p()
        self._filter = self._library.robolearn_filter_new(
            self.joints, _pointer(np.ascontiguousarray(np.concatenate(rows))), _pointer(numbers),
            restart_by_stream, ctypes.byref(problem),
        )  # fmt: skip
        if not self._filter:
            raise ConfigError(
                f"The controller's filter refuses its numbers: {(problem.value or b'').decode()}."
            )
        self._motion = np.zeros((3, self.joints))
        self._status = np.zeros(3, np.uint8)

    def __del__(self) -> None:
        if getattr(self, "_filter", None):
            self._library.robolearn_filter_delete(self._filter)
            self._filter = None

    def reset(self, position_rad: ArrayLike) -> bool:
        """At rest at position_rad [n], waiting for a stream; False where that is outside the bounds."""
        return bool(self._library.robolearn_filter_reset(self._filter, _pointer(self._row(position_rad))))

    def push(
        self, stamp_ns: int, position_rad: ArrayLike, velocity_rad_s: ArrayLike | None, now_ns: int
    ) -> None:
        """A sample that came; without a velocity it is derived."""
        velocity = None if velocity_rad_s is None else _pointer(self._row(velocity_rad_s))
        self._library.robolearn_filter_push(
            self._filter, stamp_ns, _pointer(self._row(position_rad)), velocity, now_ns
        )

    def update(self, now_ns: int) -> Vector:
        """One step; the commanded position, velocity and acceleration, [3, n]."""
        self._library.robolearn_filter_update(
            self._filter, now_ns, _pointer(self._motion), _pointer(self._status)
        )
        return self._motion.copy()

    def stop(self) -> None:
        """Brake to rest, latched."""
        self._library.robolearn_filter_stop(self._filter)

    @property
    def state(self) -> str:
        """One of STATES, after the last update."""
        return STATES[self._status[0]]

    @property
    def reason(self) -> str:
        """Why it brakes or braked last."""
        return _reason(self._library, int(self._status[1]))

    @property
    def refused(self) -> str:
        """Why the newest stream is not followed, at rest."""
        return _reason(self._library, int(self._status[2]))

    @property
    def counts(self) -> dict[str, int]:
        """Samples received, samples ignored, and how often the stream was late."""
        counts = np.zeros(3, np.uint64)
        self._library.robolearn_filter_counts(self._filter, _pointer(counts))
        return dict(zip(("received", "ignored", "late"), counts.tolist(), strict=True))

    def run(
        self,
        now_ns: ArrayLike,
        arrival: ArrayLike,
        stamp_ns: ArrayLike,
        position_rad: ArrayLike,
        velocity_rad_s: ArrayLike | None,
    ) -> Motion:
        """Many steps at once.

        now_ns: [steps]. arrival: [samples], the step before whose update a sample comes, ascending. stamp_ns:
        [samples]. position_rad, velocity_rad_s: [samples, n].
        """
        now = np.ascontiguousarray(now_ns, np.int64)
        steps, stamps = np.ascontiguousarray(arrival, np.int64), np.ascontiguousarray(stamp_ns, np.int64)
        position = np.ascontiguousarray(position_rad, np.float64)
        velocity = None if velocity_rad_s is None else np.ascontiguousarray(velocity_rad_s, np.float64)
        if (
            position.shape != (len(stamps), self.joints)
            or len(steps) != len(stamps)
            or (velocity is not None and velocity.shape != position.shape)
        ):
            raise ValueError(
                "arrival, stamp_ns, position_rad and velocity_rad_s must have one row for each sample"
            )
        motion, status = np.zeros((len(now), 3, self.joints)), np.zeros((len(now), 3), np.uint8)
        self._library.robolearn_filter_run(
            self._filter, len(now), _pointer(now), len(stamps), _pointer(steps), _pointer(stamps),
            _pointer(position), None if velocity is None else _pointer(velocity), _pointer(motion), _pointer(status),
        )  # fmt: skip
        if len(now):
            self._status[:] = status[-1]
        reasons = np.array([_reason(self._library, k) for k in range(256)])
        states = np.array(STATES)[status[:, 0]]
        return Motion(motion[:, 0], motion[:, 1], motion[:, 2], states, reasons[status[:, 1]])

    def _row(self, values: ArrayLike) -> Vector:
        row = np.ascontiguousarray(values, np.float64)
        if row.shape != (self.joints,):
            raise ValueError(f"expected {self.joints} numbers, got {row.shape}")
        return row


class Impedance:
    """Torques that pull n joints to a reference, within torque and torque-rate limits (impedance.hpp)."""

    def __init__(
        self,
        stiffness_nm_rad: ArrayLike,
        damping_nm_s_rad: ArrayLike,
        torque_max_nm: ArrayLike,
        torque_rate_max_nm_s: ArrayLike,
    ):
        """Each [n]. Raises ConfigError where a number cannot be used."""
        self._library = library()
        numbers = np.array(
            [stiffness_nm_rad, damping_nm_s_rad, torque_max_nm, torque_rate_max_nm_s], np.float64
        )
        self.joints = numbers.shape[1]
        problem = ctypes.c_char_p()
        self._impedance = self._library.robolearn_impedance_new(
            self.joints, _pointer(numbers), ctypes.byref(problem)
        )
        if not self._impedance:
            raise ConfigError(
                f"The controller's impedance refuses its numbers: {(problem.value or b'').decode()}."
            )

    def __del__(self) -> None:
        if getattr(self, "_impedance", None):
            self._library.robolearn_impedance_delete(self._impedance)
            self._impedance = None

    def reset(self, torque_nm: ArrayLike) -> bool:
        """Begin from torque_nm [n], what holds the arm now."""
        row = np.ascontiguousarray(torque_nm, np.float64)
        return bool(self._library.robolearn_impedance_reset(self._impedance, _pointer(row), self.joints))

    def update(
        self,
        position_rad: ArrayLike,
        velocity_rad_s: ArrayLike,
        position_ref_rad: ArrayLike,
        velocity_ref_rad_s: ArrayLike,
        feed_forward_nm: ArrayLike,
        step_s: float,
    ) -> tuple[Vector, bool]:
        """One step: torques [n], and whether every value was finite; otherwise the torques stay."""
        state = np.array(
            [position_rad, velocity_rad_s, position_ref_rad, velocity_ref_rad_s, feed_forward_nm], np.float64
        )
        torque = np.zeros(self.joints)
        good = self._library.robolearn_impedance_update(
            self._impedance, _pointer(state), self.joints, step_s, _pointer(torque)
        )
        return torque, bool(good)


_loaded: dict[str, ctypes.CDLL] = {}


def library() -> ctypes.CDLL:
    """The compiled filter, compiled on first use. Raises ConfigError where that is not possible."""
    if not _loaded:
        _loaded[NAME] = _declared(ctypes.CDLL(str(build())))
    return _loaded[NAME]


def build() -> Path:
    """The shared library, compiled where there is none of this source, compiler and flags yet.

    It lies in $ROBOLEARN_CACHE, by default ~/.cache/robolearn. Raises ConfigError.
    """
    compiler = os.environ.get("CXX") or next((c for c in ("g++", "clang++", "c++") if shutil.which(c)), "")
    if not compiler or not shutil.which(compiler.split()[0]):
        raise ConfigError(
            f"No C++ compiler was found{f' ({compiler})' if compiler else ''}: the simulated controller runs the C++ "
            "code of robolearn_controller. Install one (Debian, Ubuntu: sudo apt install g++)."
        )
    folder = controller_source()
    headers = sorted((folder / "include" / NAME).glob("*.hpp"))
    version = _run([*compiler.split(), "--version"])
    digest = hashlib.sha256("\0".join([compiler, version, *FLAGS]).encode())
    for path in (*headers, folder / "src" / "c_api.cpp"):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    cache = Path(os.environ.get("ROBOLEARN_CACHE") or Path.home() / ".cache" / "robolearn")
    made = cache / f"{NAME}-{digest.hexdigest()[:16]}.so"
    if made.is_file():
        return made
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as work:
            out = Path(work) / "filter.so"
            _run(
                [
                    *compiler.split(),
                    *FLAGS,
                    f"-I{folder / 'include'}",
                    str(folder / "src" / "c_api.cpp"),
                    "-o",
                    str(out),
                ]
            )
            out.replace(made)  # a process that compiles it at the same time makes the same file
    except OSError as error:
        raise ConfigError(
            f"{cache}: {error.strerror}. Set ROBOLEARN_CACHE to a folder that can be written."
        ) from None
    return made


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stderr.strip()}")
    return done.stdout


def _reason(loaded: ctypes.CDLL, number: int) -> str:
    return loaded.robolearn_filter_reason_text(number).decode()


def _pointer(array: NDArray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _declared(loaded: ctypes.CDLL) -> ctypes.CDLL:
    """With the types of every function, so that 64-bit values pass whole."""
    void, size, text = ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_char_p)
    functions = {
        "filter_new": (void, [size, void, void, ctypes.c_int, text]),
        "filter_delete": (None, [void]),
        "filter_reset": (ctypes.c_int, [void, void]),
        "filter_push": (None, [void, _I64, void, void, _I64]),
        "filter_stop": (None, [void]),
        "filter_update": (None, [void, _I64, void, void]),
        "filter_run": (None, [void, size, void, size, void, void, void, void, void, void]),
        "filter_counts": (None, [void, void]),
        "filter_reason_text": (ctypes.c_char_p, [_U8]),
        "impedance_new": (void, [size, void, text]),
        "impedance_delete": (None, [void]),
        "impedance_reset": (ctypes.c_int, [void, void, size]),
        "impedance_update": (ctypes.c_int, [void, void, size, _F64, void]),
    }
    for name, (result, arguments) in functions.items():
        function = getattr(loaded, f"robolearn_{name}")
        function.restype, function.argtypes = result, arguments
    return loaded

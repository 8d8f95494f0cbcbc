"""What the safety node and its brake guard share: the braking motion behind the last sample, and a mutex that tells.

The safety node locks a robust mutex for as long as it lives. When its thread ends without unlocking it, however that
came about, the kernel hands the mutex to the guard, which waits for it, within a fraction of a millisecond: long before
the process is gone for everybody else, and without any timeout that a busy machine could miss.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robolearn.safety.braking import Braking

Vector = NDArray[np.float64]

_LIBC = ctypes.CDLL(None, use_errno=True)
_PROCESS_SHARED = _ROBUST = 1
_MUTEX_AT, _MUTEX_BYTES = 512, 128  # glibc's is 40 bytes long, or 48
_GID_AT, _GID_BYTES = 256, 64
_TEXT_AT, _TEXT_MAX = 1024, 1000
_SLOTS_AT = 4096
_ROWS = 6  # sent position; position, velocity, acceleration where the braking motion begins; its limits
_WORDS = 4  # of a slot's head: tick, step
_PLANNED, _SENT, _STATUS, _BRAKE = range(4)

# The kernel and the C library keep a locked robust mutex in a list of the thread that holds it. Memory that went while
# it was locked would leave that list broken, and the thread's next lock would end the process: SIGSEGV.
_LOCKED: set[mmap.mmap] = set()

STARTING, READY, ENDED, FAILED = range(4)


class Plan(NamedTuple):
    """A sample and how to brake after it. Arrays [n].

    number: of the sample, counted from 1.  tick_ns: its grid time.  sent: whether it is known to have gone out.
    step: samples of the braking motion, which began at the given state, that were sent already, this one included.
    """

    number: int
    tick_ns: int
    sent: bool
    step: int
    sample_rad: Vector
    position_rad: Vector
    velocity_rad_s: Vector
    acceleration_rad_s2: Vector
    acceleration_max_rad_s2: Vector
    jerk_max_rad_s3: Vector


class GuardMemory:
    """The shared memory, for n joints. `create` in the safety node, `attach` in the guard.

    Two slots are written in turn; one word says which is complete, another which sample went out. Words are aligned and
    written with one store each, so that a process killed between two of them leaves a plan that is whole.
    """

    def __init__(self, descriptor: int, joints: int):
        self.descriptor, self.joints = descriptor, joints
        self._map = mmap.mmap(descriptor, _SLOTS_AT + 2 * _slot_bytes(joints))
        self._words = np.frombuffer(self._map, np.int64, 16)
        self._heads, self._rows = [], []
        for slot in range(2):
            at = _SLOTS_AT + slot * _slot_bytes(joints)
            self._heads.append(np.frombuffer(self._map, np.int64, _WORDS, at))
            rows = np.frombuffer(self._map, np.float64, _ROWS * joints, at + 8 * _WORDS)
            self._rows.append(rows.reshape(_ROWS, joints))
        self._unlocked = False
        self._mutex = (ctypes.c_char * _MUTEX_BYTES).from_buffer(self._map, _MUTEX_AT)

    @classmethod
    def create(cls, joints: int) -> GuardMemory:
        """New memory, which vanishes with the last process that holds it; the calling thread holds the mutex."""
        descriptor = os.memfd_create("robolearn-guard", 0)
        os.ftruncate(descriptor, _SLOTS_AT + 2 * _slot_bytes(joints))
        memory = cls(descriptor, joints)
        attributes = (ctypes.c_char * _MUTEX_BYTES)()
        _check(_LIBC.pthread_mutexattr_init(attributes))
        _check(_LIBC.pthread_mutexattr_setpshared(attributes, _PROCESS_SHARED))
        _check(_LIBC.pthread_mutexattr_setrobust(attributes, _ROBUST))
        _check(_LIBC.pthread_mutex_init(memory._mutex, attributes))
        _check(_LIBC.pthread_mutex_lock(memory._mutex))
        _LOCKED.add(memory._map)
        return memory

    # -- the safety node --

    def plan(
        self, tick_ns: int, sample_rad: Vector, braking: Braking, step: int, limits: tuple[Vector, Vector]
    ) -> None:
        """How to brake after a sample that is about to go out. limits: of acceleration and jerk, [n]."""
        number = int(self._words[_PLANNED]) + 1
        head, rows = self._heads[number & 1], self._rows[number & 1]
        head[0], head[1] = tick_ns, step
        rows[0] = sample_rad
        rows[1], rows[2], rows[3] = braking.position_rad, braking.velocity_rad_s, braking.acceleration_rad_s2
        rows[4], rows[5] = limits
        self._words[_PLANNED] = number

    def sent(self) -> None:
        """The planned sample went out."""
        self._words[_SENT] = self._words[_PLANNED]

    def unlock(self, *, brake: bool = False) -> None:
        """End the guard in order, or let it brake; by the thread that made the memory. Raises OSError at a second."""
        if self._unlocked:
            raise OSError(errno.EPERM, "the mutex is unlocked already")
        self._words[_BRAKE] = brake
        self._unlocked = True
        _check(_LIBC.pthread_mutex_unlock(self._mutex))
        _LOCKED.discard(self._map)

    @property
    def status(self) -> int:
        """STARTING, READY, ENDED or FAILED, as the guard says."""
        return int(self._words[_STATUS])

    @property
    def text(self) -> str:
        """The guard's own words."""
        return self._map[_TEXT_AT : _TEXT_AT + _TEXT_MAX].rstrip(b"\0").decode("utf-8", "replace")

    @property
    def gid(self) -> bytes:
        """The guard's publisher, by its id in the ROS graph; empty until it is there."""
        return self._map[_GID_AT : _GID_AT + _GID_BYTES].rstrip(b"\0")

    # -- the guard --

    def publishes_as(self, gid: bytes) -> None:
        """The guard says which publisher is its own."""
        self._map[_GID_AT : _GID_AT + _GID_BYTES] = gid.ljust(_GID_BYTES, b"\0")

    def say(self, status: int, text: str = "") -> None:
        """The guard says how it is."""
        data = text.encode("utf-8")[:_TEXT_MAX]
        self._map[_TEXT_AT : _TEXT_AT + _TEXT_MAX] = data.ljust(_TEXT_MAX, b"\0")
        self._words[_STATUS] = status

    def wait(self) -> bool:
        """Wait for the end of the safety node. True where it ended without an order, or gave that to brake."""
        return self._must_brake(self._held(_LIBC.pthread_mutex_lock(self._mutex)))

    def ended(self) -> bool | None:
        """As `wait`, but None while the safety node runs."""
        result = self._held(_LIBC.pthread_mutex_trylock(self._mutex))
        return None if result == errno.EBUSY else self._must_brake(result)

    def _held(self, result: int) -> int:
        if result in (0, errno.EOWNERDEAD):
            _LOCKED.add(self._map)
        return result

    def _must_brake(self, result: int) -> bool:
        if result not in (0, errno.EOWNERDEAD):
            raise OSError(result, os.strerror(result))
        return result == errno.EOWNERDEAD or bool(self._words[_BRAKE])

    def read(self) -> Plan | None:
        """The newest whole plan; None while there is none."""
        number = int(self._words[_PLANNED])
        if not number:
            return None
        head, rows = self._heads[number & 1].copy(), self._rows[number & 1].copy()
        return Plan(number, int(head[0]), int(self._words[_SENT]) == number, int(head[1]), *rows)


def _slot_bytes(joints: int) -> int:
    return 8 * _WORDS + 8 * _ROWS * joints


def _check(result: int) -> None:
    if result:
        raise OSError(result, os.strerror(result))

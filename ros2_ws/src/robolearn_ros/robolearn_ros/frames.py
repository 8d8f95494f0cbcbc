"""Coordinate frames as /tf and /tf_static tell them: a tree, interpolated in time. No ROS here.

For what a policy reads: poses of objects and goals, in the arm's base frame. tf2 itself is not among the ROS 2 wheels.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from robolearn.errors import ConfigError

Vector = NDArray[np.float64]

HISTORY_S = 10.0
AHEAD_MAX_S = 0.2  # how much younger than the newest transform a pose may be
DEPTH_MAX = 100  # frames between one and its root


@dataclass
class _Edge:
    """One child's poses in its parent, by time; one without a time where it is static."""

    parent: str
    static: bool
    stamps: deque[float] = field(default_factory=deque)
    poses: deque[tuple[Vector, Vector]] = field(default_factory=deque)

    def at(self, stamp_s: float | None, child: str) -> tuple[Vector, Vector]:
        if self.static or stamp_s is None or (len(self.stamps) == 1 and stamp_s == self.stamps[0]):
            return self.poses[-1]
        first, last = self.stamps[0], self.stamps[-1]
        if stamp_s < first or stamp_s > last + AHEAD_MAX_S:
            late = "older than the oldest" if stamp_s < first else "younger than the newest"
            by = first - stamp_s if stamp_s < first else stamp_s - last
            raise ConfigError(f"a pose is {by:.2f} s {late} transform of frame '{child}'")
        if stamp_s >= last:
            return self.poses[-1]
        index = bisect_left(self.stamps, stamp_s)
        if index == 0:
            return self.poses[0]
        share = (stamp_s - self.stamps[index - 1]) / (self.stamps[index] - self.stamps[index - 1])
        (p0, q0), (p1, q1) = self.poses[index - 1], self.poses[index]
        return p0 + share * (p1 - p0), _slerp(q0, q1, share)


class FrameTree:
    """Where frames are in others. Positions [3] m, orientations [4] (w, x, y, z), stamps in s of one clock."""

    def __init__(self) -> None:
        self._edges: dict[str, _Edge] = {}
        self.refused = 0  # transforms that are no rigid motion, or have no frames

    def add(
        self,
        parent: str,
        child: str,
        position_m: Vector,
        orientation: Vector,
        stamp_s: float,
        *,
        static: bool = False,
    ) -> None:
        """One transform; an older one than the newest of its child is left aside."""
        parent, child = parent.lstrip("/"), child.lstrip("/")
        norm = float(np.linalg.norm(orientation))
        finite = np.isfinite(position_m).all() and np.isfinite(orientation).all()
        if not parent or not child or parent == child or not finite or abs(norm - 1.0) > 0.01:
            self.refused += 1
            return
        edge = self._edges.get(child)
        if edge is None or edge.parent != parent or edge.static or static:
            edge = self._edges[child] = _Edge(parent, static)
        if edge.stamps and stamp_s <= edge.stamps[-1]:
            return
        edge.stamps.append(stamp_s)
        edge.poses.append((np.asarray(position_m, float), np.asarray(orientation, float) / norm))
        while stamp_s - edge.stamps[0] > HISTORY_S:
            edge.stamps.popleft()
            edge.poses.popleft()

    def transform(
        self, position_m: Vector, orientation: Vector, frame: str, target: str, stamp_s: float | None = None
    ) -> tuple[Vector, Vector]:
        """A pose in `frame`, at a time (None: the newest), as seen from `target`.

        Raises ConfigError where the two are not connected, or there is no transform of that time.
        """
        frame, target = frame.lstrip("/"), target.lstrip("/")
        up, down = self._to_root(frame, stamp_s), self._to_root(target, stamp_s)
        if up[-1][0] != down[-1][0]:
            raise ConfigError(
                f"frames '{frame}' and '{target}' are not connected: nothing on /tf leads there"
            )
        position, turn = np.asarray(position_m, float), np.asarray(orientation, float)
        for _, (offset, rotation) in up[:-1]:
            position, turn = offset + _rotate(rotation, position), _multiply(rotation, turn)
        for _, (offset, rotation) in reversed(down[:-1]):
            back = _inverse(rotation)
            position, turn = _rotate(back, position - offset), _multiply(back, turn)
        return position, turn

    def _to_root(self, frame: str, stamp_s: float | None) -> list[tuple[str, tuple[Vector, Vector]]]:
        """Frames from this one to its root, each with its pose in the next; the root's is nothing."""
        found: list[tuple[str, tuple[Vector, Vector]]] = []
        nothing = (np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]))
        while len(found) < DEPTH_MAX:
            edge = self._edges.get(frame)
            if edge is None:
                return [*found, (frame, nothing)]
            found.append((frame, edge.at(stamp_s, frame)))
            frame = edge.parent
        raise ConfigError(f"frames go round in a circle at '{frame}'")


def _multiply(a: Vector, b: Vector) -> Vector:
    """The quaternion of b, then a."""
    w, v = a[0] * b[0] - a[1:] @ b[1:], a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:])
    return np.array([w, *v])


def _inverse(q: Vector) -> Vector:
    return q * np.array([1.0, -1.0, -1.0, -1.0])


def _rotate(q: Vector, v: Vector) -> Vector:
    t = 2.0 * np.cross(q[1:], v)
    return v + q[0] * t + np.cross(q[1:], t)


def _slerp(a: Vector, b: Vector, share: float) -> Vector:
    dot = float(a @ b)
    if dot < 0.0:
        b, dot = -b, -dot
    if dot > 0.9995:
        mixed = a + share * (b - a)
        return mixed / np.linalg.norm(mixed)
    angle = np.arccos(dot)
    return (np.sin((1.0 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)

"""Fitting hulls: boxes and capsules that contain a link's geometry, each point of it by a margin.

The surface is cut by planes into pieces, and every piece lies in one box or capsule. Both are convex, so that a
shape which contains the corners of a triangle contains all of it; triangles that a plane crosses are cut there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robolearn.errors import RobotError
from robolearn.robots.schema import BoxShape, CapsuleShape

Array = NDArray[np.float64]

PIECES_MAX = 4
_GAIN = 0.12  # of the volume, that a further piece must save
_CUTS = (0.25, 0.5, 0.75)  # of a piece's length, where it may be cut
_SEARCHED = 1500  # triangles that the search for cuts looks at; the shapes are fitted to all
_GRID_M = 5e-4  # numbers are rounded to this, outwards


class _Cut(NamedTuple):
    """A plane through a piece, the volume that it saves, and that of the piece."""

    gain: float
    volume: float
    axis: int
    at: float


def fit_hull(
    triangles: Array, margin_m: float, pieces_max: int = PIECES_MAX
) -> list[BoxShape | CapsuleShape]:
    """Shapes that contain triangles [k, 3, 3] m, their corners at least margin_m inside. Frame: the triangles'."""
    triangles = np.asarray(triangles, np.float64)
    if len(triangles) == 0 or not np.isfinite(triangles).all():
        raise RobotError(
            "No hull can be fitted: the geometry holds no triangles, or coordinates that are not finite."
        )
    thinned = triangles
    if len(triangles) > _SEARCHED:
        chosen = np.random.default_rng(0).choice(len(triangles), _SEARCHED, replace=False)
        thinned = triangles[chosen]
    cells, coarse, cuts = [triangles], [thinned], [_best_cut(thinned, margin_m)]
    while len(cells) < pieces_max:
        piece = int(np.argmax([cut.gain for cut in cuts]))
        cut = cuts[piece]
        if cut.gain <= _GAIN * sum(cut.volume for cut in cuts):
            break
        for pieces in (cells, coarse):
            pieces[piece : piece + 1] = split(pieces[piece], cut.axis, cut.at)
        cuts[piece : piece + 1] = [_best_cut(half, margin_m) for half in coarse[piece : piece + 2]]
    return [_shape(_corners(cell), margin_m) for cell in cells]


def contained(
    points: Array, shapes: list[BoxShape | CapsuleShape], margin_m: float = 0.0
) -> NDArray[np.bool_]:
    """Which points [k, 3] m lie in one of the shapes, at least margin_m below its surface."""
    inside = np.zeros(len(points), dtype=bool)
    for shape in shapes:
        inside |= _depth(points, shape) >= margin_m - 1e-9
    return inside


def split(triangles: Array, axis: int, at: float) -> tuple[Array, Array]:
    """Triangles [k, 3, 3] on the lower and on the upper side of a plane across an axis, cut where they cross it."""
    side = triangles[:, :, axis] > at
    above = side.sum(axis=1)
    low, high = [triangles[above == 0]], [triangles[above == 3]]
    for count, alone, rest in ((1, high, low), (2, low, high)):
        crossing, lone = triangles[above == count], side[above == count]
        if len(crossing) == 0:
            continue
        first = np.argmax(lone if count == 1 else ~lone, axis=1)
        a, b, c = (crossing[np.arange(len(crossing)), (first + k) % 3] for k in range(3))
        p, q = (_crossing(a, other, axis, at) for other in (b, c))
        alone.append(np.stack([a, p, q], axis=1))
        rest += [np.stack([p, b, c], axis=1), np.stack([p, c, q], axis=1)]
    return np.concatenate(low), np.concatenate(high)


def _crossing(a: Array, b: Array, axis: int, at: float) -> Array:
    share = (at - a[:, axis]) / (b[:, axis] - a[:, axis])
    point = a + share[:, None] * (b - a)
    point[:, axis] = at
    return point


def _best_cut(piece: Array, margin_m: float) -> _Cut:
    """The cut of a piece that saves the most volume."""
    volume = _volume(_shape(_corners(piece), margin_m))
    best = _Cut(0.0, volume, 0, 0.0)
    low, high = piece.min(axis=(0, 1)), piece.max(axis=(0, 1))
    for axis in range(3):
        for share in _CUTS:
            at = float(low[axis] + share * (high[axis] - low[axis]))
            halves = split(piece, axis, at)
            if min(len(half) for half in halves) == 0:
                continue
            after = sum(_volume(_shape(_corners(half), margin_m)) for half in halves)
            if volume - after > best.gain:
                best = _Cut(volume - after, volume, axis, at)
    return best


def _corners(triangles: Array) -> Array:
    """The corners [k, 3] of the convex hull of triangles."""
    return _hull_points(triangles.reshape(-1, 3), 3)


def _hull_points(points: Array, dimensions: int) -> Array:
    if len(points) <= dimensions + 1:
        return points
    qhull = _scipy_spatial()
    try:
        return points[qhull.ConvexHull(points).vertices]
    except qhull.QhullError:  # flat, or a line
        return points


def _scipy_spatial() -> Any:
    try:
        import scipy.spatial
    except ModuleNotFoundError:
        raise RobotError("Fitting a hull needs scipy: pip install 'robolearn[arms]'.") from None
    return scipy.spatial


def _shape(points: Array, margin_m: float) -> BoxShape | CapsuleShape:
    """The smallest of the box along the axes and capsules in some directions that contains points [k, 3]."""
    low = np.floor((points.min(axis=0) - margin_m) / _GRID_M) * _GRID_M
    high = np.ceil((points.max(axis=0) + margin_m) / _GRID_M) * _GRID_M
    center, half = (low + high) / 2.0, (high - low) / 2.0
    best: BoxShape | CapsuleShape = BoxShape(
        type="box", center_m=_rounded(center), half_size_m=_rounded(half)
    )
    _, _, principal = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    for direction in (*np.eye(3), *principal[:2]):
        capsule = _capsule(points, direction, margin_m)
        if _volume(capsule) < _volume(best):
            best = capsule
    return best


def _capsule(points: Array, direction: Array, margin_m: float) -> CapsuleShape:
    """The capsule along a direction [3] around points [k, 3]."""
    direction = direction / np.linalg.norm(direction)
    side = np.linalg.svd(direction[None])[2][1:]
    flat, along = points @ side.T, points @ direction
    middle = _circle(_hull_points(flat, 2))
    away = np.linalg.norm(flat - middle, axis=1)
    cap = np.sqrt(np.maximum(away.max() ** 2 - away**2, 0.0))
    start, end = (along + cap).min(), (along - cap).max()
    if start > end:  # a ball
        start = end = (start + end) / 2.0
    first, second = (np.round((middle @ side + at * direction) / _GRID_M) * _GRID_M for at in (start, end))
    radius = _distance(points, first, second).max() + margin_m
    return CapsuleShape(
        type="capsule",
        from_m=_rounded(first),
        to_m=_rounded(second),
        radius_m=float(np.round(np.ceil(radius / _GRID_M + 1e-9) * _GRID_M, 6)),
    )


def _circle(points: Array) -> Array:
    """The centre [2] of about the smallest circle around points [k, 2] (Badoiu and Clarkson 2003)."""
    centre = points.mean(axis=0)
    for k in range(1, 120):
        farthest = points[np.argmax(np.linalg.norm(points - centre, axis=1))]
        centre = centre + (farthest - centre) / (k + 1)
    return centre


def _distance(points: Array, first: Array, second: Array) -> Array:
    """Of points [k, 3] from the segment between two points."""
    way = second - first
    length = float(way @ way)
    share = np.clip((points - first) @ way / length, 0.0, 1.0) if length > 0.0 else np.zeros(len(points))
    return np.linalg.norm(points - first - share[:, None] * way, axis=1)


def _depth(points: Array, shape: BoxShape | CapsuleShape) -> Array:
    """How far [k] points lie below a shape's surface; negative outside, where it is a bound only."""
    if isinstance(shape, CapsuleShape):
        return shape.radius_m - _distance(points, np.array(shape.from_m), np.array(shape.to_m))
    return (np.array(shape.half_size_m) - np.abs(points - np.array(shape.center_m))).min(axis=1)


def _volume(shape: BoxShape | CapsuleShape) -> float:
    if isinstance(shape, BoxShape):
        return float(8.0 * np.prod(shape.half_size_m))
    length = float(np.linalg.norm(np.subtract(shape.to_m, shape.from_m)))
    return float(np.pi * shape.radius_m**2 * (length + 4.0 / 3.0 * shape.radius_m))


def _rounded(values: Array) -> list[float]:
    return [float(v) + 0.0 for v in np.round(values, 6)]

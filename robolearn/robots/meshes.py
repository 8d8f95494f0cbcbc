"""Mesh files as MuJoCo can read them: binary STL and OBJ as they are, others through trimesh."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robolearn.errors import RobotError
from robolearn.files.reading import MIB, read_regular

_BYTES_MAX = 256 * MIB
_FACES_MAX = 200_000  # of an STL file; MuJoCo refuses more
_HEADER, _FACE = 84, 50  # bytes of a binary STL


def mesh_asset(path: Path) -> tuple[str, bytes]:
    """The suffix and the bytes of a mesh in a format that MuJoCo reads. Raises RobotError where it cannot be read."""
    stat = path.stat()
    return _asset(path, stat.st_mtime_ns, stat.st_size)


def mesh_triangles(path: Path) -> NDArray[np.float64]:
    """The triangles [k, 3, 3] of a mesh file, in the file's own frame and unit (m for Collada). Raises RobotError."""
    suffix, data = mesh_asset(path)
    if suffix == ".stl":
        return _stl_triangles(data)
    loaded = _load(io.BytesIO(data), suffix, path)
    return np.asarray(loaded.triangles, dtype=np.float64)


def trimesh_module(why: str) -> Any:
    """The trimesh library. Raises RobotError where it is not installed."""
    try:
        import trimesh
    except ModuleNotFoundError:
        raise RobotError(f"{why} needs trimesh: pip install 'robolearn[arms]'.") from None
    return trimesh


@lru_cache(maxsize=256)
def _asset(path: Path, _changed: int, _size: int) -> tuple[str, bytes]:
    data, suffix = read_regular(path, _BYTES_MAX), path.suffix.lower()
    if suffix == ".obj" or (suffix == ".stl" and _fits_mujoco(data)):
        return suffix, data
    loaded = _load(io.BytesIO(data), suffix, path)
    if len(loaded.faces) > _FACES_MAX:
        raise RobotError(f"Mesh '{path}' has {len(loaded.faces)} faces: at most {_FACES_MAX} are read.")
    return ".stl", loaded.export(file_type="stl")


def _load(data: io.BytesIO, suffix: str, path: Path) -> Any:
    trimesh = trimesh_module(f"Mesh '{path}'")
    try:
        loaded = trimesh.load(data, file_type=suffix.lstrip("."), force="mesh")
        faces = len(loaded.faces)
    except Exception as error:  # trimesh raises whatever the reader of the format does
        wants = " Collada needs pycollada: pip install 'robolearn[arms]'." if suffix == ".dae" else ""
        raise RobotError(f"Mesh '{path}' cannot be read ({type(error).__name__}: {error}).{wants}") from None
    if not faces:
        raise RobotError(f"Mesh '{path}' holds no triangles.")
    unit = getattr(loaded, "units", None)
    if suffix == ".dae" and unit not in (None, "meter", "meters", "m"):
        loaded.convert_units("meters")
    return loaded


def _fits_mujoco(stl: bytes) -> bool:
    """Whether this is a binary STL, whole, of a size that MuJoCo takes."""
    if len(stl) < _HEADER + _FACE:
        return False
    faces = int.from_bytes(stl[80:84], "little")
    return 0 < faces <= _FACES_MAX and len(stl) == _HEADER + _FACE * faces


def _stl_triangles(stl: bytes) -> NDArray[np.float64]:
    faces = np.frombuffer(stl[_HEADER:], dtype=np.uint8).reshape(-1, _FACE)
    corners = np.ascontiguousarray(faces[:, 12:48]).view("<f4").reshape(-1, 3, 3)
    return corners.astype(np.float64)

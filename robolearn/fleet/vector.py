"""What a round averages: named arrays as one float32 vector, with a digest of its layout, and the checks of an update.

Sites and server average vectors only where their layouts have the same digest: other sizes, names or order are
another policy, or another robolearn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import rfc8785
from numpy.typing import NDArray

from robolearn.errors import ConfigError, RobolearnError

Vector = NDArray[np.float32]


class UpdateRefused(RobolearnError):
    """A site's update is not averaged: not finite, of another size or layout, or far too large."""


class Part(NamedTuple):
    """One named array of the vector."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers of the vector are its."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the arrays, in the order in which the vector holds them."""

    parts: tuple[Part, ...]

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Layout:
        """The layout of these arrays, in their order."""
        return cls(tuple(Part(name, tuple(map(int, value.shape))) for name, value in arrays.items()))

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(part.size for part in self.parts)

    @property
    def digest(self) -> str:
        """SHA-256 of names, shapes and type as canonical JSON, in hex."""
        told = {"type": "float32", "parts": [[part.name, list(part.shape)] for part in self.parts]}
        return hashlib.sha256(rfc8785.dumps(told)).hexdigest()

    def flatten(self, arrays: Mapping[str, np.ndarray]) -> Vector:
        """The arrays as one vector [size]. Raises UpdateRefused where they are not those of the layout."""
        if Layout.of({name: np.asarray(value) for name, value in arrays.items()}) != self:
            raise UpdateRefused("The arrays have other names or shapes than the layout.")
        return np.concatenate([np.asarray(value, np.float32).ravel() for value in arrays.values()])

    def mask(self, prefixes: Sequence[str]) -> NDArray[np.bool_]:
        """Which numbers of the vector [size] are of these parts: `actor/3` is `actor/3/kernel` and `actor/3/bias`.

        Raises ConfigError where a prefix names no part.
        """
        found = np.zeros(self.size, bool)
        for prefix in prefixes:
            start, before = 0, found.sum()
            for part in self.parts:
                if f"{part.name}/".startswith(f"{prefix}/"):
                    found[start : start + part.size] = True
                start += part.size
            if found.sum() == before:
                names = ", ".join(part.name for part in self.parts)
                raise ConfigError(
                    f"personal: '{prefix}' names no other part of the vector, which has {names}."
                )
        return found

    def unflatten(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        """The arrays of a vector [size], float32. Raises UpdateRefused for another length."""
        if vector.shape != (self.size,):
            raise UpdateRefused(f"The vector has shape {list(vector.shape)}, expected [{self.size}].")
        arrays, start = {}, 0
        for part in self.parts:
            arrays[part.name] = np.asarray(vector[start : start + part.size], np.float32).reshape(part.shape)
            start += part.size
        return arrays


def check_update(vector: np.ndarray, size: int, norm_max: float, who: str = "update") -> float:
    """The Euclidean norm of a site's update, before it is averaged.

    Raises UpdateRefused where it has another length or type, is not finite, or is longer than norm_max: one such update
    would spoil the mean for everybody.
    """
    if vector.shape != (size,) or vector.dtype != np.float32:
        raise UpdateRefused(
            f"{who}: {vector.dtype} of shape {list(vector.shape)}, expected float32 of shape [{size}]."
        )
    if not np.isfinite(vector).all():
        count = int((~np.isfinite(vector)).sum())
        raise UpdateRefused(f"{who}: {count} of {size} numbers are not finite. It is left out of the round.")
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    if norm > norm_max:
        raise UpdateRefused(f"{who}: norm {norm:.3g}, at most {norm_max:.3g}. It is left out of the round.")
    return norm


def clipped(vector: np.ndarray, norm_max: float) -> Vector:
    """The vector, scaled down to Euclidean norm norm_max where it is longer."""
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    return np.asarray(vector if norm <= norm_max else vector * (norm_max / norm), np.float32)


def vector_sha256(vector: np.ndarray) -> str:
    """SHA-256 of the numbers as little-endian float32, in hex."""
    return hashlib.sha256(np.ascontiguousarray(vector, "<f4").tobytes()).hexdigest()

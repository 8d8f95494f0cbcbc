"""Named slots: what a policy reads and remembers, with shape and unit, in training and on the arm."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from robolearn.policy.sources import check_slot


@dataclass(frozen=True)
class Slot:
    """One named measurement, goal or memory field of a policy.

    source says where the value comes from on the robot, or what a memory slot starts from: a name of the table in
    `robolearn.policy.sources`, whose shape and unit the slot must have. Raises SlotError.
    """

    name: str
    shape: tuple[int, ...]
    unit: str
    source: str
    description: str = ""

    def __post_init__(self) -> None:
        check_slot(self.name, self.shape, self.unit, self.source)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**asdict(self), "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Slot:
        """The inverse of `to_dict`."""
        return cls(**{**data, "shape": tuple(int(n) for n in data["shape"])})

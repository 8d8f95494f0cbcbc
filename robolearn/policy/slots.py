"""Named slots: what a policy reads and remembers, with shape and unit, in training and on the arm."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Slot:
    """One named measurement, goal or memory field of a policy.

    source says where the value comes from on the robot:
    `joint_state.position`, `joint_state.velocity` (in the manifest's joint order), `gripper.width`,
    `pose.<object>.position` [3] m, `pose.<object>.orientation` [4] (w, x, y, z), `goal.<name>`, or, for a
    memory slot, what it starts from: `zeros` or `joint_state.position`.
    """

    name: str
    shape: tuple[int, ...]
    unit: str
    source: str
    description: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**asdict(self), "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Slot:
        """The inverse of `to_dict`."""
        return cls(**{**data, "shape": tuple(int(n) for n in data["shape"])})

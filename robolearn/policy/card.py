"""The model card inside a bundle: what the policy is, how it was trained and evaluated, what it is not for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from robolearn.policy.bundle import Manifest
from robolearn.policy.slots import Slot


def model_card(manifest: Manifest, *, summary: str, success: str) -> str:
    """Markdown, generated from the manifest and the task's own sentences."""
    m = manifest
    return f"""# {m.name}

A policy for `{m.task}`, made by robolearn {m.code.version}
(commit {m.code.git_commit or "unknown"}) at {m.created_utc}.

## What it does

{summary}

Success: {success}

It runs at {m.control_hz:g} Hz on joints {", ".join(m.joint_names)} of robot `{m.robot}`.

## What it reads and returns

{_table([*m.slots, *m.goal_slots, *m.memory_slots], "input")}

{_table(list(m.outputs), "output")}

Targets are continuous in position and velocity. Each control period is one segment between two of them.

## How it was trained

{_block(m.training)}

## How it was evaluated

{_block(m.evaluation)}

## Limits

- It has seen what its training shows and nothing else: other loads, other tools, other arms and goals outside the
  trained region are unknown to it.
- The evaluation above was made in simulation unless it says otherwise. Results on an arm will differ.
- It perceives no people and no obstacles, and avoids neither.
- The bounds of its targets are in `manifest.json` under `limits_assumed`. They are not a substitute for limits
  enforced behind it.

## Not for

- Moving an arm near people on the strength of this policy, or of robolearn, alone. The rated functions of the arm
  and of the cell stand above both.
- Arms other than `{m.robot}` with robot file digest `{m.robot_digest[:16]}`.
- Any use for which a person has not reviewed the evaluation above.
"""


def _table(slots: list[Slot], head: str) -> str:
    rows = [f"| `{s.name}` | {list(s.shape)} | {s.unit} | {s.source} | {s.description} |" for s in slots]
    return "\n".join([f"| {head} | shape | unit | source | meaning |", "|---|---|---|---|---|", *rows])


def _block(data: Mapping[str, Any]) -> str:
    if not data:
        return "Not stated."
    lines = [
        f"- {key}: {value if isinstance(value, str) else json.dumps(value)}" for key, value in data.items()
    ]
    return "\n".join(lines)

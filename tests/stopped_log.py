"""Safety logs with stops, made without ROS, each with what a policy read before it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from log_sessions import Session

from robolearn.policy.bundle import PolicyBundle
from robolearn.safety.types import Command

RECORDED = 40  # decisions before each stop


def inputs_near_home(bundle: PolicyBundle, home: np.ndarray, seed: int, fixed_goal: bool) -> np.ndarray:
    """Decisions near home, every slot wandering, flattened in the manifest's order, [E, D]."""
    rng, m = np.random.default_rng(seed), bundle.manifest
    columns = []
    for slot in (*m.slots, *m.goal_slots, *m.memory_slots):
        size = int(np.prod(slot.shape))
        centre = home if "position" in slot.source and size == len(home) else np.zeros(size)
        wander = 0.05 * rng.normal(size=(RECORDED, size))
        if slot in m.goal_slots:
            centre, wander = np.array([0.5, 0.05, 0.4]), 0.0 * wander if fixed_goal else wander
        columns.append(centre + wander)
    return np.concatenate(columns, 1).astype(np.float32)


def stopped_log(
    folder: Path,
    bundle: PolicyBundle,
    *,
    digest: str | None = None,
    inputs: bool = True,
    stops: int = 2,
    fixed_goal: bool = False,
    values: np.ndarray | None = None,
) -> Path:
    """A closed log of a session with stops; the third one has no inputs."""
    session = Session(folder, folder.parent / "k.pem")
    for k in range(stops):
        session.start()
        session.wave(60)
        bad = np.full(session.robot.dof, np.nan)
        at_cycle = session.log.counts["cycles"]
        session.cycle(Command(session.robot.joint_names, bad, session.now_s, None, "rogue"))
        session.rest()
        if inputs and k != 2:
            home = session.robot.home_rad
            rows = inputs_near_home(bundle, home, k, fixed_goal) if values is None else values
            session.log.event(
                "policy_inputs",
                at_cycle=at_cycle,
                policy_digest=digest or bundle.digest,
                cycles=[max(0, at_cycle - (RECORDED - i)) for i in range(len(rows))],
                values=np.asarray(rows).tolist(),
            )
        session.reset("a rogue publisher was switched off")
    session.log.close()
    return folder

"""Explains the seconds before every stop in a safety log, with nothing but the log and the bundle that it names.

The log has what each of those decisions read (`policy_inputs`). Integrated gradients (arXiv:1703.01365) run from the
mean of what the log has of this policy to each decision, through the exported graph: its slopes are central
differences, the integral is taken by Gauss-Legendre quadrature. What is explained is the step that a decision commands:
target minus the command before it, rad.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robolearn.errors import DataError, LogError
from robolearn.policy.bundle import PolicyBundle
from robolearn.policy.runtime import PolicyRuntime
from robolearn.policy.slots import Slot
from robolearn.recorder.hash_chain import plain
from robolearn.review.recorded_log import RecordedLog
from robolearn.review.verify import verify

Array = NDArray[np.float64]

STEPS, DECISIONS = 32, 10
EXPLAINED_MAX = 50  # stops; the rest is counted
TARGET, COMMANDED = "joint_position_target", "command_position"
_DIFFERENCE = 1e-3  # of an input, for slopes: below it the graph's single precision shows
_SAME_STOP = 5  # cycles between a stop and what was recorded with it, at most
STOPS_NOT_SHOWN = (
    (
        "The monitor stopped the arm by the rule that is named. These attributions are of the policy's commands before "
        "it, and do not say what caused the stop: a stop by a person, a device, a clock or a lost message has no cause "
        "in the policy."
    ),
    (
        "They show which inputs the network's output responded to, relative to the mean of what the log has of this "
        "policy before its stops. They do not say why, nor that the response was right, nor that another one would "
        "have prevented the stop."
    ),
    "An input that was the same throughout, such as a goal that did not change, gets none, whatever it decided.",
    (
        "Inputs that go together share what either of them would get. A small attribution does not show that an input "
        "is harmless. Where a target was clipped to its limits, no input moves it and none gets anything."
    ),
    (
        "Inputs are what the policy node published as read. The record of them is signed with the log, but is not "
        "checked against the arm's own states."
    ),
)


@dataclass(frozen=True)
class ExplainedStop:
    """stop: its number in the log. rules: that stopped the arm. why_not: why it is not explained; empty if it is.

    decisions: how many were recorded. before_s: of those explained, seconds before the stop. shares: {slot: share of
    absolute attribution}. replaced_rad: {slot: mean change of an entry of the step where the slot is the mean instead}.
    signed: {slot: [n] rad} of each explained decision.
    """

    stop: int
    at_cycle: int
    utc: str
    rules: tuple[str, ...]
    text: str
    why_not: str
    decisions: int = 0
    before_s: tuple[float, ...] = ()
    shares: Mapping[str, float] | None = None
    replaced_rad: Mapping[str, float] | None = None
    signed: tuple[Mapping[str, list[float]], ...] = ()


@dataclass(frozen=True)
class ExplainedStops:
    """Every stop of a log. gap_rad: completeness gap, |sum of attributions - difference of outputs|, median and p99.

    baseline_decisions: whose mean the attributions are relative to.
    """

    log: str
    integrity: str
    bundle: str
    digest: str
    joint_names: tuple[str, ...]
    stops: tuple[ExplainedStop, ...]
    left_out: int
    baseline_decisions: int
    steps: int
    gap_rad: tuple[float, float]

    @property
    def explained(self) -> list[ExplainedStop]:
        """Those with attributions."""
        return [stop for stop in self.stops if not stop.why_not]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return plain(
            {
                "method": "integrated gradients through the exported graph, from the mean of the recorded decisions",
                **asdict(self),
                "not_shown": list(STOPS_NOT_SHOWN),
            }
        )


def explain_stops(bundle: PolicyBundle, log: str | Path, *, steps: int = STEPS) -> ExplainedStops:
    """Explain each stop of a log whose last seconds were this bundle's.

    steps: of the integral. Raises LogError where the log is none or was altered, DataError where it holds no stop, or
    no decision of this bundle before one.
    """
    recorded = RecordedLog(log)
    verdict = verify(recorded)
    if verdict.status == "altered":
        raise LogError(
            f"The safety log in {log} does not verify: {verdict.summary} Look at it with `robolearn review {log}`."
        )
    stops = [event for event in recorded.events if event["kind"] == "stop"]
    if not stops:
        raise DataError(f"The safety log in {log} has no stop: there is nothing to explain.")
    read = [event["fields"] for event in recorded.events if event["kind"] == "policy_inputs"]
    mine = [fields for fields in read if fields["policy_digest"] == bundle.digest]
    if not mine:
        raise DataError(_nothing(log, bundle, read))
    graph = _Graph(bundle)
    rows = {fields["at_cycle"]: (fields["cycles"], graph.rows(fields["values"])) for fields in mine}
    every = np.concatenate([values for _, values in rows.values()])
    baseline, gaps, found = every.mean(0), [], []
    for event in stops[:EXPLAINED_MAX]:
        fields = event["fields"]
        at = min(rows, key=lambda cycle: abs(cycle - fields["at_cycle"]))
        about = {
            "stop": fields["stop"],
            "at_cycle": fields["at_cycle"],
            "utc": event["utc"],
            "rules": tuple(dict.fromkeys(record["rule"] for record in fields["records"])),
            "text": "; ".join(record["text"] for record in fields["records"][:3]),
        }
        if abs(at - fields["at_cycle"]) > _SAME_STOP:
            why_not = "no decision of this bundle was recorded in the 2 s before it"
            found.append(ExplainedStop(**about, why_not=why_not))
            continue
        cycles, values = rows[at]
        chosen = np.unique(np.linspace(0, len(values) - 1, DECISIONS).round().astype(int))
        signed, gap = graph.attributions(values[chosen], baseline, steps)
        gaps.append(gap)
        before = tuple(float((at - cycles[i]) * recorded.period_s) for i in chosen)
        replaced = graph.replaced(values[chosen], baseline)
        singles = tuple({name: one[i].tolist() for name, one in signed.items()} for i in range(len(chosen)))
        found.append(
            ExplainedStop(**about, why_not="", decisions=len(values), before_s=before, shares=_shares(signed),
                          replaced_rad=replaced, signed=singles)
        )  # fmt: skip
    gap = np.concatenate(gaps).ravel() if gaps else np.zeros(1)
    return ExplainedStops(
        str(log), verdict.summary, bundle.manifest.name, bundle.digest, tuple(bundle.manifest.joint_names),
        tuple(found), max(0, len(stops) - EXPLAINED_MAX), len(every), steps,
        (float(np.median(gap)), float(np.quantile(gap, 0.99))),
    )  # fmt: skip


def _nothing(log: str | Path, bundle: PolicyBundle, read: list[dict[str, Any]]) -> str:
    others = sorted({fields["policy_digest"][:12] for fields in read})
    if others:
        return (
            f"The decisions before the stops in {log} are of other bundles ({', '.join(others)}), not of "
            f"{bundle.manifest.name} ({bundle.digest[:12]}). Find the bundle with: robolearn lineage {log}"
        )
    return (
        f"The safety log in {log} does not hold what the policy read before its stops (`policy_inputs`): no policy "
        "ran, or the log is from before robolearn recorded it."
    )


class _Graph:
    """The exported graph as a function of everything that it reads, [D]: the step that it commands, [n] rad."""

    def __init__(self, bundle: PolicyBundle):
        self._runtime, manifest = PolicyRuntime(bundle), bundle.manifest
        self._inputs = (*manifest.slots, *manifest.goal_slots)
        self._memory = manifest.memory_slots
        slots = (*self._inputs, *self._memory)
        ends = np.cumsum([int(np.prod(slot.shape)) for slot in slots])
        self._parts: dict[str, slice] = {}
        for slot, end in zip(slots, ends, strict=True):
            self._parts[slot.name] = slice(int(end) - int(np.prod(slot.shape)), int(end))
        self.size = int(ends[-1]) if len(ends) else 0
        commanded = any(slot.name == COMMANDED for slot in self._memory)
        self._before = self._parts[COMMANDED] if commanded else None

    def rows(self, values: list[list[Any]]) -> Array:
        """Recorded decisions [E, D]. Raises DataError where they are not of this bundle's inputs."""
        found = np.array([[float(value) for value in row] for row in values if len(row) == self.size])
        known = bool((np.abs(found) <= np.finfo(np.float32).max).all())  # to the graph's single precision
        if not len(values) or len(found) != len(values) or not known:
            raise DataError(
                f"The recorded inputs do not fit the bundle, which reads {self.size} finite numbers: "
                f"{', '.join(self._parts)}."
            )
        return found

    def step(self, row: Array) -> Array:
        """[n] rad."""

        def given(slots: tuple[Slot, ...]) -> dict[str, Array]:
            return {slot.name: row[self._parts[slot.name]].reshape(slot.shape) for slot in slots}

        self._runtime.restore(given(self._memory))
        target = self._runtime.step(given(self._inputs))[TARGET].astype(np.float64)
        return target if self._before is None else target - row[self._before].astype(np.float32)

    def attributions(self, rows: Array, baseline: Array, steps: int) -> tuple[dict[str, Array], Array]:
        """{slot: [E, n]}, and the completeness gap [E, n]."""
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        found = np.zeros((len(rows), self.size, len(self.step(baseline))))
        for e, row in enumerate(rows):
            delta = row - baseline
            for i in np.flatnonzero(delta).tolist():
                for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
                    found[e, i] += weight * delta[i] * self._slope(baseline + node * delta, i)
        start = self.step(baseline)
        whole = np.array([self.step(row) - start for row in rows])
        by_slot = {name: found[:, part].sum(1) for name, part in self._parts.items()}
        return by_slot, np.abs(found.sum(1) - whole)

    def _slope(self, row: Array, i: int) -> Array:
        high, low = row.copy(), row.copy()
        high[i] += _DIFFERENCE
        low[i] -= _DIFFERENCE
        return (self.step(high) - self.step(low)) / (2 * _DIFFERENCE)

    def replaced(self, rows: Array, baseline: Array) -> dict[str, float]:
        """{slot: mean change of an entry of the step, rad}, where the slot has the baseline's value."""
        changes = {}
        for name, part in self._parts.items():
            other = rows.copy()
            other[:, part] = baseline[part]
            changes[name] = float(
                np.mean([np.abs(self.step(b) - self.step(a)) for a, b in zip(rows, other, strict=True)])
            )
        return changes


def _shares(signed: Mapping[str, Array]) -> dict[str, float]:
    sizes = {name: float(np.abs(value).sum()) for name, value in signed.items()}
    total = sum(sizes.values()) or 1.0
    return {name: sizes[name] / total for name in sorted(sizes, key=lambda name: -sizes[name])}

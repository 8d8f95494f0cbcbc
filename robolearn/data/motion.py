"""Joint motion of one arm as it was recorded: the one contract of every reader.

Commands and measurements keep their own stamps: nothing is resampled, and nothing that is missing is filled in. What
is wrong with a recording is listed in `Motion.faults`, with place and count.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from robolearn.errors import DataError, unknown

Array = NDArray[np.float64]

GAP_PERIODS = 5.0  # a stream that is silent for more median periods than this has a gap
GAP_MIN_S = 0.02  # shorter silences are jitter


@dataclass(frozen=True)
class Fault:
    """One kind of fault in one stream: how often, where first (s from the recording's start), and in words."""

    kind: str
    stream: str
    count: int
    first_s: float
    text: str


@dataclass(frozen=True)
class Stream:
    """Samples of one quantity set at strictly increasing times.

    time_s: [N], seconds from the recording's start.  values: {name: [N, n]}, names with units.
    breaks_s: [(end, begin)] of every gap and clock jump: nothing may be interpolated across one.
    """

    time_s: Array
    values: dict[str, Array]
    breaks_s: tuple[tuple[float, float], ...] = ()

    @property
    def period_s(self) -> float:
        """Median time between samples; NaN with fewer than two."""
        return float(np.median(np.diff(self.time_s))) if len(self.time_s) > 1 else float("nan")


@dataclass(frozen=True)
class Motion:
    """A recording. joint_names: the order of all columns, base to flange as far as the source tells.

    command: {"position_rad": [N, n]}: joint targets as they were sent to the arm's controller.
    measured: {"position_rad", and where recorded "velocity_rad_s", "effort"}: [M, n], at the stamps of the driver.
    effort_unit: "Nm" or "A"; None where effort is absent or the source does not say.
    delay_s: [M], how long after its stamp each measurement was received; None where that was not recorded.
    robot: the arm's name, where the source tells. digest: SHA-256 of what was read. missing: what is not there.
    """

    source: str
    digest: str
    joint_names: tuple[str, ...]
    command: Stream
    measured: Stream
    robot: str | None = None
    robot_digest: str | None = None
    effort_unit: str | None = None
    delay_s: Array | None = None
    verified: bool | None = None
    faults: tuple[Fault, ...] = ()
    missing: tuple[str, ...] = ()
    start_utc: str | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def duration_s(self) -> float:
        """Time during which both commands and measurements exist."""
        begin = max(self.command.time_s[0], self.measured.time_s[0])
        return float(min(self.command.time_s[-1], self.measured.time_s[-1]) - begin)

    def for_joints(self, names: tuple[str, ...]) -> Motion:
        """The same recording with these joints in this order. Raises DataError for one that it does not have."""
        absent = [name for name in names if name not in self.joint_names]
        if absent:
            text = unknown("joint", absent[0], self.joint_names)
            raise DataError(f"{self.source} does not record every joint of the arm. {text}")
        order = [self.joint_names.index(name) for name in names]
        extra = [name for name in self.joint_names if name not in names]
        notes = (*self.notes, f"ignored other joints: {', '.join(extra)}") if extra else self.notes

        def sorted_columns(stream: Stream) -> Stream:
            return Stream(stream.time_s, {k: v[:, order] for k, v in stream.values.items()}, stream.breaks_s)

        return Motion(
            **{
                **self.__dict__,
                "joint_names": names,
                "command": sorted_columns(self.command),
                "measured": sorted_columns(self.measured),
                "notes": notes,
            }
        )


def ordered(name: str, time_s: Array, values: dict[str, Array]) -> tuple[Stream, tuple[Fault, ...], NDArray]:
    """A stream in which time always increases, what was wrong with it, and the rows that were kept, [N] of indices.

    A repeated stamp keeps its first sample; samples after a clock that was set back are kept only from where time
    has caught up. Samples with a value that is not finite are left out. Raises DataError where no sample is left.
    """
    faults: list[Fault] = []
    finite = np.isfinite(time_s)
    for column in values.values():
        finite &= np.isfinite(column).all(axis=1)
    if not finite.all():
        faults.append(
            _fault("not finite", name, ~finite, time_s, "samples with NaN or infinity were ignored")
        )
    rows = np.flatnonzero(finite)
    if not len(rows):
        raise DataError(f"No usable sample in stream '{name}'.")
    time = time_s[rows]
    highest = np.maximum.accumulate(time)
    before = np.concatenate([[-np.inf], highest[:-1]])
    repeated, backwards = time == before, time < before
    if repeated.any():
        text = "samples repeat the previous stamp; the first of each was kept"
        faults.append(_fault("duplicate stamp", name, repeated, time, text))
    steps = np.diff(time)
    if backwards.any():
        text = f"samples are stamped before an earlier one (by {-steps.min():.3f} s at most) and were ignored"
        faults.append(_fault("clock set back", name, backwards, time, text))
    keep = ~repeated & ~backwards
    rows, time = rows[keep], time[keep]
    breaks: list[tuple[float, float]] = []
    if len(time) > 1:
        periods = np.diff(time)
        limit = max(GAP_PERIODS * float(np.median(periods)), GAP_MIN_S)
        late = periods > limit
        if late.any():
            text = f"gaps longer than {limit * 1e3:.0f} ms, {periods.max():.3f} s at most"
            faults.append(_fault("gap", name, np.concatenate([late, [False]]), time, text))
            breaks += [(float(time[i]), float(time[i + 1])) for i in np.flatnonzero(late)]
    if backwards.any():  # where the clock was set back, what lies around it may not be what its stamp says
        last = np.flatnonzero(np.diff(rows) > 1)
        breaks += [(float(time[i]), float(time[i + 1])) for i in last]
    return (
        Stream(time, {k: v[rows] for k, v in values.items()}, tuple(sorted(set(breaks)))),
        tuple(faults),
        rows,
    )


def _fault(kind: str, stream: str, where: NDArray, time_s: Array, text: str) -> Fault:
    count, first = int(where.sum()), int(np.flatnonzero(where)[0])
    at = float(time_s[first] - time_s[0]) if np.isfinite(time_s[first] - time_s[0]) else 0.0
    return Fault(
        kind, stream, count, round(at, 4), f"{stream}: {count} {text}, first at {at:.3f} s (sample {first})"
    )

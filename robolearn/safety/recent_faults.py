"""What went wrong a short while ago while nothing was followed: whether the cause of a stop persists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robolearn.safety.command_source import brief, started_for
from robolearn.safety.inputs import Inputs, ValidatedCommand
from robolearn.safety.mode_limits import Limits
from robolearn.safety.types import Command, Record

_SOURCES = 8  # looked at beside each other


class RecentFaults:
    """Faults of joint states and commands, each of which counts for as long as such a message may be old.

    Commands are looked at source by source, each after the one before it that was good by itself.
    """

    def __init__(self) -> None:
        self._heard: dict[str, tuple[float, ValidatedCommand | None]] = {}  # when, and its last good command
        self._faults: dict[str, tuple[float, Record]] = {}  # until when it counts

    def note(self, record: Record | None, until_s: float) -> None:
        """A fault, if there is one."""
        if record:
            self._faults[record.rule] = until_s, record

    def commands(self, arrived: Sequence[Command], inputs: Inputs, limits: Limits) -> None:
        """The commands of one cycle."""
        now_s, recent_s = inputs.now_s, limits.mode.command_age_max_s.value
        flood = inputs.flood(arrived, limits)
        self.note(flood, now_s + recent_s)
        for command in () if flood else arrived:
            source = started_for(command.source)
            _, last = self._heard.pop(source, (now_s, None))
            checked, record = inputs.judge(command, last, limits, -np.inf)
            self.note(record, now_s + recent_s)
            if record:  # perhaps only beside the one before it
                checked, _ = inputs.judge(command, None, limits, -np.inf)
            self._heard[source] = now_s, checked or last
        newest = list(self._heard.items())[-_SOURCES:]
        self._heard = {name: heard for name, heard in newest if now_s - heard[0] <= recent_s}
        if len(self._heard) > 1:
            text = f"commands come from {', '.join(brief(name) for name in self._heard)}"
            self.note(Record("source", 1.0, 0.0, -1.0, "1", "robolearn", text), now_s + recent_s)

    def find(self, rule: str, now_s: float) -> Record | None:
        """What broke a rule a short while ago, or None."""
        until_s, record = self._faults.get(rule, (-np.inf, None))
        return record if now_s <= until_s else None

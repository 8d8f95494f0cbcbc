"""Who gave the commands: every source in the trace, how much came from it, and when it was followed.

Counted from the trace, where each command names its source, so that logs without `command_source` events have it too.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robolearn.recorder.cycle_codec import HAS_COMMAND, STATES, VERDICTS
from robolearn.recorder.hash_chain import utc_text, utc_us
from robolearn.safety.command_source import computing, policy_digest
from robolearn.safety.types import State, Verdict

Columns = NDArray[np.void]
_MOST = 100  # sources listed, and turns of each: a flooded topic does not flood the page
_RUNNING, _STOP = STATES.index(State.RUNNING), VERDICTS.index(Verdict.STOP)


@dataclass
class Turn:
    """A stretch in which the commands of one source were followed, without another between them. Times: ns, s."""

    first_cycle: int
    last_cycle: int
    first_ns: int
    last_ns: int
    first_s: float
    last_s: float
    cycles: int


@dataclass
class Source:
    """One source. commands: different ones that came.  cycles: in which one of them was at hand.

    followed: cycles that sent its command, unchanged or limited.
    """

    name: str
    commands: int = 0
    cycles: int = 0
    followed: int = 0
    turns: list[Turn] = field(default_factory=list)
    turns_total: int = 0

    @property
    def policy_digest(self) -> str | None:
        """Of the bundle; None where it names no policy."""
        return policy_digest(self.name)


class Tally:
    """Counts over blocks of columns, in order."""

    def __init__(self) -> None:
        self._codes: dict[bytes | None, int] = {None: -1}
        self._sources: list[Source] = []
        self._last = -1
        self._last_stamp = np.nan
        self._turn = -1

    @property
    def sources(self) -> list[Source]:
        """In the order in which they first came; followed ones first where there are too many to list."""
        if len(self._sources) <= _MOST:
            return self._sources
        return sorted(self._sources, key=lambda source: -source.followed)[:_MOST]

    @property
    def total(self) -> int:
        """How many different sources there were."""
        return len(self._sources)

    def take(self, rows: Columns, names: list[bytes | None]) -> None:
        """One block: columns [k] and the source of each cycle's command [k]."""
        arrived = (rows["present"] & HAS_COMMAND) > 0
        codes, stamps = self._at_hand(arrived, rows["command_stamp_s"], names)
        given = codes >= 0
        before = np.concatenate([[self._last], codes[:-1]])
        fresh = (codes != before) | (stamps != np.concatenate([[self._last_stamp], stamps[:-1]]))
        followed = given & (rows["state"] == _RUNNING) & (rows["verdict"] != _STOP)
        for code in np.unique(codes[given]).tolist():
            source, mine = self._sources[code], given & (codes == code)
            source.cycles += int(mine.sum())
            source.commands += int((mine & fresh).sum())
            source.followed += int((mine & followed).sum())
        self._turns(rows[followed], codes[followed])
        self._last, self._last_stamp = int(codes[-1]), float(stamps[-1])

    def _at_hand(
        self, arrived: NDArray[np.bool_], stamps: NDArray[np.float64], names: list[bytes | None]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Source and stamp [k] of the command at hand in each cycle: one goes on until another arrives."""
        codes = np.fromiter((self._code(name) for name in names), np.int64, len(names))
        newest = np.maximum.accumulate(np.where(arrived, np.arange(1, len(codes) + 1), 0))
        return np.concatenate([[self._last], codes])[newest], np.concatenate([[self._last_stamp], stamps])[
            newest
        ]

    def _code(self, name: bytes | None) -> int:
        code = self._codes.get(name)
        if code is None:
            code = self._codes[name] = len(self._sources)
            self._sources.append(Source((name or b"unnamed").decode("utf-8", "replace")))
        return code

    def _turns(self, rows: Columns, codes: NDArray[np.int64]) -> None:
        """Followed cycles only: a turn ends where the next followed command is another source's."""
        if not len(rows):
            return
        edges = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(rows)]
        for first, after in pairwise(edges):
            code, last = int(codes[first]), after - 1
            source = self._sources[code]
            if code != self._turn:
                self._turn = code
                source.turns_total += 1
                begin = (int(rows["cycle"][first]), int(rows["monotonic_ns"][first]))
                now_s = float(rows["now_s"][first])
                turn = Turn(begin[0], begin[0], begin[1], begin[1], now_s, now_s, 0)
                source.turns = [*source.turns[: _MOST - 1], turn]
            turn = source.turns[-1]
            turn.last_cycle, turn.last_ns = int(rows["cycle"][last]), int(rows["monotonic_ns"][last])
            turn.last_s = float(rows["now_s"][last])
            turn.cycles += after - first


def listed(tally: Tally, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For the page: each source with the times in UTC by the log's own clock, and those that only an event names."""
    clock = _Clock(events)
    told = [event for event in events if event["kind"] == "command_source"]
    found = []
    for source in tally.sources:
        first = next((e for e in told if e["fields"].get("source") == source.name), None)
        turns = [
            {**vars(turn), "from_utc": clock.utc(turn.first_ns), "to_utc": clock.utc(turn.last_ns)}
            for turn in source.turns
        ]
        found.append(
            {
                "source": source.name,
                "policy_digest": source.policy_digest,
                "in_motion": computing(source.name) != source.name,
                "commands": source.commands,
                "cycles": source.cycles,
                "followed": source.followed,
                "turns": turns,
                "turns_total": source.turns_total,
                "event_seq": None if first is None else first.get("seq"),
            }
        )
    known = {source["source"] for source in found}
    for event in told[: 10 * _MOST] if tally.total <= _MOST else []:
        name = str(event["fields"].get("source"))
        if name not in known and not any(one.startswith(name) for one in known):
            known.add(name)
            blank = {"commands": 0, "cycles": 0, "followed": 0, "turns": [], "turns_total": 0}
            digest = event["fields"].get("policy_digest")
            found.append(
                {
                    "source": name,
                    "policy_digest": digest,
                    "in_motion": False,
                    **blank,
                    "event_seq": event.get("seq"),
                }
            )
    return found


class _Clock:
    """UTC of a moment on the monotonic clock, from the nearest event before it: the wall clock may have been set.

    In whole microseconds, as an event states both of its times: a moment of an event has exactly the event's UTC.
    """

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self._at_us: list[int] = []
        self._utc_us: list[int] = []
        for event in events:
            try:
                moment = int(event["monotonic_us"]), utc_us(event["utc"])
            except (KeyError, TypeError, ValueError):
                continue  # a damaged line: the verification names it
            self._at_us.append(moment[0])
            self._utc_us.append(moment[1])

    def utc(self, monotonic_ns: int) -> str:
        """RFC 3339; empty where no event tells the time."""
        if not self._at_us:
            return ""
        at_us = monotonic_ns // 1000
        k = max(0, bisect_right(self._at_us, at_us) - 1)
        return utc_text(1000 * (self._utc_us[k] + at_us - self._at_us[k]))

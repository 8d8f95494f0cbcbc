"""From cycles to events: one event when a stop begins, one for each spell of limiting, none for what just passes.

Runs in the log writer, so that the control thread pays for no bookkeeping.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from robolearn.recorder.cycle_codec import Layout, cycle_monotonic_ns, cycle_now_s
from robolearn.recorder.hash_chain import plain
from robolearn.safety.command_source import policy_digest
from robolearn.safety.types import Record, State, Verdict

_QUIET_NS = 200_000_000
_LONGEST_NS = 5_000_000_000
_IDLE_SOURCE_NS = 1_000_000_000
_LONGEST_SOURCE = 300


class Episodes:
    """Watches packed cycles in order. `see` and `close` give (kind, fields) of the events that are due."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._running = False
        self._latched = False
        self._stops = 0
        self._known: set[str] = set()
        self._limiting: dict[str, Any] | None = None
        self._source: bytes | None = None
        self._source_ns = -_IDLE_SOURCE_NS

    def see(self, number: int, payload: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
        """The events that cycle `number` brings about."""
        verdict, state, latched = self._layout.outcome(payload)
        source = self._layout.source(payload)
        if source is not None and source != self._source:
            yield from self._new_source(number, payload, source, self._running or state is State.RUNNING)
        if verdict is Verdict.STOP:
            if (latched and not self._latched) or (self._running and state is not State.RUNNING):
                yield from self._finish_limiting()
                yield "stop", self._stop(number, payload)
            elif latched:
                yield from self._further(number, payload)
        elif verdict is Verdict.LIMIT:
            yield from self._limit(number, payload)
        elif (
            self._limiting is not None and cycle_monotonic_ns(payload) - self._limiting["last_ns"] > _QUIET_NS
        ):
            yield from self._finish_limiting()
        self._running, self._latched = state is State.RUNNING, latched

    def reset(self) -> None:
        """A reset was accepted: a latched cycle after it is another stop, also without an unlatched one between."""
        self._latched = False

    def close(self, now_ns: int, force: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
        """Ends a spell of limiting that went quiet (no cycles arrive) or, with force, any."""
        if self._limiting is not None and (force or now_ns - self._limiting["last_ns"] > _QUIET_NS):
            yield from self._finish_limiting()

    def _new_source(
        self, number: int, payload: bytes, source: bytes, followed: bool
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The first commands of all, or other ones than before.

        Told at once where commands are followed: there a strange source brings a stop, so that it cannot go on. Where
        they are not, two publishers in turn would fill the log: once a second is enough.
        """
        now_ns = cycle_monotonic_ns(payload)
        if not followed and now_ns - self._source_ns < _IDLE_SOURCE_NS:
            return
        before, self._source, self._source_ns = self._source, source, now_ns
        cycle = self._layout.unpack(payload)
        name = source.decode("utf-8", "replace")
        yield (
            "command_source",
            plain(
                {
                    "source": name[:_LONGEST_SOURCE],
                    "policy_digest": policy_digest(name[:_LONGEST_SOURCE]),
                    "before": None if before is None else before.decode("utf-8", "replace")[:_LONGEST_SOURCE],
                    "at_cycle": number,
                    "now_s": cycle.now_s,
                    "state": cycle.decision.state,
                }
            ),
        )

    def _stop(self, number: int, payload: bytes) -> dict[str, Any]:
        cycle = self._layout.unpack(payload)
        self._stops += 1
        self._known = {record.rule for record in cycle.decision.records}
        return plain(
            {
                "stop": self._stops,
                "at_cycle": number,
                "now_s": cycle.now_s,
                "verdict": Verdict.STOP,
                "state": cycle.decision.state,
                "latched": cycle.decision.latched,
                "records": cycle.decision.records,
                "commanded": None if cycle.command is None else cycle.command.position_rad,
                "sent": cycle.decision.command_rad,
                "measured": None if cycle.measured is None else cycle.measured.position_rad,
                "person_distance_m": cycle.surroundings.person_distance_m,
                "predicted_stopping_time_s": cycle.decision.stopping_time_s,
            }
        )

    def _further(self, number: int, payload: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
        """Another rule that acts while a stop is on; each rule once per stop."""
        fresh = [record for record in self._layout.records(payload) if record.rule not in self._known]
        if fresh:
            self._known |= {record.rule for record in fresh}
            yield "stop_cause", plain({"stop": self._stops, "at_cycle": number, "records": fresh})

    def _limit(self, number: int, payload: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
        now_ns = cycle_monotonic_ns(payload)
        spell = self._limiting
        if spell is not None and (
            now_ns - spell["last_ns"] > _QUIET_NS or now_ns - spell["first_ns"] > _LONGEST_NS
        ):
            yield from self._finish_limiting()
            spell = None
        if spell is None:
            spell = self._limiting = {
                "first_ns": now_ns,
                "first_cycle": number,
                "now_s": cycle_now_s(payload),
                "cycles": 0,
                "rules": {},
            }
        spell["last_ns"], spell["last_cycle"] = now_ns, number
        spell["cycles"] += 1
        for record in self._layout.records(payload):
            _note(spell["rules"], record)

    def _finish_limiting(self) -> Iterator[tuple[str, dict[str, Any]]]:
        spell, self._limiting = self._limiting, None
        if spell is None:
            return
        worst = [{**plain(record), "cycles": count} for record, count in spell["rules"].values()]
        yield (
            "limit",
            plain(
                {
                    "first_cycle": spell["first_cycle"],
                    "last_cycle": spell["last_cycle"],
                    "now_s": spell["now_s"],
                    "cycles": spell["cycles"],
                    "duration_s": (spell["last_ns"] - spell["first_ns"]) / 1e9,
                    "records": worst,
                }
            ),
        )


def _note(rules: dict[tuple[str, str], tuple[Record, int]], record: Record) -> None:
    """Keeps, for each rule and place, the record with the least margin and how many cycles it acted in."""
    key = (record.rule, record.where)
    worst, count = rules.get(key, (record, 0))
    rules[key] = (record if record.margin < worst.margin else worst, count + 1)

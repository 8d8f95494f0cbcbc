"""What encoder and decoder of blocks know alike: which column is what, how it is stored, and what came before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robolearn.recorder import block_numbers as numbers
from robolearn.recorder.block_numbers import Integers, Values
from robolearn.recorder.cycle_codec import ENCAPSULATION, Layout
from robolearn.recorder.cycle_schema import ARRAYS, SCALARS, STAMPS, TAIL_BYTES

BITS, FIXED, NANOS = range(3)
PAIRED = 5  # in the place of an order of differences, 0 to 4: they are from another column
MARK = 0x80  # of a column with holes; of a Rice code
HISTORY = 4
_RESTS_MAX, _REST_KEPT_BYTES = 250, 600

Mask = NDArray[np.bool_]


class Columns(NamedTuple):
    """What stands where in the words of a cycle."""

    layout: Layout
    count: int
    whole: Mask  # [c]: integers, not floats
    stamps: NDArray[np.intp]
    command: slice
    command_velocity: slice
    sent: slice
    sent_velocity: slice
    paired: Mask  # [c]: others predict it


@lru_cache(maxsize=8)
def columns_of(joints: int) -> Columns:
    """The columns of cycles of an arm with so many joints."""
    layout = Layout(tuple(map(str, range(joints))))
    names = ["cycle", "monotonic_ns", *SCALARS]
    names += [name for name in ARRAYS for _ in range(layout.size(name))]
    spans = [
        slice(names.index(name), names.index(name) + joints)
        for name in (
            "command_position_rad",
            "command_velocity_rad_s",
            "sent_position_rad",
            "sent_velocity_rad_s",
        )
    ]
    stamps = np.array([names.index(name) for name in STAMPS])
    paired = np.zeros(len(names), bool)
    for span in (spans[0], spans[2], spans[3]):
        paired[span] = True
    command, command_velocity, sent, sent_velocity = spans
    whole = np.arange(len(names)) < 2
    return Columns(layout, len(names), whole, stamps, command, command_velocity, sent, sent_velocity, paired)


class Code:
    """How the columns of one block are stored. raw: [3, c] bytes: kind, order and mark; shift; coder."""

    def __init__(self, raw: NDArray[np.uint8]) -> None:
        self.raw = raw
        kind = raw[0] & 3
        self.is_fixed, self.is_nanos = kind == FIXED, kind == NANOS
        self.order = (raw[0] >> 2 & 7).astype(np.int64)
        self.shift = raw[1].view(np.int8).astype(np.int64)
        self.marked = np.flatnonzero(raw[0] & MARK)

    def check(self, columns: Columns) -> None:
        """Raises ValueError where the bytes mean nothing."""
        coder = self.raw[2]
        wrong = (self.raw[0] & 3 > NANOS) | (columns.whole & (self.is_fixed | self.is_nanos))
        wrong |= (self.order > PAIRED) | (self.raw[0] & 0x60 > 0)
        wrong |= (self.order == PAIRED) & ~columns.paired
        wrong |= (coder > 64) & ~((coder >= MARK) & (coder <= MARK + 62))
        if wrong.any():
            raise ValueError("a block with columns of an unknown kind")

    def integers(self, words: Integers, columns: Columns) -> Integers:
        """The words [k, c] in the representation of each column."""
        values = words.view(np.float64)
        found = np.where(columns.whole, words, numbers.ordered(words))
        found = np.where(self.is_fixed, numbers.to_fixed(values, self.shift), found)
        nanos = columns.stamps[self.is_nanos[columns.stamps]]
        found[:, nanos] = numbers.to_nanos(values[:, nanos])
        return found

    def words(self, integers: Integers, columns: Columns) -> Integers:
        """The inverse of `integers`."""
        found = np.where(columns.whole, integers, numbers.ordered(integers))
        found = np.where(self.is_fixed, numbers.from_fixed(integers, self.shift).view(np.int64), found)
        nanos = columns.stamps[self.is_nanos[columns.stamps]]
        found[:, nanos] = numbers.from_nanos(integers[:, nanos]).view(np.int64)
        return found

    def predicted(self, prediction: Values, where: slice) -> Integers:
        """A prediction [k, n] in the representation of the columns that it is for, which are no stamps."""
        prediction = np.where(
            np.isnan(prediction), 0.0, prediction
        )  # which NaN comes out is the processor's choice
        ordered = numbers.ordered(prediction.view(np.int64))
        return np.where(self.is_fixed[where], numbers.to_fixed(prediction, self.shift[where]), ordered)

    def restored(self, integers: Integers, where: slice) -> Integers:
        """Words [k, n] of the integers of such columns."""
        fixed = numbers.from_fixed(integers, self.shift[where]).view(np.int64)
        return np.where(self.is_fixed[where], fixed, numbers.ordered(integers))


class Stretch:
    """What encoder and decoder know alike: all that came since the plain cycle that began the stretch."""

    def __init__(self, message: bytes, joints: int, period_s: float) -> None:
        self.columns, self.period_s = columns_of(joints), period_s
        words, _, rests = self.parts([message])
        self.history: Integers = np.repeat(words, HISTORY, axis=0)
        self.raw_code = np.zeros((3, self.columns.count), np.uint8)
        self.rest = rests[0]
        self.rests: dict[bytes, int] = {}

    def parts(self, messages: Sequence[bytes]) -> tuple[Integers, NDArray[np.uint8], list[bytes]]:
        """Words [k, c], bytes [k, 8] and what follows them, of some cycles."""
        fixed, begin = self.columns.layout.fixed_bytes, len(ENCAPSULATION)
        rows = np.frombuffer(b"".join([message[begin:fixed] for message in messages]), np.uint8)
        rows = rows.reshape(len(messages), -1)
        words = np.ascontiguousarray(rows[:, :-TAIL_BYTES]).view("<i8").astype(np.int64)
        return words, rows[:, -TAIL_BYTES:], [message[fixed:] for message in messages]

    def keep_rest(self, rest: bytes) -> None:
        """Remembers a rest that was spelled out, so that it need not be again."""
        if len(rest) <= _REST_KEPT_BYTES:
            if len(self.rests) == _RESTS_MAX:
                self.rests.clear()
            self.rests.setdefault(rest, len(self.rests))

    def pairs(self, words: Integers) -> Iterator[tuple[slice, Values, bool]]:
        """Columns that others predict, in the order in which they can be known: where, [k, n], whether it is added.

        words: [h + k, c], history first, read as each pair comes: a decoder fills them in between.
        """
        columns, dt, along = self.columns, self.period_s, words.view(np.float64)
        v = along[:, columns.command_velocity]
        # the integral of a cubic through the velocities of this cycle and the three before
        yield columns.command, dt / 24.0 * (9.0 * v[4:] + 19.0 * v[3:-1] - 5.0 * v[2:-2] + v[1:-3]), True
        yield columns.sent, along[HISTORY:, columns.command], False
        sent = along[:, columns.sent]
        yield columns.sent_velocity, (sent[4:] - sent[3:-1]) / dt, False

"""Blocks of packed cycles: column by column, as differences from what the cycles before predict. Nothing is lost.

A packed cycle (`cycle_codec`) is mostly 64-bit words that change little, or smoothly, from cycle to cycle. In each
block the words of each column become integers:

    BITS     the word itself, or a float's bits in the order of the floats
    FIXED    value * 2^shift, where that is whole in every cycle: float32 values, values on a grid, but also most
             float64 of a narrow range
    NANOS    value * 1e9, of stamps that were whole nanoseconds

Of these the block has the differences of the order 0 to 4 that needs the fewest bits, or those from another column:
what the command's velocity adds to its position, the command where it is the sent position, the change of the sent
position for the sent velocity. Differences of about one size are Rice codes; others are stored by their number of
bits and those bits. A float that is NaN because nothing came is a hole: its place is marked, and the column goes on
as if there had been a value on the way.

Numbers of bits, and all that is not a word, go through one zstd stream, flushed at the end of each block. Bits of
differences are noise to a compressor and stay as they are.

A plain cycle, stored as it is, begins each stretch of blocks: a block needs everything back to there. It names the
checksum of the cycles that come out of it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import zstandard
from numpy.typing import NDArray

from robolearn.recorder import block_numbers as numbers
from robolearn.recorder.block_columns import (
    FIXED,
    HISTORY,
    MARK,
    NANOS,
    PAIRED,
    Code,
    Columns,
    Mask,
    Stretch,
    columns_of,
)
from robolearn.recorder.block_numbers import Integers, Naturals, Values
from robolearn.recorder.cycle_codec import ENCAPSULATION
from robolearn.recorder.cycle_schema import TAIL_BYTES

CYCLES_MAX = 4096  # in one block
_ORDERS = 5  # differences of order 0 to 4
_LENGTH_BITS = 3.2  # what one number of bits takes after zstd, about
_SHIFT_MAX = 119
_NEW_REST = 255
_TEXT_MAX, _WORDS_MAX = 32 << 20, 2 << 20
_JOINTS_MAX = 64
_HOLE = np.array([np.nan]).view(np.int64)[0]
_HEAD = struct.Struct("<HHIIId")  # joints, cycles, checksum, bytes of text, bytes of it after zstd, period


class BlockEncoder:
    """Makes blocks of one stretch. message: the plain cycle that begins it."""

    def __init__(self, message: bytes, joints: int, period_s: float) -> None:
        self._stretch = Stretch(message, joints, period_s)
        self._joints = joints
        self._zstd = zstandard.ZstdCompressor(level=1).compressobj()

    def encode(self, messages: Sequence[bytes]) -> bytes:
        """The block of 1 to CYCLES_MAX cycles that follow those before."""
        stretch = self._stretch
        words, tails, rests = stretch.parts(messages)
        with np.errstate(all="ignore"):
            raw, holes, naturals = self._model(words)
        text, bits = _write_numbers(raw, naturals)
        steps = (raw - stretch.raw_code).tobytes()
        stretch.raw_code = raw
        marked = np.packbits(holes[:, raw[0] & MARK > 0], axis=0).tobytes()
        text = b"".join((steps, text, tails.T.tobytes(), marked, *self._write_rests(rests)))
        packed = self._zstd.compress(text) + self._zstd.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        checksum = zlib.crc32(b"".join(messages))
        head = _HEAD.pack(self._joints, len(messages), checksum, len(text), len(packed), stretch.period_s)
        return head + packed + bits

    def _model(self, words: Integers) -> tuple[NDArray[np.uint8], Mask, Naturals]:
        """The code [3, c], its coders still open, holes [k, c] and the differences [k, c] that remain."""
        stretch, columns = self._stretch, self._stretch.columns
        holes = (words == _HOLE) & ~columns.whole
        filled = _filled(stretch.history, words, holes)
        raw = _representations(columns, words, filled, holes)
        code = Code(raw)
        along = np.concatenate([stretch.history, filled])
        integers = code.integers(along, columns)
        along[HISTORY:] = code.words(integers[HISTORY:], columns)  # what a decoder has in the holes
        order, naturals, cost = _best_order(integers, len(words))
        for where, prediction, added in stretch.pairs(along):
            expected = code.predicted(prediction, where)
            if added:
                expected += integers[HISTORY - 1 : -1, where]
            found = numbers.zigzag(integers[HISTORY:, where] - expected)
            better = _cost(found) < cost[where]
            better &= code.is_fixed[where] | (not added)
            order[where][better] = PAIRED
            naturals[:, where][:, better] = found[:, better]
        raw[0] |= (order << 2).astype(np.uint8) | (holes.any(axis=0) * np.uint8(MARK))
        stretch.history = along[-HISTORY:]
        return raw, holes, naturals

    def _write_rests(self, rests: Sequence[bytes]) -> Iterator[bytes]:
        """An index for each rest, then those that are new."""
        stretch, index, new = self._stretch, bytearray(), []
        for rest in rests:
            if rest == stretch.rest:
                index.append(0)
            elif rest in stretch.rests:
                index.append(1 + stretch.rests[rest])
            else:
                index.append(_NEW_REST)
                new.append(struct.pack("<I", len(rest)) + rest)
                stretch.keep_rest(rest)
            stretch.rest = rest
        yield bytes(index)
        yield from new


def _filled(history: Integers, words: Integers, holes: Mask) -> Integers:
    """The words [k, c] with values on the way in the holes; history: [h, c]."""
    filled = words.copy()
    filled[:, holes.all(axis=0)] = history[-1, holes.all(axis=0)]
    for column in np.flatnonzero(holes.any(axis=0) & ~holes.all(axis=0)):
        value = np.concatenate([history[:, column], words[:, column]]).view(np.float64)
        known = np.flatnonzero(np.isfinite(value))
        if len(known):
            way = np.interp(np.arange(len(value)), known, value[known])[HISTORY:].view(np.int64)
            filled[:, column] = np.where(holes[:, column], way, words[:, column])
    return filled


def _representations(columns: Columns, words: Integers, filled: Integers, holes: Mask) -> NDArray[np.uint8]:
    """The code [3, c] with the representation and the shift of each column: the first that gives back every word."""
    values = np.where(np.isfinite(filled.view(np.float64)), filled.view(np.float64), 0.0)
    shift = numbers.shifts(np.where(holes, 0.0, values))
    fits = (np.abs(shift) <= _SHIFT_MAX) & ~columns.whole
    shift = np.where(fits, shift, 0)
    back = numbers.from_fixed(numbers.to_fixed(values, shift), shift).view(np.int64)
    fits &= ((back == words) | holes).all(axis=0)
    raw = np.zeros((3, columns.count), np.uint8)
    raw[0, fits] = FIXED
    raw[1, fits] = shift[fits].astype(np.int8).view(np.uint8)
    for column in columns.stamps:
        back = numbers.from_nanos(numbers.to_nanos(values[:, column])).view(np.int64)
        if ((back == words[:, column]) | holes[:, column]).all():
            raw[0, column], raw[1, column] = NANOS, 0
    return raw


def _cost(naturals: Naturals) -> Values:
    """Bits [c] that differences [k, c] take, about."""
    needed = numbers.lengths(naturals)
    return np.maximum(needed - 1, 0).sum(axis=0) + (needed.max(axis=0) > 0) * _LENGTH_BITS * len(naturals)


def _best_order(integers: Integers, rows: int) -> tuple[NDArray[np.int64], Naturals, Values]:
    """The order [c] of differences that takes the fewest bits, those differences [rows, c], and the bits."""
    order = np.zeros(integers.shape[1], np.int64)
    best = numbers.zigzag(integers[-rows:])
    cost = _cost(best)
    for level in range(1, _ORDERS):
        integers = np.diff(integers, axis=0)
        found = numbers.zigzag(integers[-rows:])
        bits = _cost(found)
        better = bits < cost
        order[better], cost[better], best[:, better] = level, bits[better], found[:, better]
    return order, best, cost


def _write_numbers(raw: NDArray[np.uint8], naturals: Naturals) -> tuple[bytes, bytes]:
    """Chooses the coder of each column, notes it in the code; its numbers of bits for zstd, and all bits."""
    rows = len(naturals)
    needed = numbers.lengths(naturals)
    middle = np.median(needed, axis=0).astype(np.int64)
    active = needed.any(axis=0)
    cost = np.maximum(needed - 1, 0).sum(axis=0) + _LENGTH_BITS * rows
    rice = np.full(naturals.shape[1], -1)
    for step in (-2, -1, 0, 1):
        low = np.clip(middle + step, 0, 62)
        quotient = naturals >> low.astype(np.uint64)
        bits = quotient.astype(np.float64).sum(axis=0) + rows * (low + 1.0)
        better = active & (bits < cost) & (quotient.max(axis=0) <= numbers.QUOTIENT_MAX)
        rice[better], cost[better] = low[better], bits[better]
    measured = np.flatnonzero(active & (rice < 0))
    coded = np.flatnonzero(rice >= 0)
    middle = np.maximum(middle, 1)
    raw[2, measured] = middle[measured]
    raw[2, coded] = MARK | rice[coded]
    text = (needed[:, measured] - middle[measured]).astype(np.int8).T.tobytes()
    counts = np.concatenate(
        [np.maximum(needed[:, measured] - 1, 0).T, np.repeat(rice[coded, None], rows, axis=1)]
    )
    ordered = naturals[:, np.concatenate([measured, coded])].T
    low = rice[coded].astype(np.uint64)
    quotients = (naturals[:, coded] >> low).T.astype(np.int64)
    return text, numbers.pack_bits(ordered.ravel(), counts.ravel()) + numbers.pack_unary(quotients.ravel())


class _Source:
    """Hands zstd's reader the compressed bytes of one block after another."""

    def __init__(self) -> None:
        self.data = b""

    def read(self, size: int = -1) -> bytes:
        """All there is."""
        del size
        data, self.data = self.data, b""
        return data


class BlockDecoder:
    """Reads the blocks of one stretch. message: the plain cycle that begins it."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._joints = 0
        self._source = _Source()
        self._zstd = zstandard.ZstdDecompressor(max_window_size=1 << 23).stream_reader(self._source)  # type: ignore[arg-type]

    def decode(self, data: bytes) -> list[bytes]:
        """The packed cycles of the next block. Raises ValueError, with the reason, for what is none."""
        try:
            return self._decode(data)
        except (struct.error, zstandard.ZstdError, IndexError, OverflowError) as error:
            raise ValueError(f"a block that cannot be read ({error})") from None

    def _decode(self, data: bytes) -> list[bytes]:
        joints, rows, checksum, text_bytes, packed_bytes, period_s = _HEAD.unpack_from(data)
        begin = _HEAD.size + packed_bytes
        stretch = self._stretch_of(joints)
        if (
            not 1 <= rows <= CYCLES_MAX
            or rows * stretch.columns.count > _WORDS_MAX
            or text_bytes > _TEXT_MAX
            or begin > len(data)
        ):
            raise ValueError("a block with impossible sizes")
        self._source.data = data[_HEAD.size : begin]
        text = _Text(self._zstd.read(text_bytes))
        if len(text.data) != text_bytes or self._source.data:
            raise ValueError("a block whose text is too short")
        stretch.period_s = period_s
        words, tails = self._numbers(rows, text, data[begin:])
        fixed = np.empty((rows, stretch.columns.layout.fixed_bytes), np.uint8)
        begin = len(ENCAPSULATION)
        fixed[:, :begin] = np.frombuffer(ENCAPSULATION, np.uint8)
        fixed[:, begin:-TAIL_BYTES] = words.astype("<i8").view(np.uint8)
        fixed[:, -TAIL_BYTES:] = tails
        marked = fixed.tobytes()
        size = fixed.shape[1]
        rests = self._read_rests(rows, text)
        if text.left:
            raise ValueError("a block with bytes behind its text")
        if sum(map(len, rests)) > _TEXT_MAX:  # one long rest, in every cycle, is little text
            raise ValueError("a block with impossible sizes")
        messages = [marked[size * k : size * (k + 1)] + rest for k, rest in enumerate(rests)]
        if zlib.crc32(b"".join(messages)) != checksum:
            raise ValueError("a block whose checksum does not fit")
        return messages

    def _stretch_of(self, joints: int) -> Stretch:
        """The stretch, which the first block's number of joints makes whole."""
        if not self._joints:
            if not 1 <= joints <= _JOINTS_MAX or len(self._message) < columns_of(joints).layout.fixed_bytes:
                raise ValueError("a block for another number of joints than the cycle before it")
            self._joints, self._stretch = joints, Stretch(self._message, joints, 0.0)
        if joints != self._joints:
            raise ValueError("a block for another number of joints than the cycle before it")
        return self._stretch

    def _numbers(self, rows: int, text: _Text, data: bytes) -> tuple[Integers, NDArray[np.uint8]]:
        """Words [k, c] and bytes [k, 8] of a block."""
        stretch, columns = self._stretch, self._stretch.columns
        steps = np.frombuffer(text.take(3 * columns.count), np.uint8).reshape(3, columns.count)
        code = Code(stretch.raw_code + steps)
        code.check(columns)
        with np.errstate(all="ignore"):
            differences = numbers.unzigzag(_read_numbers(code.raw, rows, text, data))
            words = self._restore(code, differences)
        tails = np.frombuffer(text.take(TAIL_BYTES * rows), np.uint8).reshape(TAIL_BYTES, rows).T
        stretch.raw_code, stretch.history = code.raw, words[-HISTORY:]
        words = words[HISTORY:]
        if len(code.marked):
            size = -(-rows // 8)
            holes = np.frombuffer(text.take(size * len(code.marked)), np.uint8).reshape(size, -1)
            words = words.copy()
            marked = words[:, code.marked]
            marked[np.unpackbits(holes, axis=0, count=rows) > 0] = _HOLE
            words[:, code.marked] = marked
        return words, tails

    def _restore(self, code: Code, differences: Integers) -> Integers:
        """The words [h + k, c], history first."""
        stretch, columns = self._stretch, self._stretch.columns
        history = code.integers(stretch.history, columns)
        paired = code.order == PAIRED
        integers = numbers.summed(differences, history, np.where(paired, 0, code.order))
        words = np.concatenate([stretch.history, code.words(integers, columns)])
        if paired.any():
            for where, prediction, added in stretch.pairs(words):
                found = integers[:, where] + code.predicted(prediction, where)
                if added:
                    found = history[-1, where] + np.cumsum(found, axis=0)
                mine = words[HISTORY:, where]
                mine[:] = np.where(paired[where], code.restored(found, where), mine)
        return words

    def _read_rests(self, rows: int, text: _Text) -> list[bytes]:
        stretch, rests = self._stretch, []
        for index in text.take(rows):
            if index == _NEW_REST:
                (size,) = struct.unpack("<I", text.take(4))
                stretch.rest = text.take(size)
                stretch.keep_rest(stretch.rest)
            elif index:
                stretch.rest = list(stretch.rests)[index - 1]
            rests.append(stretch.rest)
        return rests


class _Text:
    """Bytes that are taken from the front."""

    def __init__(self, data: bytes) -> None:
        self.data, self._at = data, 0

    @property
    def left(self) -> int:
        """How many were not taken."""
        return len(self.data) - self._at

    def take(self, size: int) -> bytes:
        """The next so many. Raises ValueError where there are fewer."""
        self._at += size
        if self._at > len(self.data):
            raise ValueError("a block whose text is too short")
        return self.data[self._at - size : self._at]


def _read_numbers(raw: NDArray[np.uint8], rows: int, text: _Text, data: bytes) -> Naturals:
    """The differences [rows, c] that `_write_numbers` wrote."""
    coder = raw[2].astype(np.int64)
    measured, coded = np.flatnonzero((coder > 0) & (coder < MARK)), np.flatnonzero(coder >= MARK)
    relative = np.frombuffer(text.take(len(measured) * rows), np.int8).reshape(len(measured), rows)
    needed = relative + coder[measured, None]
    if ((needed < 0) | (needed > 64)).any():
        raise ValueError("a block with numbers of more than 64 bits")
    low = coder[coded, None] & ~MARK
    counts = np.concatenate([np.maximum(needed - 1, 0), np.repeat(low, rows, axis=1)]).ravel()
    size = -(-int(counts.sum()) // 8)
    if size > len(data):
        raise ValueError("a block whose numbers are too short")
    found = numbers.unpack_bits(data[:size], counts).reshape(-1, rows)
    quotients = numbers.unpack_unary(data[size:], len(coded) * rows)
    if len(data) != size + (int(quotients.sum()) + len(quotients) + 7) // 8:
        raise ValueError("a block with bytes behind its end")
    quotients = quotients.reshape(-1, rows).astype(np.uint64)
    naturals = np.zeros((rows, len(coder)), np.uint64)
    leading = np.where(needed > 0, np.uint64(1) << np.maximum(needed - 1, 0).astype(np.uint64), np.uint64(0))
    naturals[:, measured] = (found[: len(measured)] | leading).T
    naturals[:, coded] = (found[len(measured) :] | quotients << low.astype(np.uint64)).T
    return naturals

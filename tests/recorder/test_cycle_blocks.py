"""Blocks of cycles come back byte for byte, whatever is in them; what is no block is named, and costs little."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from robolearn.recorder import cycle_blocks
from robolearn.recorder.cycle_blocks import _HEAD, BlockDecoder, BlockEncoder
from robolearn.recorder.cycle_codec import ENCAPSULATION, Layout, Wrench
from robolearn.safety.types import Command, Decision, Measured, Record, State, Surroundings, Verdict

NAMES = ("a", "b", "c")
LAYOUT = Layout(NAMES)
DT = 0.002
PLAIN = Decision(Verdict.PASS, np.zeros(3), np.zeros(3), False, State.RUNNING)


def there_and_back(messages: list[bytes], sizes: list[int], joints: int = 3) -> int:
    """Encodes the messages, the first one plain, in blocks of these sizes; the bytes of the blocks."""
    encoder, decoder = BlockEncoder(messages[0], joints, DT), BlockDecoder(messages[0])
    at, total = 1, 0
    for size in sizes:
        block = encoder.encode(messages[at : at + size])
        assert decoder.decode(block) == messages[at : at + size]
        at, total = at + size, total + len(block)
    assert at == len(messages)
    return total


def motion(
    count: int,
    *,
    grid: float = 0.0,
    effort: bool = True,
    wrench: bool = True,
    command: bool = True,
    seed: int = 0,
) -> list[bytes]:
    """Cycles of a smooth motion with noisy measurements, on a grid if one is given."""
    rng, sent, messages = np.random.default_rng(seed), np.zeros(3), []
    for k in range(count):
        t = k * DT
        position, velocity = np.sin(t + np.arange(3)), np.cos(t + np.arange(3))
        seen = np.concatenate([position, velocity]) + 1e-5 * rng.standard_normal(6)
        seen = np.rint(seen / grid) * grid if grid else seen
        stamp = (10**9 + 2_000_000 * k) / 1e9
        given = [Command(NAMES, position, stamp, velocity)] if command else []
        efforts = np.rint(1000 * rng.standard_normal(3)) / 1024 if effort else None
        measured = Measured(NAMES, seen[:3], seen[3:], stamp, efforts)
        force = Wrench(rng.standard_normal(3), rng.standard_normal(3), stamp) if wrench else None
        decision = Decision(Verdict.PASS, position, (position - sent) / DT, False, State.RUNNING, (), 0.1)
        sent = position
        around = Surroundings(2.5, stamp)
        now_s = (10**9 + 2_000_000 * k + int(rng.integers(50_000))) / 1e9
        messages.append(
            LAYOUT.pack(k, 10**9 + 2_000_123 * k, now_s, given, measured, around, decision, force)
        )
    return messages


@pytest.mark.parametrize("options", [
    {}, {"grid": 2.0**-23}, {"effort": False}, {"wrench": False}, {"command": False},
])  # fmt: skip
def test_a_motion_comes_back_byte_for_byte(options):
    there_and_back(motion(131, **options), [25, 1, 3, 100, 1])


def test_a_motion_on_a_grid_takes_a_small_share_of_its_bytes():
    messages = motion(501, grid=2.0**-23, wrench=False)
    plain = sum(map(len, messages[1:]))
    assert there_and_back(messages, [25] * 20) < 0.08 * plain
    noise = motion(501, wrench=False)
    assert there_and_back(noise, [25] * 20) < 0.16 * plain


ODD = np.array([
    0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324, 1e-300, -1e300, 1.7976931348623157e308, 1.0, 1.0 / 3.0, 2.0**-60,
])  # fmt: skip
RESTS = [b"", b"a", b"a" * 700, b"bc"]


def any_cycles(seed: int, count: int) -> list[bytes]:
    """Cycles with any words, bytes and rests: odd numbers, numbers of every size, steps, values that stay."""
    rng = np.random.default_rng(seed)
    columns = (LAYOUT.fixed_bytes - 12) // 8
    values = rng.standard_normal((count, columns)) * 10.0 ** rng.integers(-20, 20, columns)
    kind = rng.integers(0, 6, columns)
    values[:, kind == 1] = np.rint(values[:, kind == 1] * 2.0**10) / 2.0**10
    values[:, kind == 2] = rng.choice(ODD, (count, int((kind == 2).sum())))
    values[:, kind == 3] = np.cumsum(values[:, kind == 3], axis=0)
    values[:, kind == 4] = rng.integers(0, 2**60, int((kind == 4).sum())) / 1e9
    spots = rng.random((count, columns)) < rng.choice([0.0, 0.02, 0.5])
    values[spots] = rng.choice(ODD, int(spots.sum()))
    words = values.view(np.int64)
    words[:, kind == 5] = rng.integers(-(2**63), 2**63 - 1, (count, int((kind == 5).sum())))
    tails = rng.integers(0, 256, (count, 8), np.uint8)
    rests = [RESTS[k] for k in rng.integers(0, len(RESTS), count)]
    return [
        ENCAPSULATION + word.tobytes() + tail.tobytes() + rest
        for word, tail, rest in zip(words, tails, rests, strict=True)
    ]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_any_cycles_come_back_byte_for_byte(seed, sizes):
    there_and_back(any_cycles(seed, 1 + sum(sizes)), sizes)


def test_commands_that_come_and_go_are_holes_in_their_columns():
    coming, going = motion(60, grid=2.0**-23), motion(60, grid=2.0**-23, command=False)
    mixed = [going[k] if k % 7 == 3 or 20 <= k < 30 else coming[k] for k in range(60)]
    size = there_and_back(mixed, [9, 20, 30])
    assert size < 1.5 * there_and_back(coming, [9, 20, 30])
    # a stretch that begins without a command, and whose first block has just one
    late = [coming[k] if k >= 5 else going[k] for k in range(20)]
    there_and_back(late, [5, 14])
    nothing = [LAYOUT.pack(k, k, 0.0, (), None, Surroundings(), PLAIN) for k in range(3)]
    there_and_back([*nothing, coming[3]], [3])


def test_rests_are_spelled_out_once_and_again_when_there_were_too_many():
    def cycle(k: int, text: str) -> bytes:
        acted = (Record("timing", 0.0, 0.0, 0.0, "s", "", text),)
        decision = Decision(Verdict.LIMIT, np.zeros(3), np.zeros(3), False, State.RUNNING, acted)
        return LAYOUT.pack(k, k, k / 1e9, (), None, Surroundings(), decision)

    texts = [f"{k % 300} {'long' * 200 if k % 50 == 0 else ''}" for k in range(700)]
    there_and_back([cycle(k, text) for k, text in enumerate(texts)], [99, 500, 100])
    twice = there_and_back([cycle(k, str(k % 2)) for k in range(101)], [100])
    assert twice < 2000


def test_arms_of_one_and_of_many_joints():
    for joints in (1, 16):
        names = tuple(map(str, range(joints)))
        layout = Layout(names)
        decision = Decision(Verdict.PASS, np.zeros(joints), np.zeros(joints), False, State.RUNNING)
        messages = [layout.pack(k, k, k / 1e9, (), None, Surroundings(), decision) for k in range(40)]
        there_and_back(messages, [39], joints)


# -- blocks that were never written so --


def block_of(messages: list[bytes]) -> tuple[bytes, bytes]:
    return messages[0], BlockEncoder(messages[0], 3, DT).encode(messages[1:])


def refused(first: bytes, block: bytes) -> str:
    with pytest.raises(ValueError) as caught:
        BlockDecoder(first).decode(block)
    return str(caught.value)


def with_head(block: bytes, **changes: int) -> bytes:
    names = ("joints", "cycles", "checksum", "text", "packed", "period")
    fields = dict(zip(names, _HEAD.unpack_from(block), strict=True)) | changes
    return _HEAD.pack(*fields.values()) + block[_HEAD.size :]


def test_impossible_sizes_are_refused():
    first, block = block_of(motion(26))
    assert "block that cannot be read" in refused(first, block[:10])
    for changes in ({"cycles": 0}, {"cycles": 5000}, {"text": 1 << 30}, {"packed": 1 << 31}):
        assert refused(first, with_head(block, **changes)) == "a block with impossible sizes"
    for joints in (0, 65, 64):
        assert "another number of joints" in refused(first, with_head(block, joints=joints))
    _, _, _, text, packed, _ = _HEAD.unpack_from(block)
    shorter = _HEAD.size + packed
    assert refused(first, with_head(block, text=text - 1)) == "a block whose text is too short"
    assert refused(first, with_head(block, text=text + 1)) == "a block whose text is too short"
    assert refused(first, block[:shorter]) == "a block whose numbers are too short"
    assert refused(first, with_head(block, checksum=1)) == "a block whose checksum does not fit"
    decoder = BlockDecoder(first)
    decoder.decode(block)
    with pytest.raises(ValueError, match="another number of joints"):
        decoder.decode(with_head(block, joints=4))


def forged(change) -> tuple[bytes, bytes]:
    """A block whose text, before zstd, is passed through change."""
    first, block = block_of(motion(26))
    joints, cycles, checksum, size, packed, period = _HEAD.unpack_from(block)
    end = _HEAD.size + packed
    reader = zstandard.ZstdDecompressor().stream_reader(block[_HEAD.size : end])
    text = bytearray(reader.read(size))
    text = change(text) or text
    compressor = zstandard.ZstdCompressor().compressobj()
    data = compressor.compress(bytes(text)) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    head = _HEAD.pack(joints, cycles, checksum, len(text), len(data), period)
    return first, head + data + block[end:]


@pytest.mark.parametrize(("at", "value"), [(0, 3), (0, 1), (2, 6 << 2), (2, 5 << 2), (2, 0x20), (2, 0x40)])
def test_columns_of_unknown_kinds_are_refused(at, value):
    def change(text):
        text[at] = value

    assert refused(*forged(change)) == "a block with columns of an unknown kind"


def test_coders_that_there_are_not_are_refused():
    count = len(LAYOUT.dtype.names or ())
    coders = 2 * ((LAYOUT.fixed_bytes - 12) // 8)
    assert count
    for value in (65, 127, 0x80 + 63, 255):

        def change(text, value=value):
            text[coders] = value

        assert refused(*forged(change)) == "a block with columns of an unknown kind"


def test_numbers_of_impossible_lengths_are_refused():
    columns = (LAYOUT.fixed_bytes - 12) // 8

    def change(text):
        text[3 * columns : 3 * columns + 4] = b"\x7f\x80\x7f\x80"

    assert refused(*forged(change)) == "a block with numbers of more than 64 bits"


def test_a_text_that_ends_early_is_refused():
    assert refused(*forged(lambda text: text[:-1])) == "a block whose text is too short"
    assert refused(*forged(lambda text: text[:10])) == "a block whose text is too short"


def test_bytes_behind_a_block_or_its_text_are_refused():
    first, block = block_of(motion(26))
    assert refused(first, block + b"\0") == "a block with bytes behind its end"
    assert refused(*forged(lambda text: text + b"\0")) == "a block with bytes behind its text"


def test_one_long_rest_in_very_many_cycles_is_refused():
    long = Measured(("x" * 20_000,), np.zeros(1), np.zeros(1), 0.0)
    cycles = [LAYOUT.pack(k, k, 0.0, (), long, Surroundings(), PLAIN) for k in range(2000)]
    assert refused(*block_of(cycles)) == "a block with impossible sizes"


def test_a_rest_that_was_never_spelled_out_is_refused():
    _first, block = block_of(motion(26))
    _, cycles, *_ = _HEAD.unpack_from(block)

    def change(text):
        text[len(text) - cycles] = 99

    assert "cannot be read (list index out of range)" in refused(*forged(change))


def test_a_bomb_is_not_unpacked():
    first, block = block_of(motion(26))
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 30))
    assert len(bomb) < 1 << 17
    for size in (1000, 32 << 20):
        head = _HEAD.pack(3, 25, 0, size, len(bomb), DT)
        tracemalloc.start()
        refused(first, head + bomb + block)
        assert tracemalloc.get_traced_memory()[1] < 3 * (32 << 20)
        tracemalloc.stop()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_block_is_refused_or_gives_the_same_cycles(data):
    messages = motion(26)
    first, block = block_of(messages)
    damaged = bytearray(block)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = BlockDecoder(first).decode(bytes(damaged))
    except ValueError:
        return
    # Only the bytes of the head that nothing depends on can be another.
    assert zlib.crc32(b"".join(found)) == struct.unpack_from("<I", damaged, 4)[0]


def test_holes_of_a_column_without_any_number_stay_as_they_are():
    nan, inf = np.float64("nan"), np.float64("inf")
    history = np.full((cycle_blocks.HISTORY, 2), nan).view(np.int64)
    words = np.array([[nan, 1.0], [inf, nan], [nan, 3.0]]).view(np.int64)
    holes = np.array([[True, False], [False, True], [True, False]])
    filled = cycle_blocks._filled(history, words, holes)
    np.testing.assert_array_equal(filled[:, 0], words[:, 0])
    assert filled[1, 1].view(np.float64) == 2.0

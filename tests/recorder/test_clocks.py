"""System time against monotonic time."""

from types import SimpleNamespace

from robolearn.recorder import clocks

OFFSET_NS = 1_700_000_000_000_000_000
HELD_UP_NS = 80_000_000


def test_a_process_that_is_held_up_between_its_readings_sees_no_clock_that_was_set(monkeypatch):
    now_ns = 0
    pauses = iter([1000] * 3 + [HELD_UP_NS] + [1000] * 20)  # in the midst of the second pair of readings

    def monotonic_ns():
        nonlocal now_ns
        now_ns += next(pauses)
        return now_ns

    def time_ns():
        return OFFSET_NS + monotonic_ns()

    monkeypatch.setattr(clocks, "time", SimpleNamespace(monotonic_ns=monotonic_ns, time_ns=time_ns))
    assert clocks.system_offset_ns() == OFFSET_NS


def test_a_clock_that_is_set_shows(monkeypatch):
    before = clocks.system_offset_ns()
    system = clocks.time.time_ns
    monkeypatch.setattr(clocks.time, "time_ns", lambda: system() + 2_000_000_000)
    assert round((clocks.system_offset_ns() - before) / 1e8) == 20

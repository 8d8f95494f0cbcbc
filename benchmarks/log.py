"""Cost of the safety log: one cycle on the control thread, a sustained rate, and how fast a day of it is verified.

    python benchmarks/log.py [--seconds 20] [--hz 1000]

The load is paced by an absolute clock, as a control loop is. Prints; asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from robolearn.review.report import write_report
from robolearn.review.verify import verify
from robolearn.robots import load_robot
from robolearn.safety.log import SafetyLog
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import Command, Decision, Measured, Record, State, Surroundings, Verdict

DAY_S = 86_400


def sustained(
    directory: Path, seconds: float, hz: float
) -> tuple[SafetyLog, np.ndarray, float, float, float]:
    """Logs cycles at `hz`: the log, the cost of each [us], CPU shares of both processes, time to close [s]."""
    robot, profile = load_robot("fr3"), SafetyProfile.load("fr3")
    names, n = robot.joint_names, robot.dof
    log = SafetyLog.open(
        directory,
        robot=robot,
        profile=profile,
        session={"mode": "automatic", "period_s": 1.0 / hz},
        signing_key=directory.parent / "log.pem",
    )
    random = np.random.default_rng(0)
    noise = 1e-5 * random.standard_normal((4096, 2, n))
    acted = (Record("velocity", 2.7, 2.62, -0.08, "rad/s", "fr3.yaml", "too fast", names[0]),)
    cycles = int(seconds * hz)
    cost = np.zeros(cycles)
    writer, ours = psutil.Process(log.writer_pid), psutil.Process()
    cpu = [process.cpu_times() for process in (writer, ours)]
    begin = time.monotonic()
    for i in range(cycles):
        t = i / hz
        position, velocity = np.sin(t + np.arange(n)), np.cos(t + np.arange(n))
        command = Command(names, position, t, velocity)
        measured = Measured(names, position + noise[i % 4096, 0], velocity + noise[i % 4096, 1], t)
        limited = i % 50 == 0
        verdict = Verdict.LIMIT if limited else Verdict.PASS
        decision = Decision(verdict, position, velocity, False, State.RUNNING, acted if limited else (), 0.1)
        around = Surroundings(2.0, t)
        before = time.perf_counter_ns()
        log.cycle(t, command, measured, around, decision)
        cost[i] = (time.perf_counter_ns() - before) / 1e3
        wait = begin + (i + 1) / hz - time.monotonic()
        if wait > 0:
            time.sleep(wait)
    took = time.monotonic() - begin
    shares = []
    for process, before_cpu in zip((writer, ours), cpu, strict=True):
        now = process.cpu_times()
        shares.append((now.user + now.system - before_cpu.user - before_cpu.system) / took)
    before_close = time.monotonic()
    log.close()
    return log, cost, shares[0], shares[1], time.monotonic() - before_close


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--hz", type=float, default=1000.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "log"
        log, cost, writer_cpu, own_cpu, close_s = sustained(directory, arguments.seconds, arguments.hz)
        cycles, lost = log.counts["cycles"], log.counts["lost"]
        p50, p99, p999 = np.percentile(cost, [50, 99, 99.9])
        print(
            f"log.cycle, 7 joints: p50 {p50:.1f} us, p99 {p99:.1f} us, p99.9 {p999:.1f} us, max {cost.max():.0f} us"
        )
        print(f"{cycles} cycles at {arguments.hz:g} Hz, {lost} lost; close {close_s * 1e3:.0f} ms")
        print(
            f"CPU of one core: writer {100 * writer_cpu:.1f} %, this process with its load {100 * own_cpu:.1f} %"
        )
        verdict = verify(directory)
        size = sum(path.stat().st_size for path in directory.iterdir())
        per_cycle = size / cycles
        day_gb = per_cycle * arguments.hz * DAY_S / 1e9
        print(f"{size / 1e6:.1f} MB, {per_cycle:.0f} bytes a cycle, {day_gb:.1f} GB a day")
        events_rate, cycles_rate = verdict.events / verdict.events_s, verdict.cycles / verdict.trace_s
        day_events = verdict.events / arguments.seconds * DAY_S
        day_s = day_events / events_rate + arguments.hz * DAY_S / cycles_rate
        print(f"verify: {verdict.status}; {events_rate:,.0f} events/s, {cycles_rate:,.0f} cycles/s")
        print(f"  extrapolated: a day at {arguments.hz:g} Hz in {day_s:.0f} s")
        begin = time.monotonic()
        page = write_report(directory, Path(folder) / "report.html", verdict=verdict)
        print(f"report: {time.monotonic() - begin:.1f} s, {page.stat().st_size / 1e6:.2f} MB")
        head = json.loads((directory / "head.json").read_text())
        print(
            f"head to keep elsewhere: session {head['session_id'][:8]}, seq {head['seq']}, {head['hash'][:12]}"
        )


if __name__ == "__main__":
    main()

"""Cost of the safety log: one cycle on the control thread, a sustained rate, and how fast a day of it is verified.

    python benchmarks/log.py [--seconds 20] [--hz 1000] [--kills 10]

The load is paced by an absolute clock, as a control loop is. Then control process and log writer are killed at
random moments, and what was lost is measured. Prints; asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil

from robolearn.recorder.cycle_codec import Layout
from robolearn.recorder.safety_log import SafetyLog
from robolearn.review.replay import cycles
from robolearn.review.report import write_report
from robolearn.review.verify import verify
from robolearn.robots import load_robot
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import Command, Decision, Measured, Record, State, Surroundings, Verdict

DAY_S = 86_400


class Load:
    """A log, and cycles for it as a monitor would give them: every fiftieth limited, every position new."""

    def __init__(self, directory: Path, hz: float):
        self.robot, profile = load_robot("fr3"), SafetyProfile.load("fr3")
        self.names, n = self.robot.joint_names, self.robot.dof
        self.hz, self.number, self._axis = hz, 0, np.arange(n)
        self.log = SafetyLog.open(
            directory,
            robot=self.robot,
            profile=profile,
            session={"mode": "automatic", "period_s": 1.0 / hz},
            signing_key=directory.parent / "log.pem",
        )
        self._noise = 1e-5 * np.random.default_rng(0).standard_normal((4096, 2, n))
        self._acted = (Record("velocity", 2.7, 2.62, -0.08, "rad/s", "fr3.yaml", "too fast", self.names[0]),)

    def cycle(self, now_s: float) -> float:
        """Logs one more cycle; what that took, us."""
        i, t = self.number, self.number / self.hz
        self.number += 1
        position, velocity = np.sin(t + self._axis), np.cos(t + self._axis)
        noise = self._noise[i % 4096]
        command = Command(self.names, position, now_s, velocity)
        measured = Measured(self.names, position + noise[0], velocity + noise[1], now_s)
        limited = i % 50 == 0
        verdict = Verdict.LIMIT if limited else Verdict.PASS
        acted = self._acted if limited else ()
        decision = Decision(verdict, position, velocity, False, State.RUNNING, acted, 0.1)
        around = Surroundings(2.0, now_s)
        before = time.perf_counter_ns()
        self.log.cycle(now_s, [command], measured, around, decision)
        return (time.perf_counter_ns() - before) / 1e3


def sustained(
    directory: Path, seconds: float, hz: float
) -> tuple[SafetyLog, np.ndarray, float, float, float]:
    """Logs cycles at `hz`: the log, the cost of each [us], CPU shares of both processes, time to close [s]."""
    load = Load(directory, hz)
    cost = np.zeros(int(seconds * hz))
    writer, ours = psutil.Process(load.log.writer_pid), psutil.Process()
    cpu = [process.cpu_times() for process in (writer, ours)]
    begin = time.monotonic()
    for i in range(len(cost)):
        cost[i] = load.cycle(i / hz)
        wait = begin + (i + 1) / hz - time.monotonic()
        if wait > 0:
            time.sleep(wait)
    took = time.monotonic() - begin
    shares = []
    for process, before_cpu in zip((writer, ours), cpu, strict=True):
        now = process.cpu_times()
        shares.append((now.user + now.system - before_cpu.user - before_cpu.system) / took)
    before_close = time.monotonic()
    load.log.close()
    return load.log, cost, shares[0], shares[1], time.monotonic() - before_close


def log_until_killed(directory: Path, hz: float) -> None:
    """The process that is killed: tells its log writer's process id, then logs for ever."""
    load = Load(directory, hz)
    print(load.log.writer_pid, flush=True)
    due = time.monotonic()
    while True:
        load.cycle(time.monotonic())
        due += 1.0 / hz
        time.sleep(max(0.0, due - time.monotonic()))


def killed(directory: Path, hz: float, after_s: float) -> tuple[float, str]:
    """Kills control process and log writer at once, after_s after both are up: what was lost [ms], the verdict."""
    command = [sys.executable, __file__, "--until-killed", str(directory), "--hz", str(hz)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as control:
        assert control.stdout is not None
        writer = int(control.stdout.readline())
        time.sleep(after_s)
        os.kill(writer, signal.SIGKILL)
        control.kill()
        at = time.monotonic()
    last = max(cycle.now_s for cycle in cycles(directory, Layout(load_robot("fr3").joint_names)))
    return 1e3 * (at - last), verify(directory).status


def sizes(folder: Path, seconds: float) -> None:
    """What a cycle of realistic sessions takes, beside the same cycles plain."""
    from benchmarks import log_session

    kinds = {
        "as the nodes record it": log_session.Data(effort_noise_nm=0.0),
        "with efforts": log_session.Data(),
        "with efforts and wrench": log_session.Data(force_noise_n=0.2),
        "noise 5e-4 rad, 1e-2 rad/s, efforts": log_session.Data(5e-4, 1e-2),
        "commands on no grid, efforts": log_session.Data(commands_on_grid=False),
        "no grid at all": log_session.Data(
            effort_noise_nm=0.0, measured_on_grid=False, commands_on_grid=False
        ),
    }
    print(
        f"{'realistic session at 500 Hz, ' + str(seconds) + ' s':44} {'B/cycle':>8} {'GB/day':>7} {'ratio':>6}"
    )
    for k, (name, data) in enumerate(kinds.items()):
        directory = folder / f"session{k}"
        layout = log_session.record(directory, seconds, data).layout
        count = round(seconds * log_session.HZ)
        trace = sum(path.stat().st_size for path in directory.glob("trace-*")) / count
        day_gb = trace * log_session.HZ * DAY_S / 1e9
        print(f"{name:44} {trace:8.1f} {day_gb:7.2f} {trace / layout.fixed_bytes:6.3f}")


def reviewed(folder: Path, seconds: float) -> None:
    """What a review of a realistic session takes, beside the time that was recorded: the command, on one core."""
    from benchmarks import log_session

    log_session.record(folder / "log", seconds, log_session.Data(effort_noise_nm=0.0))
    command = [
        sys.executable,
        "-m",
        "robolearn",
        "review",
        str(folder / "log"),
        "-o",
        str(folder / "report.html"),
    ]
    cores = sorted(os.sched_getaffinity(0))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        os.sched_setaffinity(0, cores[:1])
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    finally:
        os.sched_setaffinity(0, cores)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"review of {seconds:g} s at 500 Hz, command and report: {took:.1f} s of one core, {took / seconds:.3f} of the "
        f"recorded time; {after.ru_maxrss / 1024:.0f} MiB at most"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--hz", type=float, default=1000.0)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--session-seconds", type=float, default=12.0)
    parser.add_argument("--review-seconds", type=float, default=60.0, help="of the session that is reviewed")
    parser.add_argument("--review-only", action="store_true", help="measure the review alone")
    parser.add_argument("--until-killed", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.until_killed is not None:
        log_until_killed(arguments.until_killed, arguments.hz)
    with tempfile.TemporaryDirectory() as folder:
        reviewed(Path(folder), arguments.review_seconds)
    if arguments.review_only:
        return
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "log"
        log, cost, writer_cpu, own_cpu, close_s = sustained(directory, arguments.seconds, arguments.hz)
        count, lost = log.counts["cycles"], log.counts["lost"]
        p50, p99, p999 = np.percentile(cost, [50, 99, 99.9])
        print(
            f"log.cycle, 7 joints: p50 {p50:.1f} us, p99 {p99:.1f} us, p99.9 {p999:.1f} us, max {cost.max():.0f} us"
        )
        print(f"{count} cycles at {arguments.hz:g} Hz, {lost} lost; close {close_s * 1e3:.0f} ms")
        print(
            f"CPU of one core: writer {100 * writer_cpu:.1f} %, this process with its load {100 * own_cpu:.1f} %"
        )
        verdict = verify(directory)
        size = sum(path.stat().st_size for path in directory.iterdir())
        per_cycle = size / count
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
        moments = np.random.default_rng(0).uniform(0.3, 1.5, arguments.kills)
        ends = [
            killed(Path(folder) / f"killed{k}", arguments.hz, float(after)) for k, after in enumerate(moments)
        ]
        sizes(Path(folder), arguments.session_seconds)
    if ends:
        statuses = ", ".join(f"{count} {status}" for status, count in Counter(s for _, s in ends).items())
        losses = [loss for loss, _ in ends]
        print(
            f"killed {len(ends)} times: the last {np.median(losses):.0f} ms lost in the middle case, "
            f"{max(losses):.0f} ms at most; {statuses}"
        )


if __name__ == "__main__":
    main()

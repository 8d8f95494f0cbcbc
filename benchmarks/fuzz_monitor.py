"""Fuzz the safety monitor against the independent checker: `python benchmarks/fuzz_monitor.py --cycles 10000000`.

Adversarial, borderline and good streams go in; every position that comes out, and a share of the braking motions
that the monitor keeps ready, is judged by `slow_checker` in `tests/safety`: for every robot and mode, under the
shipped profile and under variants in which every rule comes to act. Exit status 1 if anything was found. The same
seed gives the same run.
"""

from __future__ import annotations

import argparse
import multiprocessing
import queue
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "safety"))


def work(job, reports):
    """One process: one monitor, one adversary."""
    from adversary import fuzz
    from slow_checker import SlowChecker
    from variants import monitor_of, profile_data

    from robolearn.robots import load_robot

    robot, mode, variant, period_s, cycles, seed = job
    monitor = monitor_of(robot, mode, variant, period_s)
    checker = SlowChecker(load_robot(robot), profile_data(robot, variant), mode, period_s)
    outcome = fuzz(monitor, checker, cycles, seed, progress=lambda n, found: reports.put((n, found)))
    reports.put((job, outcome))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=100_000, help="in all, over every robot, mode, variant")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--robots", nargs="+", default=["fr3", "ur5e", "iiwa14"])
    parser.add_argument("--modes", nargs="+", default=["automatic", "collaborative", "manual_reduced"])
    parser.add_argument(
        "--variants",
        nargs="+",
        default=["shipped", "cell", "contact", "contact_energy", "contact_iso", "torque_rate", "torque"],
    )
    parser.add_argument("--period", type=float, default=0.002, help="s")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    kinds = [
        (robot, mode, variant)
        for robot in options.robots
        for mode in options.modes
        for variant in options.variants
    ]
    share = -(-options.cycles // len(kinds))
    jobs = [(*kind, options.period, share, options.seed + k) for k, kind in enumerate(kinds)]
    context = multiprocessing.get_context("spawn")
    reports, running, done, found = context.Queue(), [], 0, 0
    outcomes, began = [], time.monotonic()
    while jobs or running:
        while jobs and len(running) < options.processes:
            process = context.Process(target=work, args=(jobs.pop(0), reports))
            process.start()
            running.append(process)
        try:
            first, second = reports.get(timeout=1.0)
        except queue.Empty:
            dead = [process for process in running if not process.is_alive() and process.exitcode]
            if dead:
                print(f"\na process ended with status {dead[0].exitcode}")
                return 1
            running = [process for process in running if process.is_alive()]
            continue
        if isinstance(first, tuple):
            outcomes.append((first, second))
            found += len(second.violations)
            running = [process for process in running if process.is_alive()]
        else:
            done += first
            rate = done / (time.monotonic() - began)
            left = (options.cycles - done) / rate
            print(
                f"\r{done:,} of {options.cycles:,} cycles, {rate:,.0f}/s, {left:.0f} s left, {found} found ",
                end="",
            )
            sys.stdout.flush()
    return report(outcomes, done, time.monotonic() - began)


def report(outcomes, done, seconds):
    counts, rules = Counter(), Counter()
    print(f"\n\n{done:,} cycles in {seconds:.0f} s")
    for job, outcome in sorted(outcomes, key=lambda each: each[0]):
        counts.update(outcome.counts)
        rules.update(outcome.rules)
        shares = ", ".join(f"{name} {outcome.counts[name]:,}" for name in ("PASS", "LIMIT", "STOP", "start"))
        print(
            f"{job[0]:8} {job[1]:15} {job[2]:12} seed {job[5]}: {shares}, "
            f"{outcome.promises:,} braking motions, violations {len(outcome.violations)}"
        )
        for text in outcome.violations[:10]:
            print(f"    {text}")
    print("rules that acted: " + ", ".join(f"{name} {count:,}" for name, count in rules.most_common()))
    violations = sum(len(outcome.violations) for _, outcome in outcomes)
    print(f"{counts['PASS']:,} passed bit-identical; {violations} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())

"""Drives a served arm through goals and faults: runs the demo driver node and does what it asks for.

result = exercise(serving, goals, on_event=print)
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from robolearn.deploy.serving import Serving, ServingError

Event = dict[str, Any]


def exercise(
    serving: Serving,
    goals: Sequence[Sequence[float]],
    *,
    faults: bool = True,
    on_event: Callable[[Event], None] = lambda _: None,
    timeout_s: float = 300.0,
) -> dict[str, Any]:
    """Send goals, [3] m in the base frame, one after another, then inject the faults. Returns the driver's result.

    The nodes must have been started, the simulated arm without its own person sensor (`person_sensor=False`).
    on_event is called with each event as it happens: started, goal, fault, recovered, unexpected_stop, error.
    Raises ServingError where the driver or a node ends, or time runs out.
    """
    serving.wait_until_active()
    goals_file, out = serving.run_dir / "goals.json", serving.run_dir / "exercise.json"
    goals_file.write_text(json.dumps([[float(x) for x in goal] for goal in goals]), encoding="utf-8")
    out.unlink(missing_ok=True)
    arguments = ["--robot", serving.robot, "--goals", str(goals_file), "--out", str(out)]
    if not faults:
        arguments.append("--no-faults")
    log = serving.run_dir / "demo_driver.out"
    with log.open("w", encoding="utf-8") as errors:
        driver = subprocess.Popen(
            [sys.executable, "-m", "robolearn_ros.demo_driver", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=serving.environment,
            text=True,
        )
    deadline = time.monotonic() + timeout_s
    assert driver.stdin is not None
    assert driver.stdout is not None
    try:
        for line in driver.stdout:
            event = json.loads(line)
            if "request" in event:
                driver.stdin.write(json.dumps(_carry_out(serving, event)) + "\n")
                driver.stdin.flush()
            else:
                on_event(event)
            if time.monotonic() > deadline:
                raise ServingError(f"The test motion did not end within {timeout_s:g} s.")
        driver.wait(10.0)
    finally:
        if driver.poll() is None:
            driver.kill()
        driver.communicate()
    if not out.is_file():
        words = log.read_text(encoding="utf-8").strip().splitlines()[-1:] or ["it wrote nothing"]
        raise ServingError(f"The demo driver ended with status {driver.returncode}: {words[0]}")
    return json.loads(out.read_text(encoding="utf-8"))


def _carry_out(serving: Serving, event: Event) -> dict[str, int]:
    """Kill or start a node for the driver; tells when that was."""
    now_ns = time.monotonic_ns()
    if event["request"] == "kill":
        serving.kill(event["node"])
    else:
        serving.restart(event["node"])
    return {"monotonic_ns": now_ns}

"""pick_cube with real grippers' models over the real ROS 2 nodes: how many episodes succeed.

    python -m benchmarks.grippers_ros [--grippers franka_hand ...] [--episodes 100] [--rate 250] [--output FOLDER]

Each episode starts `sim_node` with the task's scene and the gripper's simulated driver, `safety_node`, `gripper_node`
and `policy_node` as processes of their own, as `robolearn serve` does; only the safety log and the brake guard are off.
Its cube, goal and arm begin as in the episode of that number in `grippers.py`. It succeeds where the cube is within the
task's tolerance of the goal for the last half second of the task's time, from the monitor's start on. A stop is a
failure, apart from one because the machine was late (a state, command or person sensor too old, a gap in the cycles):
the episode is then played again, and that is counted.

Every episode is kept in FOLDER as it ends, and the same command goes on where an earlier one was ended. An episode
takes 10 to 20 s. `--summary` measures nothing, and prints what is there. The policy is the task's expert as a bundle.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "ros"))

LATE = ("state_age", "command_age", "person_age", "cycle_gap")
TRIES = 8
FIRST_SEED = 1_000_000  # of grippers.py
READY_S = 90.0
JUDGED_S = 0.5


@dataclass(frozen=True)
class Outcome:
    """One episode. late: how often it was played again.  stop: the rule of a stop that counts; empty for none.

    distance_m: of the cube from the goal, the largest in the last half second, or at a stop.
    """

    episode: int
    success: bool
    distance_m: float
    stop: str
    late: int
    commands: int
    rate_hz: float
    bundle: str


def read_outcomes(file: Path, rate_hz: float, bundle: str) -> list[Outcome]:
    """What was measured before. Raises ConfigError where that was at another rate or with another bundle."""
    from robolearn.errors import ConfigError

    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    # A line that was being written when the process was killed is measured again.
    found = [Outcome(**json.loads(line)) for line in lines if line.endswith("\n")]
    if any((one.rate_hz, one.bundle) != (rate_hz, bundle) for one in found):
        raise ConfigError(
            f"{file} was measured at another rate or with another bundle. Choose another --output, or the same --rate."
        )
    return found


def keep(file: Path, outcome: Outcome) -> None:
    """Add an episode to a file; what is left of a line that was cut short goes."""
    whole = file.read_text(encoding="utf-8") if file.is_file() else ""
    whole = whole[: whole.rfind("\n") + 1] + json.dumps(asdict(outcome)) + "\n"
    partial = file.with_suffix(".partial")
    partial.write_text(whole, encoding="utf-8")
    partial.replace(file)


def summary(robot: str, found: Sequence[Outcome]) -> str:
    """One line: successes with their interval, what failed, how often the machine was late."""
    from robolearn.learn.evaluation import wilson

    rate = wilson(robot, sum(one.success for one in found), len(found))
    failed = [f"{one.episode} ({one.stop or f'{one.distance_m:.2f} m'})" for one in found if not one.success]
    hz = f" at {found[0].rate_hz:g} Hz" if found else ""
    commands = f"{np.mean([one.commands for one in found]):.1f}" if found else "no"
    return (
        f"{robot}/pick_cube over ROS 2{hz}: {rate.successes} of {rate.episodes} succeed, 95 % interval {rate.low:.2f} "
        f"to {rate.high:.2f}; {commands} commands to the gripper in an episode; failed: {', '.join(failed) or 'none'}; "
        f"played again because the machine was late: {sum(one.late for one in found)}"
    )


class Cell:
    """One gripper's task and bundle, and what plays its episodes."""

    def __init__(self, name: str, rate_hz: float, output: Path):
        import jax
        import ros_standin

        from robolearn.deploy.serving import free_domain
        from robolearn.env.task import load_task
        from robolearn.policy.bundle import PolicyBundle

        self.robot, self.rate_hz = f"fr3+{name}", rate_hz
        self._task: Any = load_task(f"{self.robot}/pick_cube")
        self._reset, self._jax = jax.jit(self._task.reset), jax
        self.file = output / f"{name}.jsonl"
        self._path = (
            output / f"{self.robot}-pick.robolearn"
        )  # its digest has the key in it: kept for later calls
        if not self._path.is_file():
            with tempfile.TemporaryDirectory(dir=output) as folder:
                shutil.move(ros_standin.export_picking(Path(folder), self.robot).path, self._path)
        self.bundle = PolicyBundle.load(self._path).digest
        self._domain = free_domain()

    def play(self, number: int) -> Outcome:
        """One episode, again as long as only the machine was late. Raises ServingError where it always was."""
        from robolearn.deploy.serving import ServingError

        goal = self._start_goal(number)
        for late in range(TRIES):
            with tempfile.TemporaryDirectory(prefix="grippers-ros-") as folder:
                stop, distance, success, commands = self._once(number, goal, Path(folder))
            if stop not in LATE:
                return Outcome(
                    number, success, round(distance, 4), stop, late, commands, self.rate_hz, self.bundle
                )
            print(f"  {self.robot}, episode {number}: {stop}, played again", file=sys.stderr, flush=True)
        raise ServingError(f"{self.robot}, episode {number}: the machine was late {TRIES} times in a row.")

    def _start_goal(self, number: int) -> np.ndarray:
        start = self._jax.device_get(self._reset(self._jax.random.key(FIRST_SEED + number)))
        return np.asarray(start.goal["goal_position"], float)

    def _once(self, number: int, goal: np.ndarray, folder: Path) -> tuple[str, float, bool, int]:
        """The rule of a stop, the distance in m, whether it succeeded, commands to the gripper."""
        import rclpy

        from robolearn.deploy.serving import Serving

        with Serving(folder, robot=self.robot, rate_hz=self.rate_hz, domain_id=self._domain) as serving:
            serving.start_sim(task="pick_cube", seed=FIRST_SEED + number, mock_gripper=True)
            serving.start_safety(log_dir=None, brake_guard=False)
            serving.start("gripper_node", robot=self.robot)
            serving.start_policy(self._path)
            rclpy.init(domain_id=self._domain)
            try:
                stop, distance, success = self._watch(serving, goal)
            finally:
                rclpy.try_shutdown()
            serving.stop()
            return stop, distance, success, serving.statistics()["gripper_node"]["sent"]

    def _watch(self, serving: Any, goal: np.ndarray) -> tuple[str, float, bool]:
        from geometry_msgs.msg import PoseStamped
        from robolearn_ros.messages import Polled, qos
        from robolearn_ros.observer import Observer

        observer = Observer(self._task.robot)
        poses = Polled(observer.node, PoseStamped, "robolearn/pose/cube", qos(50))
        observer.goal, observer.publishes_person = goal, False
        began_s, config = self._begin(serving, observer), self._task.config
        poses.take()
        seen: list[tuple[float, float]] = []
        while time.monotonic() < began_s + config.episode_s and observer.state == "running":
            observer.step()
            for message in poses.take():
                at = message.pose.position
                seen.append((time.monotonic(), float(np.linalg.norm(goal - [at.x, at.y, at.z]))))
        serving.check()
        last = [far for at_s, far in seen if at_s > began_s + config.episode_s - JUDGED_S]
        # The decision that began the stop names its rule.
        stops = [
            one.rule for one in observer.told if one.time_s > began_s and one.state in ("stopping", "stopped")
        ]
        farthest = max(last, default=seen[-1][1] if seen else float("nan"))
        return stops[0] if stops else "", farthest, bool(last) and not stops and farthest < config.tolerance_m

    def _begin(self, serving: Any, observer: Any) -> float:
        """Start the arm once everything is there; when that was, s."""
        from robolearn.deploy.serving import ServingError

        end, said = time.monotonic() + READY_S, "the policy is not active"
        while True:
            serving.check()
            if time.monotonic() > end:
                raise ServingError(f"{self.robot}: no start within {READY_S:g} s: {said}")
            for _ in range(10):
                observer.step()
            active = "active: " in serving.nodes["policy_node"].output.read_text(encoding="utf-8")
            if not active or observer.state not in ("holding", "stopped"):
                continue
            asked_s = time.monotonic()
            verb = "reset" if observer.state == "stopped" else "start"
            accepted, said = observer.call(verb)
            if accepted and verb == "start":
                return self._first_of_run(observer, asked_s)

    @staticmethod
    def _first_of_run(observer: Any, since_s: float) -> float:
        """When the arm was first not held any more after a start, s."""

        def found() -> list[float]:
            return [one.time_s for one in observer.told if one.time_s > since_s and one.state != "holding"]

        observer.wait("the start", lambda: bool(found()), 5.0)
        return found()[0]


def measure(cell: Cell, number: int) -> None:
    """Play an episode, and keep it, unless it is kept already."""
    found = read_outcomes(cell.file, cell.rate_hz, cell.bundle)
    if any(one.episode == number for one in found):
        return
    began, outcome = time.monotonic(), cell.play(number)
    keep(cell.file, outcome)
    said = (
        "succeeds" if outcome.success else outcome.stop or f"fails, {outcome.distance_m:.2f} m from the goal"
    )
    print(
        f"  {cell.robot}, episode {number}: {said}; {outcome.success + sum(one.success for one in found)} of "
        f"{len(found) + 1} succeed ({time.monotonic() - began:.0f} s)",
        file=sys.stderr,
        flush=True,
    )


def main() -> int:
    import built_interfaces

    from robolearn.errors import RobolearnError
    from robolearn.robots import gripper_names

    manufacturers = [name for name in gripper_names() if name != "parallel"]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--grippers", nargs="+", default=manufacturers, choices=manufacturers)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--rate", type=float, default=250.0, help="of commands and physics, Hz")
    parser.add_argument("--output", type=Path, default=Path("runs/grippers_ros"))
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="after which no further episode begins"
    )
    parser.add_argument("--summary", action="store_true", help="only print what is there")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    try:
        if not options.summary:
            end = time.monotonic() + 60.0 * options.minutes
            built_interfaces.install_interfaces()
            cells = [Cell(name, options.rate, options.output) for name in options.grippers]
            for number in range(options.episodes):  # in turn: a part of the time then gives a part of each
                for cell in cells:
                    if time.monotonic() < end:
                        measure(cell, number)
        for name in options.grippers:
            file = options.output / f"{name}.jsonl"
            lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
            print(summary(f"fr3+{name}", [Outcome(**json.loads(line)) for line in lines]), flush=True)
    except RobolearnError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted. The same command goes on from here.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

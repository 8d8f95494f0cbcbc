"""pick_cube with real grippers' models: how many episodes succeed over the way that such a gripper is commanded.

    python benchmarks/grippers.py [--grippers franka_hand ...] [--episodes 100] [--rate 500] [--bundle FILE]

What the nodes run, in one process and without ROS 2: the policy's graph and its command stream at `--rate` Hz
(`PolicyDriver`), single commands for the gripper (`GripperPlan`), a driver that takes 20 ms for a call and one command
at a time, the hand that the simulated driver has (`SimulatedHand`), the opening from the finger joints at 30 Hz.
Without a bundle the policy is the task's expert, written for what a policy observes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import mujoco
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "ros"))

LOOK_HZ, STATE_HZ, POSE_HZ = 50.0, 30.0, 50.0
CALL_S = 0.02  # from a call to the gripper's first motion, and from its end to the answer
GRASPING = ("franka", "schunk")
GOAL_PERIOD_S = 0.1  # of a gripper action controller, see gripper_action.PERIOD_S


class Driver:
    """One gripper between the policy's openings and the fingers, on the clock of the physics."""

    def __init__(self, gripper: Any, width_m: float):
        from robolearn_ros.gripper_driver import finger_width, interface_of
        from robolearn_ros.gripper_plan import GripperPlan
        from robolearn_ros.simulated_hand import SimulatedHand

        self._ros = interface_of(gripper)
        self._grasps = self._ros.driver in GRASPING
        self._plan = GripperPlan(gripper.width_max_m, grasps=self._grasps)
        self._fingers = finger_width(gripper)
        self.hand = SimulatedHand(width_m, gripper.width_max_m, gripper.file.kp_n_m)
        self._free_s, self._waiting, self._under_way, self.sent = 0.0, None, None, 0

    def look(self, now_s: float, target_m: float, measured_m: float) -> None:
        """What the gripper node does at each look."""
        from robolearn_ros.gripper_plan import Grasp, Move

        if now_s < self._free_s or self._waiting is not None:
            return
        if self._grasps and self._under_way is not None and not self.hand.outcome:
            motion = self._plan.next(target_m, measured_m, now_s)
            if (
                motion is not None
                and type(motion) is not type(self._under_way)
                and self._ros.driver == "franka"
            ):
                self.hand.stop()
                self._free_s = now_s + CALL_S
            return
        if isinstance(self._under_way, Move) and self.hand.outcome == "blocked":
            self._plan.failed()
        motion = self._plan.next(target_m, measured_m, now_s)
        if motion is None:
            return
        self._plan.sent(motion, now_s)
        self.sent += 1
        self._waiting, self._under_way = (now_s + CALL_S, motion), motion
        self._free_s = now_s + (CALL_S if self._grasps else GOAL_PERIOD_S)
        self._is_grasp = isinstance(motion, Grasp)

    def step(self, now_s: float, dt_s: float, measured_m: float) -> float:
        """The drive's set point, m."""
        from robolearn_ros.gripper_plan import Move

        if self._waiting is not None and now_s >= self._waiting[0]:
            motion = self._waiting[1]
            width = motion.width_m if isinstance(motion, Move) else 0.0
            holds = not isinstance(motion, Move) or not self._grasps
            self.hand.begin(width, self._ros.speed_m_s, self._ros.force_n, grasp=holds)
            self._waiting = None
        return self.hand.step(dt_s, measured_m)

    def opening(self) -> float:
        """As the finger joints tell it."""
        position = self._fingers.position(self.hand.measured_m)
        width = self._fingers.width_m(self._fingers.joints, [position] * len(self._fingers.joints))
        assert width is not None
        return width


def episode(arm: Any, task: Any, start: Any, runtime: Any, rate_hz: float) -> tuple[bool, float, int]:
    """One episode: whether it succeeded, the last distance in m, and how many commands the gripper got."""
    from robolearn_ros.driver import Go, PolicyDriver

    begin(arm, task, start)
    driver = PolicyDriver(runtime, rate_hz)
    gripper = Driver(task.robot.gripper, arm.gripper_width_m)
    goal = np.asarray(start.goal["goal_position"], float)
    values: dict[str, Any] = {"goal.position": goal}
    steps, inside, distance = round(task.config.episode_s * rate_hz), True, np.inf

    def every(index: int, per_s: float) -> bool:
        return index % round(rate_hz / per_s) == 0

    for index in range(steps):
        now = index / rate_hz
        values["joint_state.position"], values["joint_state.velocity"] = (
            arm.position_rad.copy(), arm.velocity_rad_s.copy(),
        )  # fmt: skip
        if every(index, STATE_HZ):
            values["gripper.width"] = np.array([gripper.opening()])
        if every(index, POSE_HZ):
            for name, (position, turn) in arm.objects().items():
                values[f"pose.{name}.position"], values[f"pose.{name}.orientation"] = (
                    position.copy(),
                    turn.copy(),
                )
        # Held first, as every start is: the stream then begins where the arm stands.
        go = Go.HOLD if index < driver.ratio else Go.RUN
        target, _ = driver.command(index, go, arm.target_rad, values)
        assert not driver.problem, driver.problem
        arm.command(target)
        driver.advance(index, go, values)
        if driver.gripper_width_m is not None and every(index, LOOK_HZ):
            gripper.look(now, driver.gripper_width_m, float(values["gripper.width"][0]))
        arm.command_gripper(gripper.step(now, 1.0 / rate_hz, arm.gripper_width_m))
        arm.step()
        distance = float(np.linalg.norm(arm.objects()["cube"][0] - goal))
        if index >= steps - 0.5 * rate_hz:
            inside &= distance < task.config.tolerance_m
    return inside, distance, gripper.sent


def begin(arm: Any, task: Any, start: Any) -> None:
    """Put the arm and its scene to the start of an episode."""
    from robolearn.robots.gripper import FINGERS

    mujoco.mj_resetData(arm.model, arm.data)
    joints = dict(zip(task.robot.joint_names, np.asarray(start.arm), strict=True)) | dict(start.joints)
    joints |= {name: float(start.width) / 2 for name in FINGERS}
    for name, value in joints.items():
        arm.data.joint(name).qpos[:] = np.asarray(value)
    mujoco.mj_forward(arm.model, arm.data)
    arm.command(arm.position_rad.copy())
    arm.command_gripper(arm.gripper_width_m)


def measure(name: str, seeds: range, rate_hz: float, bundle: Path | None, folder: Path) -> int:
    """Episodes that succeeded with one gripper."""
    import ros_standin
    from robolearn_ros.simulation import Arm

    from robolearn.env.task import load_task
    from robolearn.policy.bundle import PolicyBundle
    from robolearn.policy.runtime import PolicyRuntime

    robot = f"fr3+{name}"
    task = load_task(f"{robot}/pick_cube")
    loaded = PolicyBundle.load(bundle) if bundle else ros_standin.export_picking(folder, robot)
    reset, runtime = jax.jit(task.reset), PolicyRuntime(loaded)
    arm = Arm(task.robot, 1.0 / rate_hz, "pick_cube")
    began, found = time.monotonic(), []
    for seed in seeds:
        found.append(
            episode(arm, task, jax.device_get(reset(jax.random.key(1_000_000 + seed))), runtime, rate_hz)
        )
        so_far = sum(inside for inside, _, _ in found)
        print(f"  {robot}, episode {seed}: {so_far} of {len(found)}", file=sys.stderr, flush=True)
    succeeded = sum(inside for inside, _, _ in found)
    missed = ", ".join(f"{d:.2f}" for inside, d, _ in found if not inside) or "none"
    print(
        f"{robot}/pick_cube at {rate_hz:g} Hz: {succeeded} of {len(seeds)} succeed; "
        f"{np.mean([sent for _, _, sent in found]):.1f} commands to the gripper in an episode; "
        f"distances in m where it failed: {missed} ({time.monotonic() - began:.0f} s)",
        flush=True,
    )
    return succeeded


def main() -> None:
    from robolearn.robots import gripper_names

    manufacturers = [name for name in gripper_names() if name != "parallel"]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--grippers", nargs="+", default=manufacturers, choices=manufacturers)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first episode, to measure in parts"
    )
    parser.add_argument("--rate", type=float, default=500.0, help="of commands and physics, Hz")
    parser.add_argument("--bundle", type=Path, help="of one gripper; default: the task's expert")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.episodes)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.grippers:
            measure(name, seeds, options.rate, options.bundle, Path(folder))


if __name__ == "__main__":
    main()

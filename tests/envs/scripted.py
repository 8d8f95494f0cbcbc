"""Policies that solve the tasks, to show that they can be solved: the experts, and scripts for what has none.

They act through the same action space as a learned policy. Arrays are [N, ...] over environments.
"""

import jax
import numpy as np
from robolearn_envs.table import solve_ik


def play(env, step, state, policy):
    """One episode in every environment from its first state; the share that succeeds."""
    policy.start(env)
    ended, succeeded = np.zeros(env.num_envs, bool), np.zeros(env.num_envs, bool)
    for _ in range(env.episode_steps):
        readings = {name: np.asarray(value) for name, value in env.readings(state.physics).items()}
        goal = {name: np.asarray(value) for name, value in state.goal.items()}
        state = step(state, policy.act(readings, goal, state.memory))
        succeeded |= np.asarray(state.success) & ~ended
        ended |= np.asarray(state.done)  # some fail before the time is over, and begin anew
    assert ended.all()
    return float(np.mean(succeeded))


class Expert:
    """The task's own expert."""

    def start(self, env):
        self.expert = jax.jit(jax.vmap(env.task.expert))

    def act(self, readings, goal, memory):
        return self.expert(readings, memory, goal)


class Script:
    """A policy written here, for tasks that have no expert."""

    def start(self, env):
        self.env = env


def rotations(quat):
    """Rotations [N, 3, 3] of quaternions [N, 4] (w, x, y, z)."""
    w, x, y, z = quat.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


class ReachPoseScript(Script):
    """Inverse kinematics once, then straight there in joint space."""

    joints = None

    def act(self, measured, goal, memory):
        if self.joints is None:
            turns = rotations(goal["goal_quat"])
            pairs = zip(goal["goal_position"], turns, strict=True)
            self.joints = np.array([self.solve(position, turn) for position, turn in pairs])
        way = self.joints - np.asarray(memory.command_position)
        return np.clip(4.0 * way / self.env.task.action.velocity_max_rad_s, -1.0, 1.0).astype(np.float32)

    def solve(self, position, rotation):
        robot, rng = self.env.task.robot, np.random.default_rng(0)
        start = np.array(robot.home_rad)
        for _ in range(20):
            found = solve_ik(robot, position, rotation, start)
            if found is not None:
                return found
            start = robot.home_rad + rng.uniform(-0.9, 0.9, robot.dof)
        return np.array(robot.home_rad)

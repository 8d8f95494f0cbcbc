"""Scripted policies: state machines that solve the tasks, to show that they can be solved.

They act through the same action space as a learned policy. Arrays are [N, ...] over environments.
"""

import jax
import numpy as np
from robolearn_envs.table import solve_ik

from robolearn.cartesian import chain_frames, screw_chain

GAIN_1_S = 6.0  # of the way left to a waypoint, as speed
ARRIVED_M = 0.006


def play(env, policy, key):
    """One episode in every environment; the share that succeeds."""
    step = jax.jit(env.step)
    state = jax.jit(env.reset)(key)
    policy.start(env)
    for _ in range(env.episode_steps):
        readings = {name: np.asarray(value) for name, value in env.readings(state.physics).items()}
        goal = {name: np.asarray(value) for name, value in state.goal.items()}
        state = step(state, policy.act(readings, goal, state.memory))
    done = np.asarray(state.truncated | state.terminated)
    assert done.all()
    return float(np.mean(np.asarray(state.success)))


class Guide:
    """The task's own guide."""

    def start(self, env):
        self.guide = jax.jit(jax.vmap(env.task.guide))

    def act(self, readings, goal, memory):
        return self.guide(readings, memory, goal)


class Script:
    """A tool moved from waypoint to waypoint. phase [N] counts them, since [N] the steps in each."""

    def start(self, env):
        self.env, self.config = env, env.task.config
        self.chain = screw_chain(env.task.robot)
        self.phase = np.zeros(env.num_envs, int)
        self.since = np.zeros(env.num_envs, int)

    def tool(self, q):
        """TCP position [N, 3] and rotation [N, 3, 3] at joint positions [N, n]."""
        frames = [chain_frames(self.chain, row, np) for row in q]
        return np.array([f.position for f in frames]), np.array([f.rotation for f in frames])

    def towards(self, way):
        """The action [N, 3] that covers way [N, 3] m, slowing down on arrival."""
        speed = self.config.action.speed_m_s
        return np.clip(GAIN_1_S * way / speed, -1.0, 1.0)

    def go_on(self, where):
        """Enter the next phase where true."""
        self.phase = self.phase + where
        self.since = np.where(where, 0, self.since + 1)


def rotations(quat):
    """Rotations [N, 3, 3] of quaternions [N, 4] (w, x, y, z)."""
    w, x, y, z = quat.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def square_turn(tool, sides):
    """The smallest turn [N] rad about the vertical that lines the fingers up with a square object."""
    fingers = np.arctan2(tool[:, 1, 1], tool[:, 0, 1])
    face = np.arctan2(sides[:, 1, 0], sides[:, 0, 0])
    return (face - fingers + np.pi / 4) % (np.pi / 2) - np.pi / 4


class Pick(Script):
    """Over the cube, down, close, and then on along `after`. Phases 0, 1, 2, then 3 and up."""

    name, clear_m, close_steps = "cube", 0.10, 12

    def act(self, measured, goal, memory):
        tcp, tool = self.tool(measured["joint_position"])
        cube = measured[f"{self.name}_position"]
        sides = rotations(measured[f"{self.name}_quat"])
        over = cube + np.array([0.0, 0.0, self.clear_m])
        carry, open_now, onward = self.after(cube, tcp, measured, goal)
        phase = self.phase[:, None]
        target = np.where(phase == 0, over, np.where(phase <= 2, cube, tcp + carry))
        way = target - tcp
        turn = square_turn(tool, sides)
        lined_up = np.abs(turn) < 0.1
        there = np.linalg.norm(way, axis=1) < ARRIVED_M
        self.go_on(
            ((self.phase == 0) & (np.linalg.norm(way, axis=1) < 0.02) & lined_up)
            | ((self.phase == 1) & there)
            | ((self.phase == 2) & (self.since > self.close_steps))
            | ((self.phase >= 3) & onward)
        )
        # The tool's axis points down: a turn about it is a turn the other way about the vertical.
        rate = np.clip(-4.0 * turn / self.config.action.turn_rad_s, -1.0, 1.0) * (self.phase < 2)
        opening = np.where(self.phase < 2, 1.0, np.where(open_now, 1.0, -1.0))
        return np.column_stack([self.towards(way), rate, opening]).astype(np.float32)


class StackScript(Pick):
    """3: lift. 4: over the other cube. 5: down. 6: let go. 7: draw back."""

    name = "upper"

    def after(self, cube, tcp, measured, goal):
        place = measured["lower_position"] + np.array([0.0, 0.0, 0.046])
        up = np.array([0.0, 0.0, 0.08])
        lift = np.column_stack([np.zeros((len(tcp), 2)), place[:, 2] + 0.08 - cube[:, 2]])
        phase = self.phase[:, None]
        way = np.select(
            [phase == 3, phase == 4, phase == 5, phase == 6],
            [lift, place + up - cube, place - cube, np.zeros_like(cube)],
            up,
        )
        arrived = np.linalg.norm(way, axis=1) < ARRIVED_M
        released = (self.phase == 6) & (measured["gripper_width"][:, 0] > 0.07)
        onward = np.where(self.phase == 6, released, arrived & (self.phase < 6))
        return way, self.phase >= 6, onward


class PushScript(Script):
    """Up and over to behind the box (0), down (1), push along the line to the goal (2); again when off that line."""

    def act(self, measured, goal, memory):
        tcp, _ = self.tool(measured["joint_position"])
        box, target = measured["box_position"], goal["goal_position"]
        way = (target - box)[:, :2]
        distance = np.linalg.norm(way, axis=1, keepdims=True)
        line = way / np.maximum(distance, 1e-6)
        behind = box[:, :2] - 0.085 * line
        off = tcp[:, :2] - box[:, :2]
        aside = np.abs(off[:, 0] * line[:, 1] - off[:, 1] * line[:, 0])
        done = distance[:, 0] < 0.01
        back = (self.phase == 2) & (aside > 0.045) & ~done
        self.phase = np.where(back, 0, self.phase)
        low, high = 0.025, 0.10
        near = np.linalg.norm(behind - tcp[:, :2], axis=1) < 0.012
        self.go_on(((self.phase == 0) & near) | ((self.phase == 1) & (tcp[:, 2] < low + 0.008)))
        # Steer: aim the tool at a point behind the box that swings the box's way onto the line.
        push = box[:, :2] + line * np.minimum(distance, 0.05) - 0.045 * line - tcp[:, :2]
        drift = off - (off * line).sum(1, keepdims=True) * line
        push = push - 1.2 * drift
        flat = np.where((self.phase == 2)[:, None], push, behind - tcp[:, :2])
        height = np.where(self.phase == 0, high, low)
        # Cross over only when up: the box is lower than the tool then.
        flat = np.where(((self.phase == 0) & (tcp[:, 2] < 0.075))[:, None], 0.0, flat)
        flat = np.where(((self.phase == 2) & done)[:, None], 0.0, flat)
        action = self.towards(np.column_stack([flat, height - tcp[:, 2]]))
        action[self.phase == 2] *= 0.6
        return action.astype(np.float32)


class DrawerScript(Script):
    """Over the gap behind the handle's bar (0), down into it (1), pull along the drawer's way (2)."""

    def act(self, measured, goal, memory):
        tcp, _ = self.tool(measured["joint_position"])
        inward = rotations(measured["cabinet_quat"])[:, :, 0]
        handle = measured["handle_position"]
        gap = handle + 0.022 * inward
        over = gap + np.array([0.0, 0.0, 0.06])
        opened = -((handle - measured["cabinet_position"]) * inward).sum(1) - 0.048
        pull = gap - 0.05 * inward * np.clip((0.19 - opened) / 0.05, 0.0, 1.0)[:, None]
        phase = self.phase[:, None]
        way = np.select([phase == 0, phase == 1], [over - tcp, gap - tcp], pull - tcp)
        self.go_on((self.phase < 2) & (np.linalg.norm(way, axis=1) < ARRIVED_M))
        return self.towards(way).astype(np.float32)


class PegScript(Script):
    """Line the peg up over the mouth (0), then push it in along the hole's axis (1)."""

    tip_m = 0.070

    def act(self, measured, goal, memory):
        tcp, tool = self.tool(measured["joint_position"])
        hole = rotations(measured["hole_quat"])
        axis = hole[:, :, 2]
        tilt = np.cross(tool[:, :, 2], -axis)
        tip = tcp + self.tip_m * tool[:, :, 2]
        over = measured["hole_position"] + 0.01 * axis
        down = measured["hole_position"] - 0.042 * axis
        way = np.where(self.phase[:, None] == 0, over, down) - tip
        lined_up = (np.linalg.norm(way, axis=1) < 0.002) & (np.linalg.norm(tilt, axis=1) < 0.01)
        self.go_on((self.phase == 0) & lined_up)
        # Turning about the TCP moves the tip: the way above takes that out in the next steps.
        turn = np.clip(5.0 * tilt / self.config.action.turn_rad_s, -1.0, 1.0)
        return np.column_stack([self.towards(way), turn]).astype(np.float32)


class ReachScript(Script):
    """Straight to the goal, the joint speeds by a damped inverse; the tool may turn as it likes."""

    def act(self, measured, goal, memory):
        speeds = []
        for q, point in zip(np.asarray(memory.command_position, float), goal["goal_position"], strict=True):
            frames = chain_frames(self.chain, q, np)
            gram = frames.linear @ frames.linear.T + 1e-3 * np.eye(3)
            speeds.append(frames.linear.T @ np.linalg.solve(gram, GAIN_1_S * (point - frames.position)))
        return np.clip(speeds / self.env.task.action.velocity_max_rad_s, -1.0, 1.0).astype(np.float32)


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

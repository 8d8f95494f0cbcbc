"""Open drawer: hook the closed gripper behind the handle of a drawer and pull it open."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import mujoco

from robolearn.env.task import Array, Readings, Reset
from robolearn.policy.slots import Slot
from robolearn.sim.physics import Room
from robolearn.sim.randomize import Randomization
from robolearn_envs.rotations import rotation_of
from robolearn_envs.shared import randomization
from robolearn_envs.table import (
    OBJECT_BIT,
    TableAction,
    TableConfig,
    TableTask,
    Vector3,
    add_placed_body,
    add_pose_sensors,
    ease,
    near,
    pose_sensors,
    pose_slots,
    tabletop,
)

# The cabinet's frame: origin on the table under the middle of the closed drawer's front, x into the cabinet.
# It is lower than the gripper's palm when the fingers hook the handle.
DEPTH_M, WIDTH_M, HEIGHT_M = 0.25, 0.30, 0.10
BAR_HALF_M = (0.006, 0.060, 0.006)
BAR_OUT_M, BAR_UP_M = 0.048, 0.082  # the handle's bar before the front: room behind it for the closed fingers
HOOK_IN_M = 0.020  # TCP behind the bar when the fingers touch it
TRAVEL_M = 0.20
DRAWER_MASS_KG, DRAWER_DAMPING_N_S_M, DRAWER_FRICTION_N = 1.5, 8.0, 2.0  # a light drawer on rollers

# Of the expert.
OVER_M = 0.06  # TCP above the bar's middle: clear of it
PULL_M = 0.02  # how far before the fingers it aims: slowly, for the handle is seen up to 80 ms late
PULLED_M = 0.19  # where it stops: short of the end stop

PLACE = {"cabinet_x_m": (0.65, 0.72), "cabinet_y_m": (-0.12, 0.12), "cabinet_yaw_rad": (-0.25, 0.25)}


class DrawerAction(TableAction):
    """High enough to clear the table, low enough to hook the handle."""

    workspace_min_m: Vector3 | None = (0.38, -0.34, 0.070)


class OpenDrawerConfig(TableConfig):
    """Open a drawer: where the bar lies, and what each reward term weighs."""

    episode_s: float = 5.0
    opening_m: float = 0.15
    action: DrawerAction = DrawerAction()
    randomization: Randomization = randomization({"drawer": (0.5, 2.0)}, ("handle",), PLACE)
    reward: dict[str, float] = {"approach": 1.0, "hook": 1.0, "opening": 3.0, "open": 1.0, "action": -0.01}


class OpenDrawer(TableTask[OpenDrawerConfig]):
    """A drawer in a low cabinet on the table, opened by its handle."""

    name = "open_drawer"
    summary = "hook the closed gripper behind the handle of a drawer and pull it open"
    success_text = "drawer open by at least 15 cm for the last 0.5 s of the episode"
    config_type = OpenDrawerConfig
    rooms = {"fr3": Room(contacts=16, rows=80)}
    uses_gripper = False
    ready_tcp_m = (0.52, 0.0, 0.22)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Arm, and the poses of the cabinet and of the handle."""
        cabinet = pose_slots("cabinet", "the cabinet, at table height under the middle of its front")
        return (*super().slots, *cabinet, *pose_slots("handle", "the handle's bar")[:1])

    def scene(self) -> mujoco.MjSpec:
        """The cabinet with one drawer."""
        spec = tabletop(self.robot)
        axes: dict[str, Vector3] = {"cabinet_x": (1, 0, 0), "cabinet_y": (0, 1, 0), "cabinet_rad": (0, 0, 1)}
        cabinet = add_placed_body(spec, "cabinet", axes)
        _add_cabinet(spec, cabinet)
        drawer = cabinet.add_body(
            name="drawer", gravcomp=1.0, mass=DRAWER_MASS_KG, inertia=[0.02, 0.02, 0.02]
        )
        drawer.explicitinertial = True
        drawer.add_joint(
            name="drawer", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[-1, 0, 0], range=[0.0, TRAVEL_M],
            limited=mujoco.mjtLimited.mjLIMITED_TRUE, damping=[DRAWER_DAMPING_N_S_M, 0, 0],
            frictionloss=DRAWER_FRICTION_N,
        )  # fmt: skip
        _add_drawer(drawer)
        add_pose_sensors(spec, "cabinet")
        add_pose_sensors(spec, "handle")
        for name, kind in (("opening", "JOINTPOS"), ("speed", "JOINTVEL")):
            spec.add_sensor(
                name=f"drawer_{name}", type=getattr(mujoco.mjtSensor, f"mjSENS_{kind}"),
                objtype=mujoco.mjtObj.mjOBJ_JOINT, objname="drawer",
            )  # fmt: skip
        return spec

    def sensors(self) -> dict[str, tuple[str, ...]]:
        """Slots, and the drawer's opening and speed, which are privileged."""
        handle = {"handle_position": ("handle_pos",)}
        drawer = {"drawer_opening": ("drawer_opening",), "drawer_speed": ("drawer_speed",)}
        return super().sensors() | pose_sensors("cabinet") | handle | drawer

    def reset(self, key: Array) -> Reset:
        """Arm near its ready posture; the cabinet somewhere in front of it, turned a little, its drawer shut."""
        key_arm, key_place = jax.random.split(key)
        place = self.draw(key_place, *PLACE)
        names = ("cabinet_x", "cabinet_y", "cabinet_rad")
        return Reset(
            self.draw_arm(key_arm), {}, joints={name: place[i : i + 1] for i, name in enumerate(names)}
        )

    def observe(self, readings: Readings, memory: Any, goal: Readings) -> Array:
        """Arm; the hooking point and the bar from the TCP, the opening, the way the drawer runs."""
        del goal
        arm, tcp, _ = self.observe_arm(readings, memory)
        inward = rotation_of(readings["cabinet_quat"])[:, 0]
        handle = readings["handle_position"]
        opening = -jnp.sum((handle - readings["cabinet_position"]) * inward, keepdims=True) - BAR_OUT_M
        return jnp.concatenate(
            [*arm, handle - tcp, handle + HOOK_IN_M * inward - tcp, inward[:2], 5.0 * opening]
        )

    def estimate(self, measured: Readings) -> Readings:
        """Also the drawer's opening: how far the handle's bar is from where it is when shut."""
        inward = rotation_of(measured["cabinet_quat"])[:, 0]
        shut = measured["cabinet_position"] - BAR_OUT_M * inward
        opening = -jnp.dot(measured["handle_position"] - shut, inward)
        return super().estimate(measured) | {"drawer_opening": opening[None]}

    def expert(self, readings: Readings, memory: Any, goal: Readings) -> Array:
        """Over the gap behind the bar, down into it, pull along the drawer's way until it is open.

        The height comes from a funnel: the farther from the gap, the higher above the bar.
        """
        del memory, goal
        tcp, inward = readings["tcp_position"], rotation_of(readings["cabinet_quat"])[:, 0]
        way = readings["handle_position"] + (HOOK_IN_M + 0.002) * inward - tcp
        across = jnp.dot(way, inward)
        aside = jnp.linalg.norm((way - across * inward)[:2])
        high = ease((jnp.hypot(across, jnp.maximum(aside - 0.02, 0.0)) - 0.008) / 0.02)
        rise = OVER_M * high + way[2]
        hooked = (1.0 - high) * (1.0 - ease((-way[2] - 0.010) / 0.015))
        left = jnp.clip((PULLED_M - readings["drawer_opening"][0]) / PULL_M, 0.0, 1.0)
        flat = (1.0 - ease(rise / 0.04)) * way[:2] - hooked * left * PULL_M * inward[:2]
        return self.guide_towards(jnp.append(flat, rise))

    def reward_terms(self, readings: Readings, memory: Any, goal: Readings, action: Array) -> Readings:
        """Come behind the bar (approach, hook), pull (opening, open), calmly (action)."""
        del memory, goal
        inward = rotation_of(readings["cabinet_quat"])[:, 0]
        hook = readings["handle_position"] + HOOK_IN_M * inward
        gap = jnp.linalg.norm(readings["tcp_position"] - hook)
        opening = readings["drawer_opening"][0]
        return {
            "approach": near(gap, 0.15),
            "hook": jnp.exp(-((gap / 0.02) ** 2)),
            "opening": jnp.clip(opening / (1.2 * self.config.opening_m), 0.0, 1.0),
            "open": (opening > 1.05 * self.config.opening_m).astype(jnp.float32),
            "action": jnp.sum(action**2),
        }

    def achieved(self, readings: Readings, goal: Readings) -> Array:
        """Drawer open far enough."""
        del goal
        return readings["drawer_opening"][0] > self.config.opening_m


def _add_cabinet(spec: mujoco.MjSpec, cabinet: mujoco.MjsBody) -> None:
    """Walls and lid; the gripper touches the lid and nothing else of it."""
    spec.add_material(name="cabinet", rgba=[0.88, 0.89, 0.90, 1.0], specular=0.2, shininess=0.3)
    spec.add_material(name="drawer", rgba=[0.13, 0.42, 0.72, 1.0], specular=0.2, shininess=0.3)
    spec.add_material(name="handle", rgba=[0.62, 0.65, 0.69, 1.0], specular=0.6, shininess=0.7)
    box, wall = mujoco.mjtGeom.mjGEOM_BOX, 0.006
    middle, half_w, half_h = DEPTH_M / 2 + 0.012, WIDTH_M / 2, HEIGHT_M / 2 - wall
    for name, pos, half in (
        ("left", (middle, half_w - wall, half_h), (DEPTH_M / 2, wall, half_h)),
        ("right", (middle, wall - half_w, half_h), (DEPTH_M / 2, wall, half_h)),
        ("back", (middle + DEPTH_M / 2 - wall, 0, half_h), (wall, half_w - 2 * wall, half_h)),
        ("lid", (middle, 0, HEIGHT_M - wall), (DEPTH_M / 2 + 0.002, half_w + 0.002, wall)),
    ):
        bit = OBJECT_BIT if name == "lid" else 0
        cabinet.add_geom(
            name=f"cabinet_{name}",
            type=box,
            pos=pos,
            size=half,
            material="cabinet",
            contype=bit,
            conaffinity=0,
        )


def _add_drawer(drawer: mujoco.MjsBody) -> None:
    """Front, box and handle; the gripper touches the front and the handle's bar."""
    box = mujoco.mjtGeom.mjGEOM_BOX
    half_w, half_h = WIDTH_M / 2 - 0.014, HEIGHT_M / 2 - 0.008
    drawer.add_geom(
        name="drawer_front", type=box, pos=[0.006, 0, HEIGHT_M / 2], size=[0.006, WIDTH_M / 2, half_h],
        material="drawer", contype=OBJECT_BIT, conaffinity=0,
    )  # fmt: skip
    for name, pos, half in (
        ("floor", (DEPTH_M / 2, 0, 0.014), (DEPTH_M / 2 - 0.02, half_w, 0.004)),
        ("left", (DEPTH_M / 2, half_w - 0.004, 0.04), (DEPTH_M / 2 - 0.02, 0.004, 0.03)),
        ("right", (DEPTH_M / 2, 0.004 - half_w, 0.04), (DEPTH_M / 2 - 0.02, 0.004, 0.03)),
    ):
        drawer.add_geom(
            name=f"drawer_{name}", type=box, pos=pos, size=half, material="table", contype=0, conaffinity=0
        )
    handle = drawer.add_body(name="handle", pos=[-BAR_OUT_M, 0, BAR_UP_M])
    handle.add_geom(
        name="handle_bar", type=box, size=BAR_HALF_M, material="handle", contype=OBJECT_BIT, conaffinity=0, mass=0,
        solref=[0.01, 1.0],
    )  # fmt: skip
    for side in (-1, 1):
        handle.add_geom(
            name=f"handle_post{side}", type=box, pos=[BAR_OUT_M / 2, side * (BAR_HALF_M[1] - 0.006), 0],
            size=[BAR_OUT_M / 2, 0.006, 0.006], material="handle", contype=0, conaffinity=0, mass=0,
        )  # fmt: skip

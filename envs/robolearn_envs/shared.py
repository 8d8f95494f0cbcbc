"""What several tasks need: the ground under the arm, and the slots that every arm has."""

from __future__ import annotations

import mujoco
import numpy as np

from robolearn.policy.slots import Slot
from robolearn.robots import Robot, robot_names
from robolearn.sim.randomize import Randomization
from robolearn_envs.workspace import reach_m, shoulder_height_m

# What cells have, drawn for each episode.
POSE_NOISE_M = 0.001  # of measured positions of objects, standard deviation of each reading
POSE_BIAS_M = 0.003  # of the same, either way along each axis, for the whole episode
POSE_DELAY_MS = (20.0, 80.0)  # of a camera and its pose estimate
ACTION_DELAY_MS = (0.0, 70.0)
FRICTION_SCALE = (0.5, 2.0)  # 0.3 to 1.2 of the table and of what lies on it
MESSAGES_LOST = 0.02  # of each stream

_SEEN_M = 1.3  # how high a packaged arm reaches with its gripper, which the camera sees well


def arm_slots(robot: Robot) -> tuple[Slot, ...]:
    """Joint position and velocity, in the robot's joint order."""
    n = (robot.dof,)
    return (
        Slot("joint_position", n, "rad", "joint_state.position", "measured joint positions"),
        Slot("joint_velocity", n, "rad/s", "joint_state.velocity", "measured joint velocities"),
    )


def arm_sensors(robot: Robot) -> dict[str, tuple[str, ...]]:
    """The MuJoCo sensors behind `arm_slots`."""
    return {
        "joint_position": tuple(f"{joint}_pos" for joint in robot.joint_names),
        "joint_velocity": tuple(f"{joint}_vel" for joint in robot.joint_names),
    }


def randomization(
    object_mass: dict[str, tuple[float, float]] | None = None,
    objects: tuple[str, ...] = (),
    pose: dict[str, tuple[float, float]] | None = None,
) -> Randomization:
    """What every episode draws: what a cell has, an arm that is not quite the modelled one, and late messages.

    object_mass: further mass scales by body. objects: things whose pose is measured, with noise, a calibration error
    that lasts the episode, and the delay of a camera. pose: see `Randomization`. The spreads are ours, not measured in
    a cell. A served arm hears its policy late: the stream is smoothed over one control period, checked and sent.
    """
    positions = [f"{name}_position" for name in objects]
    return Randomization(
        body_mass_scale={"*": (0.95, 1.05)} | (object_mass or {}),
        friction_scale={"*": FRICTION_SCALE},
        joint_damping_scale={"*": (0.8, 1.2)},
        actuator_gain_scale={"*": (0.9, 1.1)},
        sensor_noise={"joint_position": 0.0002, "joint_velocity": 0.01}
        | dict.fromkeys(positions, POSE_NOISE_M),
        sensor_bias=dict.fromkeys(positions, POSE_BIAS_M),
        pose_delay_ms=POSE_DELAY_MS if objects else (0.0, 0.0),
        observation_drop=MESSAGES_LOST,
        action_delay_ms=ACTION_DELAY_MS,
        pose=pose or {},
    )


def view_scale(robot: Robot) -> float:
    """How much farther off than from a packaged arm the camera stands: as an arm of one's own is larger or smaller."""
    if robot.arm in robot_names():
        return 1.0
    return float((shoulder_height_m(robot) + reach_m(robot) + robot.gripper.tcp.xyz[2]) / _SEEN_M)


def workcell(robot: Robot, gripper: str | None = "parallel", *, table_height_m: float = 0.0) -> mujoco.MjSpec:
    """The robot standing on a lit floor, or with a table height above it, where the floor is only seen."""
    spec = robot.spec(gripper)
    spec.visual.headlight.ambient = [0.35, 0.35, 0.37]
    spec.visual.headlight.diffuse = [0.35, 0.35, 0.35]
    spec.visual.headlight.specular = [0.1, 0.1, 0.1]
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 960
    spec.add_texture(
        name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.86, 0.90, 0.94], rgb2=[0.55, 0.62, 0.70], width=256, height=1536,
    )  # fmt: skip
    spec.add_texture(
        name="floor", type=mujoco.mjtTexture.mjTEXTURE_2D, builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=[0.78, 0.79, 0.80], rgb2=[0.72, 0.73, 0.75], width=512, height=512,
        mark=mujoco.mjtMark.mjMARK_EDGE, markrgb=[0.65, 0.66, 0.68],
    )  # fmt: skip
    material = spec.add_material(name="floor", texrepeat=[8, 8], reflectance=0.04, specular=0.0)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "floor"
    spec.worldbody.add_geom(
        name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[3, 3, 0.05], material="floor",
        pos=[0, 0, -table_height_m],        contype=int(not table_height_m), conaffinity=int(not table_height_m),
    )  # fmt: skip
    sun = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    spec.worldbody.add_light(
        type=sun, pos=[1.0, -1.0, 3.0], dir=[-0.35, 0.3, -1.0], diffuse=[0.5, 0.49, 0.47],
        specular=[0.15, 0.15, 0.15], castshadow=True,
    )  # fmt: skip
    spec.worldbody.add_light(
        type=sun, pos=[-1.0, 1.5, 2.2], dir=[0.5, -0.7, -0.8], diffuse=[0.12, 0.13, 0.16],
        specular=[0.0, 0.0, 0.0], castshadow=False,
    )  # fmt: skip
    spec.worldbody.add_camera(
        name="overview",
        pos=view_scale(robot) * np.array([1.45, -1.2, 0.95]),
        xyaxes=[0.670, 0.742, -0.000, -0.232, 0.210, 0.950],
        fovy=40,
    )
    return spec

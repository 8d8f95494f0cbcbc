"""An independent judge of what a monitor sent: slow, written from the texts of the rules, sharing no code with it.

It reads the robot's and the profile's YAML itself, has its own forward kinematics and its own distances, and looks
at nothing but the sequence of positions that went out, one per period. Only the shapes of the links (type, size,
place in the parent) come from the robot's MuJoCo model.
"""

from __future__ import annotations

import mujoco
import numpy as np
import yaml

ROUNDING = 1e-9  # relative, of differences of positions
CLOSE_M = 1e-6
NEIGHBOUR_JOINTS = 3  # links fewer joints apart may overlap


class SlowChecker:
    """Judges sequences of sent positions [k, n] of one robot in one mode of one profile."""

    def __init__(self, robot, profile_path, mode, period_s, gripper="parallel", rounding=ROUNDING):
        with open(robot.path, encoding="utf-8") as file:
            facts = yaml.safe_load(file)
        with open(profile_path, encoding="utf-8") as file:
            data = yaml.safe_load(file)
        self.limits = {**data["common"], **data["modes"][mode]}
        self.dt, self.rounding = period_s, rounding
        self.curves = [
            {
                key: np.array(numbers, float)
                for key, numbers in facts["limits"]["sets"][name]["velocity_curve"].items()
            }
            for name in facts["limits"].get("velocity_curves") or []
        ]
        self.model = robot.spec(gripper).compile()
        self.dofs = [int(self.model.joint(name).dofadr[0]) for name in robot.joint_names]
        self.bodies, self.parts = _tree(self.model, robot.joint_names)

    def number(self, key):
        return np.array(self.limits[key]["value"], dtype=float)

    def judge(self, sent, history=None):
        """Every violation, as text, in a sequence sent [k, n] after rest, or after history [3, n]."""
        q = np.asarray(sent, dtype=float)
        if not np.isfinite(q).all():
            return ["not finite"]
        q = np.concatenate([np.repeat(q[:1], 3, axis=0) if history is None else history, q])
        v = np.diff(q, axis=0)[2:] / self.dt
        a = np.diff(q, 2, axis=0)[1:] / self.dt**2
        j = np.diff(q, 3, axis=0) / self.dt**3
        before, q = q[2:-1], q[3:]
        grain = np.finfo(float).eps * np.abs(q).max()
        found = _over("position above", q - self.number("position_max_rad"), 0.0)
        found += _over("position below", self.number("position_min_rad") - q, 0.0)
        lower, upper = self.velocity_range(q)
        noise = self.rounding + 4 * grain / self.dt
        found += _over("velocity above", v - upper, noise) + _over("velocity below", lower - v, noise)
        limit = self.number("acceleration_max_rad_s2")
        found += _over("acceleration", np.abs(a) - limit, self.rounding * limit + 8 * grain / self.dt**2)
        limit = self.number("jerk_max_rad_s3")
        found += _over("jerk", np.abs(j) - limit, self.rounding * limit + 16 * grain / self.dt**3)
        return found + self.judge_torque(q, v, a) + self.judge_space(before, q)

    def judge_torque(self, q, v, a):
        """Torque of every sample by recursive Newton-Euler, where the profile limits it."""
        if "value" not in self.limits["torque_max_nm"]:
            return []
        data, force = mujoco.MjData(self.model), np.zeros(self.model.nv)
        worst = np.zeros_like(q)
        for k in range(len(q)):
            data.qpos[self.dofs], data.qvel[self.dofs], data.qacc[self.dofs] = q[k], v[k], a[k]
            mujoco.mj_fwdPosition(self.model, data)
            mujoco.mj_fwdVelocity(self.model, data)
            mujoco.mj_rne(self.model, data, 1, force)
            worst[k] = np.abs(force[self.dofs])
        return _over("torque", worst - self.number("torque_max_nm"), 1e-5)

    def velocity_range(self, q):
        flat = self.number("velocity_max_rad_s")
        lower, upper = -flat * np.ones_like(q), flat * np.ones_like(q)
        for curve in self.curves:
            up = np.sqrt(np.maximum(0.0, 2.0 * curve["decel_rad_s2"] * (curve["q_max_rad"] - q)))
            down = np.sqrt(np.maximum(0.0, 2.0 * curve["decel_rad_s2"] * (q - curve["q_min_rad"])))
            upper = np.minimum(upper, np.maximum(0.0, up - curve["offset_rad_s"]))
            lower = np.maximum(lower, np.minimum(0.0, curve["offset_rad_s"] - down))
        return lower, upper

    def judge_space(self, before, q):
        """Speeds of points on the surface, walls, boxes and distances between links, at every sample of q [k, n]."""
        here, there = self.frames(q), self.frames(before)
        workspace, found = self.limits["workspace"], []
        low, high = (np.array(workspace["stay_in"][key], float) for key in ("min_m", "max_m"))
        for part in self.parts:
            if not part["depth"]:
                continue
            (turn, place), (old_turn, old_place) = here[part["body"]], there[part["body"]]
            name, radius = part["name"], part["radius"]
            limit = float(
                self.number(f"{name}_speed_max_m_s" if name in ("tcp", "elbow") else "link_speed_max_m_s")
            )
            for local in part["points"]:
                centre = place + turn @ local
                speed = self.surface_speed(old_place + old_turn @ local, centre, old_turn, turn, radius)
                found += _over(f"speed of {name}", speed - limit, self.rounding + 1e-15 / self.dt)
                found += _over(f"{name} leaves the cell", centre + radius - high, CLOSE_M)
                found += _over(f"{name} leaves the cell", low - centre + radius, CLOSE_M)
                for plane in workspace.get("planes") or []:
                    room = centre @ np.array(plane["normal"], float) - radius - plane["offset_m"]
                    found += _over(f"{name} beyond {plane['name']}", -room, CLOSE_M)
        strung = [_along(here[part["body"]], part) for part in self.parts]
        for region in workspace.get("keep_out") or []:
            low, high = np.array(region["min_m"], float), np.array(region["max_m"], float)
            for part, centres in zip(self.parts, strung, strict=True):
                if part["depth"]:
                    outside = np.maximum(np.maximum(low - centres, centres - high), 0.0)
                    distance = np.linalg.norm(outside, axis=2).min(axis=0) - part["radius"]
                    found += _over(f"{part['name']} in {region['name']}", -distance, CLOSE_M)
        return found + self.judge_self(strung)

    def judge_self(self, strung):
        """Distances between links that are no neighbours, from spheres strung along them."""
        needed, found = float(self.number("self_distance_min_m")), []
        for one, centres in zip(self.parts, strung, strict=True):
            for other, others in zip(self.parts, strung, strict=True):
                if other["depth"] - one["depth"] >= NEIGHBOUR_JOINTS and one["solid"] and other["solid"]:
                    gaps = centres[:, None] - others[None, :]
                    nearest = (
                        np.sqrt((gaps**2).sum(axis=-1).min(axis=(0, 1))) - one["radius"] - other["radius"]
                    )
                    found += _over(f"{one['name']} near {other['name']}", needed - nearest, CLOSE_M)
        return found

    def surface_speed(self, old, new, old_turn, turn, radius):
        """[k] m/s: of the fastest of some points on each sphere."""
        way = [new - old]
        for axis in np.eye(3):
            for side in (-radius, radius):
                way.append(new + turn @ (side * axis) - old - old_turn @ (side * axis))
        return np.linalg.norm(np.array(way), axis=2).max(axis=0) / self.dt

    def frames(self, q):
        """Per body (0: the world): rotation [k, 3, 3] and position [k, 3] at every q [k, n]."""
        frames = []
        for link in self.bodies:
            if link["parent"] is None:
                turn, place = np.broadcast_to(np.eye(3), (len(q), 3, 3)), np.zeros((len(q), 3))
            else:
                parent_turn, parent_place = frames[link["parent"]]
                turn = parent_turn @ link["turn"]
                place = parent_place + parent_turn @ link["place"]
            if link["joint"] is not None:
                turn = turn @ _turn_about(link["axis"], q[:, link["joint"]])
            frames.append((turn, place))
        return frames


def _tree(model, joint_names):
    """The bodies (parent, fixed transform, joint, axis) and the parts on them.

    A part has a name, a body, depth (arm joints before it), points [k, 3] in the body's frame and a radius: it is
    contained in the hull of spheres around them.
    """
    bodies, parts = [], []
    joints = {model.joint(name).id: k for k, name in enumerate(joint_names)}
    for body in range(model.nbody):
        joint = int(model.body_jntadr[body])
        parent = int(model.body_parentid[body])
        bodies.append({
            "parent": None if body == 0 else parent, "turn": _matrix(model.body_quat[body]),
            "place": model.body_pos[body].copy(), "joint": joints.get(joint),
            "axis": model.jnt_axis[joint].copy() if joint >= 0 else None,
            "depth": (bodies[parent]["depth"] if body else 0) + (joint in joints),
        })  # fmt: skip
    for geom in range(model.ngeom):
        if not (model.geom_contype[geom] or model.geom_conaffinity[geom]):
            continue
        body, size = int(model.geom_bodyid[geom]), model.geom_size[geom]
        box = int(model.geom_type[geom]) == int(mujoco.mjtGeom.mjGEOM_BOX)
        ends = np.array([[0, 0, -size[1]], [0, 0, size[1]]])
        corners = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]) * size
        points = model.geom_pos[geom] + (corners if box else ends) @ _matrix(model.geom_quat[geom]).T
        parts.append({
            "name": model.geom(geom).name, "body": body, "depth": bodies[body]["depth"], "points": points,
            "radius": 0.0 if box else float(size[0]), "solid": True,
        })  # fmt: skip
    elbow = next(k for k, body in enumerate(bodies) if body["joint"] == (3 if len(joint_names) == 7 else 2))
    tcp = model.site("tcp").id
    for name, body, point in (
        ("elbow", elbow, np.zeros(3)),
        ("tcp", model.site_bodyid[tcp], model.site_pos[tcp]),
    ):
        parts.append({"name": name, "body": int(body), "depth": bodies[int(body)]["depth"], "points": point[None],
                      "radius": 0.0, "solid": False})  # fmt: skip
    return bodies, parts


def _matrix(quaternion):
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)


def _turn_about(axis, angle):
    """Rotation [k, 3, 3] about a unit axis by angles [k] (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    s, c = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    return np.eye(3) + s * cross + (1 - c) * (cross @ cross)


def _along(frame, part):
    """Centres [s, k, 3] of spheres strung along a part."""
    turn, place = frame
    points = part["points"]
    between = (
        points if len(points) != 2 else points[0] + np.linspace(0, 1, 7)[:, None] * (points[1] - points[0])
    )
    return np.array([place + turn @ point for point in between])


class Found(str):
    """A violation as text; `samples` [k] bool: in which of the samples judged; `excess`: the worst, in its unit."""

    samples: np.ndarray
    excess: float


def _over(what, excess, tolerance):
    """One text for the worst excess over a tolerance, or none."""
    worst = np.asarray(excess - tolerance)
    if not (worst > 0.0).any():
        return []
    at = np.unravel_index(int(np.argmax(worst)), worst.shape)
    found = Found(f"{what}: by {np.asarray(excess)[at]:.3g} at sample {', '.join(map(str, at))}")
    found.excess = float(np.asarray(excess)[at])
    found.samples = (worst > 0.0).reshape(len(worst), -1).any(axis=1)
    return [found]

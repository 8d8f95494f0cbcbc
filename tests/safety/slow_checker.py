"""An independent judge of what a monitor sent: slow, written from the texts of the rules, sharing no code with it.

It reads the robot's and the profile's YAML itself, has its own forward kinematics, distances, dynamics and figures
of body regions, and looks at nothing but the sequence of positions that went out, one per period, and at the braking
motions that the monitor keeps ready behind them. Only the shapes and masses of the links, and where they are in
their parents, come from the robot's MuJoCo model.

Where a rule bounds something that happens between samples, the checker takes what the samples prove and no more: it
reports nothing that is not so.
"""

from __future__ import annotations

import mujoco
import numpy as np
import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same documents, ten times as fast

ROUNDING = 1e-9  # relative, of differences of positions
CLOSE_M = 1e-6
CONTACT_M_S = 1e-6
NEIGHBOUR_JOINTS = 3  # links fewer joints apart may overlap
GRAVITY = np.array([0.0, 0.0, -9.81])

# ISO/TS 15066:2016 tables A.2 and A.3, quasi-static: force N, lowest pressure N/cm^2, stiffness N/mm, mass kg.
# A short (transient) contact may have twice the force and pressure. Head and face are not in it: never allowed.
BODY = {
    "neck": (150, 140, 50, 1.2),
    "back_shoulders": (210, 160, 35, 40),
    "chest": (140, 120, 25, 40),
    "abdomen": (110, 140, 10, 40),
    "pelvis": (180, 210, 25, 40),
    "upper_arms_elbow": (150, 190, 30, 3),
    "lower_arms_wrist": (160, 180, 40, 2),
    "hands_fingers": (140, 190, 75, 0.6),
    "thighs_knees": (220, 220, 50, 75),
    "lower_legs": (130, 210, 60, 75),
}


class SlowChecker:
    """Judges sequences of sent positions [k, n] of one robot in one mode of one profile."""

    def __init__(self, robot, profile, mode, period_s, gripper="parallel", rounding=ROUNDING):
        """profile: the path of its YAML file, or its content."""
        with open(robot.path, encoding="utf-8") as file:
            facts = yaml.load(file, LOADER)
        data = profile
        if not isinstance(profile, dict):
            with open(profile, encoding="utf-8") as file:
                data = yaml.load(file, LOADER)
        self.limits = {**data["common"], **data["modes"][mode]}
        self.dt, self.rounding = period_s, rounding
        self.moving_kg = (facts.get("moving_mass_kg") or {}).get("value")
        self.chance = np.random.default_rng(0)
        self.near = (facts.get("self_distance") or {}).get("pairs") or []
        self.curves = [
            {
                key: np.array(numbers, float)
                for key, numbers in facts["limits"]["sets"][name]["velocity_curve"].items()
            }
            for name in facts["limits"].get("velocity_curves") or []
        ]
        self.model = robot.spec(gripper).compile()
        self.rotors = self.model.dof_armature[
            [int(self.model.joint(name).dofadr[0]) for name in robot.joint_names]
        ]
        self.bodies, self.parts = _tree(self.model, robot.joint_names)

    def number(self, key):
        return np.array(self.limits[key]["value"], dtype=float)

    def judge(self, sent, history=None):
        """Every violation, as text, in a sequence sent [k, n] after rest, or after history [3, n]."""
        q = np.asarray(sent, dtype=float)
        if not np.isfinite(q).all():
            return ["not finite"]
        return self.judge_motions([(np.repeat(q[:1], 3, axis=0) if history is None else history, q)])

    def judge_motions(self, motions):
        """Every violation, as text, in some motions, each of them (history [3, n], samples [k, n])."""
        motions = [np.concatenate(motion) for motion in motions]
        v, a, j, before, q = (
            np.concatenate(pieces)
            for pieces in zip(
                *(
                    (
                        np.diff(m, axis=0)[2:] / self.dt,
                        np.diff(m, 2, axis=0)[1:] / self.dt**2,
                        np.diff(m, 3, axis=0) / self.dt**3,
                        m[2:-1],
                        m[3:],
                    )
                    for m in motions
                ),
                strict=True,
            )
        )
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
        return found + self.judge_torque(motions) + self.judge_space(before, q)

    def judge_promises(self, promises):
        """Every violation, as text, of the braking motions kept ready behind samples that went out.

        A promise has sent [3, n], the last samples, the one it belongs to last; path [m, n], the way to rest; and
        person_m, how near a person was, or None.
        """
        found = []
        rests = [np.concatenate([p.path, np.repeat(p.path[-1:], 3, axis=0)]) for p in promises if len(p.path)]
        sent = [p.sent for p in promises if len(p.path)]
        if rests:  # a motion that does not end at rest breaks the limit of jerk here
            found += self.judge_motions(list(zip(sent, rests, strict=True)))
        for promise in promises:
            found += self.judge_stop(promise)
        return [Found(f"on the way to rest: {text}") for text in found]

    def judge_stop(self, promise):
        """How long and how far, and where a person may be while it lasts: one braking motion."""
        path = np.concatenate([promise.sent[-1:], promise.path])
        speed = np.abs(np.diff(path, axis=0, prepend=promise.sent[-2:-1])) / self.dt
        # no joint comes to rest from a speed v in less than sqrt(2 v / J), or before it has stopped moving
        left = np.sqrt(2.0 * np.maximum(speed - self.rounding, 0.0) / self.number("jerk_max_rad_s3"))
        time_s = float((np.arange(len(path))[:, None] * self.dt * (left > 0.0) + left).max())
        found = _over("stopping time", np.array([time_s - self.number("stopping_time_max_s")]), self.rounding)
        frames = self.frames(path)
        tcp = next(part for part in self.parts if part["name"] == "tcp")
        distance = _travel(frames[tcp["body"]], tcp["points"][0])
        found += _over(
            "stopping distance", np.array([distance - self.number("stopping_distance_max_m")]), CLOSE_M
        )
        numbers = self.limits["separation"]
        if promise.person_m is None or "human_speed_m_s" not in numbers:
            return found
        moving = [part for part in self.parts if part["depth"]]
        travel = max(_travel(frames[part["body"]], point) for part in moving for point in part["points"])
        last = self.frames(promise.sent[-2:])
        extent, robot_speed = 0.0, 0.0
        for part in moving:
            turn, place = last[part["body"]]
            for local in part["points"]:
                centres = place + turn @ local
                extent = max(extent, float(np.hypot(*centres[1, :2])) + part["radius"])
                speeds = self.surface_speed(centres[:1], centres[1:], turn[:1], turn[1:], part["radius"])
                robot_speed = max(robot_speed, float(speeds[0]))
        given = {key: entry["value"] for key, entry in numbers.items() if "value" in entry}
        extra = given["stopping_time_extra_s"]
        needed = (
            given["human_speed_m_s"] * (given["reaction_time_s"] + time_s + extra)
            + robot_speed * (given["reaction_time_s"] + extra)
            + travel
            + given["intrusion_distance_m"]
            + given["sensor_uncertainty_m"]
            + given["robot_uncertainty_m"]
        )
        return found + _over("separation", np.array([extent + needed - promise.person_m]), CLOSE_M)

    def judge_torque(self, motions):
        """Torque of every sample and its rate, where the profile limits them; motions [3 + k, n]."""
        largest, rate = (self.limits[key].get("value") for key in ("torque_max_nm", "torque_rate_max_nm_s"))
        found = []
        if largest is None and rate is None:
            return found
        for m in motions:  # from the sample before the first one on, for its rate
            v, a = np.diff(m, axis=0)[1:] / self.dt, np.diff(m, 2, axis=0) / self.dt**2
            torque = self.torques(m[2:], v, a)
            if largest is not None:
                found += _over("torque", np.abs(torque[1:]) - np.array(largest, float), 1e-5)
            if rate is not None:
                change = np.abs(np.diff(torque, axis=0)) / self.dt
                found += _over("torque rate", change - np.array(rate, float), 1e-5 / self.dt)
        return found

    def torques(self, q, v, a):
        """Joint torques [k, n] of a motion by Newton's and Euler's laws for each link, without rotors."""
        frames, zero = self.frames(q), np.zeros((len(q), 3))
        turning, spinning, pushed = [], [], []  # angular velocity, its change, acceleration of the origin
        torque = np.zeros_like(q)
        for body, link in enumerate(self.bodies):
            turn, place = frames[body]
            up = link["parent"]
            omega, alpha, push = (zero, zero, zero) if up is None else (turning[up], spinning[up], pushed[up])
            if up is not None:
                arm = place - frames[up][1]
                push = push + np.cross(alpha, arm) + np.cross(omega, np.cross(omega, arm))
            if link["joint"] is not None:
                axis, k = turn @ link["axis"], link["joint"]
                alpha = alpha + axis * a[:, k : k + 1] + np.cross(omega, axis) * v[:, k : k + 1]
                omega = omega + axis * v[:, k : k + 1]
            turning.append(omega), spinning.append(alpha), pushed.append(push)
            centre, inertia = self.mass_of(body, turn)
            push = push + np.cross(alpha, centre) + np.cross(omega, np.cross(omega, centre))
            force = link["mass"] * (push - GRAVITY)
            moment = _apply(inertia, alpha) + np.cross(omega, _apply(inertia, omega))
            for above in self.chain(body):
                axis, anchor = frames[above][0] @ self.bodies[above]["axis"], frames[above][1]
                about = np.cross(place + centre - anchor, force) + moment
                torque[:, self.bodies[above]["joint"]] += (axis * about).sum(axis=1)
        return torque

    def inertia(self, frames):
        """Joint inertia [k, n, n] with the rotors: the sum over the links of m Jv' Jv + Jw' I Jw."""
        count, n = len(frames[0][1]), len(self.rotors)
        total = np.zeros((count, n, n)) + np.diag(self.rotors)
        for body, link in enumerate(self.bodies):
            turn, place = frames[body]
            centre, inertia = self.mass_of(body, turn)
            linear, angular = np.zeros((count, 3, n)), np.zeros((count, 3, n))
            for above in self.chain(body):
                axis, k = frames[above][0] @ self.bodies[above]["axis"], self.bodies[above]["joint"]
                linear[:, :, k] = np.cross(axis, place + centre - frames[above][1])
                angular[:, :, k] = axis
            total += link["mass"] * linear.transpose(0, 2, 1) @ linear
            total += angular.transpose(0, 2, 1) @ inertia @ angular
        return total

    def mass_of(self, body, turn):
        """Centre of mass from the body's origin [k, 3] and inertia about it [k, 3, 3], in the base's axes."""
        link = self.bodies[body]
        return turn @ link["centre"], turn @ link["inertia"] @ turn.transpose(0, 2, 1)

    def chain(self, body):
        """The bodies from the base to `body` that an arm joint moves."""
        chain = []
        while body:
            if self.bodies[body]["joint"] is not None:
                chain.append(body)
            body = self.bodies[body]["parent"]
        return chain

    def judge_contact(self, before, q):
        """No point of the arm that may touch a person is faster than the person's body allows there.

        Looked at are the points that span a part, and one more of it, drawn by chance.
        """
        contact = self.limits["contact"]
        if "contact_area_cm2" not in contact:
            return []
        payload_kg, model = contact["payload_kg"]["value"], contact.get("model", "stricter")
        two_mass = float(self.contact_speed(0.5 * self.moving_kg + payload_kg))
        by_energy = model in ("stricter", "kinetic_energy")
        by_mass = model in ("stricter", "iso_ts_15066")
        assert by_energy or by_mass
        floor, found = float(self.contact_speed(np.inf)) if by_energy else two_mass, []
        here, there = self.frames(q), self.frames(before)
        every = None
        for part in self.parts:
            if not part["depth"]:
                continue
            (turn, place), (old_turn, old_place) = here[part["body"]], there[part["body"]]
            for local in (*part["points"], self.point_of(part)):
                point = place + turn @ local
                way = point - old_place - old_turn @ local
                speed = np.linalg.norm(way, axis=1) / self.dt
                fast = np.flatnonzero(speed > floor)
                if not len(fast):
                    continue
                if every is None:
                    every = np.linalg.inv(self.inertia(here))
                unit, row = way[fast] / (speed[fast] * self.dt)[:, None], np.zeros((len(fast), q.shape[1]))
                for above in self.chain(part["body"]):
                    axis = (here[above][0] @ self.bodies[above]["axis"])[fast]
                    lever = point[fast] - here[above][1][fast]
                    row[:, self.bodies[above]["joint"]] = (np.cross(axis, lever) * unit).sum(axis=1)
                mobility = np.einsum("ki,kij,kj->k", row, every[fast], row)
                felt_kg = 1.0 / np.maximum(mobility, 1e-9) + payload_kg
                allowed = self.contact_speed(felt_kg) if by_energy else np.full(len(fast), np.inf)
                if by_mass:
                    allowed = np.minimum(allowed, two_mass)
                excess = np.full(len(q), -np.inf)
                excess[fast] = speed[fast] - allowed
                found += _over(f"contact of {part['name']}", excess, CONTACT_M_S)
        return found

    def point_of(self, part):
        """A point of a part, in its body's frame, drawn by chance: of the hull of spheres around its points."""
        shares, way = self.chance.dirichlet(np.ones(len(part["points"]))), self.chance.normal(size=3)
        return shares @ part["points"] + part["radius"] * way / np.linalg.norm(way)

    def contact_speed(self, mass_kg):
        """The lowest speed [k] m/s that the regions of the profile allow a mass [k] kg that is felt."""
        contact = self.limits["contact"]
        speeds = []
        for key, factor in (("quasi_static_regions", 1.0), ("transient_regions", 2.0)):
            for name in contact.get(key) or []:
                force, pressure, stiffness, body_kg = BODY[name]
                push = factor * min(force, pressure * contact["contact_area_cm2"]["value"])
                reduced = 1.0 / (1.0 / body_kg + 1.0 / np.asarray(mass_kg))
                speeds.append(push / np.sqrt(reduced * 1000.0 * stiffness))
        return np.min(speeds, axis=0)

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
                    distance = _lengths(outside).min(axis=0) - part["radius"]
                    found += _over(f"{part['name']} in {region['name']}", -distance, CLOSE_M)
        return found + self.judge_self(here, strung) + self.judge_contact(before, q)

    def judge_self(self, here, strung):
        """Distances between links that can touch: of spheres strung along each from the other, both ways."""
        needed, found = float(self.number("self_distance_min_m")), []
        for one, centres in zip(self.parts, strung, strict=True):
            for other, others in zip(self.parts, strung, strict=True):
                if self.can_touch(one, other):
                    nearest = np.minimum(
                        _outside(other, here[other["body"]], centres).min(axis=0) - one["radius"],
                        _outside(one, here[one["body"]], others).min(axis=0) - other["radius"],
                    )
                    found += _over(f"{one['name']} near {other['name']}", needed - nearest, CLOSE_M)
        return found

    def can_touch(self, one, other):
        """Whether two parts are to be kept apart: of links that are no neighbours, or named in the robot's file."""
        if not (one["solid"] and other["solid"]) or other["depth"] <= one["depth"]:
            return False
        called = [{part["name"], part["link"], part["name"].partition("_hull_")[0]} for part in (one, other)]
        named = any(all(names & set(pair) for names in called) for pair in self.near)
        return named or other["depth"] - one["depth"] >= NEIGHBOUR_JOINTS

    def surface_speed(self, old, new, old_turn, turn, radius):
        """[k] m/s: of the fastest of some points on each sphere."""
        way = [new - old]
        for axis in np.eye(3):
            for side in (-radius, radius):
                way.append(new + turn @ (side * axis) - old - old_turn @ (side * axis))
        return _lengths(np.array(way)).max(axis=0) / self.dt

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
            "mass": float(model.body_mass[body]), "centre": model.body_ipos[body].copy(),
            "inertia": _turned(model.body_inertia[body], _matrix(model.body_iquat[body])),
        })  # fmt: skip
    names = [model.geom(geom).name for geom in range(model.ngeom)]
    hull = any(name.startswith("gripper_hull_") for name in names)  # stands for all parts of the gripper
    for geom, name in enumerate(names):
        touches = bool(model.geom_contype[geom] or model.geom_conaffinity[geom])
        if name.startswith("gripper_") and hull:
            touches = name.startswith("gripper_hull_")
        if not touches:
            continue
        body, size = int(model.geom_bodyid[geom]), model.geom_size[geom]
        box = int(model.geom_type[geom]) == int(mujoco.mjtGeom.mjGEOM_BOX)
        ends = np.array([[0, 0, -size[1]], [0, 0, size[1]]])
        corners = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]) * size
        points = model.geom_pos[geom] + (corners if box else ends) @ _matrix(model.geom_quat[geom]).T
        parts.append({
            "name": model.geom(geom).name, "body": body, "depth": bodies[body]["depth"], "points": points,
            "radius": 0.0 if box else float(size[0]), "solid": True, "link": model.body(body).name,
            "box": (model.geom_pos[geom].copy(), _matrix(model.geom_quat[geom]), size.copy()) if box else None,
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


def _lengths(vectors):
    """Of vectors [..., 3]; quicker than numpy's norm, which makes an array of the squares."""
    return np.sqrt(np.einsum("...i,...i->...", vectors, vectors))


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


def _turned(diagonal, turn):
    return turn @ np.diag(diagonal) @ turn.T


def _apply(matrices, vectors):
    """[k, 3, 3] times [k, 3]."""
    return np.einsum("kij,kj->ki", matrices, vectors)


def _travel(frame, local):
    """How far a point of a body gets from where it was first, m."""
    turn, place = frame
    path = place + turn @ local
    return float(np.linalg.norm(path - path[0], axis=1).max())


def _along(frame, part):
    """Centres [s, k, 3] of spheres strung along a part."""
    turn, place = frame
    points = part["points"]
    between = (
        points if len(points) != 2 else points[0] + np.linspace(0, 1, 7)[:, None] * (points[1] - points[0])
    )
    return np.array([place + turn @ point for point in between])


def _outside(part, frame, points):
    """How far [s, k] m the points [s, k, 3] are outside of a part; 0 inside."""
    turn, place = frame
    local = np.einsum("skj,kji->ski", points - place, turn)
    if part["box"] is not None:
        centre, own, half = part["box"]
        return _lengths(np.maximum(np.abs((local - centre) @ own) - half, 0.0))
    first, way = part["points"][0], part["points"][1] - part["points"][0]
    share = np.clip((local - first) @ way / (way @ way), 0.0, 1.0)
    return np.maximum(_lengths(local - first - share[..., None] * way) - part["radius"], 0.0)


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

"""What is contradictory or missing in a robot file, beyond the types of its keys."""

from __future__ import annotations

from robolearn.errors import unknown
from robolearn.robots.schema import LimitFacts, RobotFile

_NEEDED = ("position_min_rad", "position_max_rad", "velocity_rad_s", "torque_nm")
_OPTIONAL = ("acceleration_rad_s2", "jerk_rad_s3", "torque_rate_nm_s")

# of a complete file: who needs it, and what to write
_WANTED = {
    "payload_kg": "contact limits of the monitor are checked with it. Write the data sheet's, or `value: null` with a "
    "note.",
    "reach_m": "`reach` samples its goals within it (train). Write the data sheet's, from the shoulder to the flange.",
    "moving_mass_kg": "`robolearn safety pfl` works with it. Write the sum of the moving links' masses.",
    "home_rad": "episodes start around it and the arm rests at it (train, serve); without it, mid-range is used. "
    "Write a posture in which the arm is half stretched out, its tool pointing down.",
    "ros": "`serve` finds the arm's driver by it: topics, rates, controller. See robolearn/robots/ur5e.yaml.",
}


def contradictions(file: RobotFile) -> list[str]:
    """Faults that keep a robot from being built, one sentence each."""
    n = len(file.joint_names)
    problems = _limit_faults(file.limits, file.joint_names)
    if len(set(file.joint_names)) != n:
        problems.append("joint_names holds a name twice.")
    vectors = {"home_rad": file.home_rad.value if file.home_rad else None}
    if file.servo:
        servo = file.servo.model_dump()
        lists = {key: value for key, value in servo.items() if isinstance(value, list)}
        vectors |= {f"servo.{key}": value for key, value in lists.items() if value or key != "friction_nm"}
    problems += _length_faults(vectors, n)
    if not problems:
        problems += _home_faults(file)
    return problems + _structure_faults(file)


def missing(file: RobotFile) -> list[str]:
    """What a complete robot file has and this one does not, one sentence each."""
    findings = []
    for key in _OPTIONAL:
        if getattr(file.limits, key) is None:
            findings.append(
                f"limits.{key} is missing: write the manufacturer's number with its source, or "
                "`value: null` with a note."
            )
    for key, advice in _WANTED.items():
        if getattr(file, key) is None:
            findings.append(f"{key} is missing: {advice}")
    for link in file.links.bodies if file.links else ():
        if file.hull_of(link) is None:
            findings.append(
                f"Link '{link.name}' has no hull: the monitor uses its geometry "
                "instead. Add shapes that contain the real "
                f"link, with their margin: robolearn robots hulls FILE --mesh {link.name}=MESH"
            )
    if file.servo is None:
        findings.append(
            "servo is missing: the simulated drives are computed from the largest inertia in the workspace (see "
            "`robolearn robots show`). Add them to the file, or identify yours (robolearn sysid)."
        )
    if file.gripper_mount is None and (file.model is None or file.model.gripper is None):
        findings.append("gripper_mount is missing: the gripper is mounted directly on the flange.")
    return findings


def _length_faults(vectors: dict[str, list[float] | None], n: int) -> list[str]:
    return [
        f"{key} has {len(value)} numbers, but joint_names has {n} joints."
        for key, value in vectors.items()
        if value is not None and len(value) != n
    ]


def _limit_faults(limits: LimitFacts, joints: list[str]) -> list[str]:
    n = len(joints)
    problems = [
        f"limits.{key} is null: an arm without it cannot be built or served. Write the manufacturer's figures for "
        f"{', '.join(joints)}."
        for key in _NEEDED
        if getattr(limits, key).value is None
    ]
    facts = {key: getattr(limits, key) for key in _NEEDED + _OPTIONAL}
    vectors = {f"limits.{key}": fact.value for key, fact in facts.items() if fact is not None}
    for name, given in limits.sets.items():
        values = given.model_dump()
        values |= values.pop("velocity_curve") or {}
        vectors |= {f"limits.sets.{name}.{k}": v for k, v in values.items() if isinstance(v, list)}
    lengths = _length_faults(vectors, n)
    if problems or lengths:
        return problems + lengths
    for name in limits.velocity_curves:
        if name not in limits.sets or limits.sets[name].velocity_curve is None:
            problems.append(
                f"limits.velocity_curves names '{name}', but limits.sets has no such set with a curve."
            )
    for prefix in ["limits", *(f"limits.sets.{name}" for name in limits.sets)]:
        low, high = vectors[f"{prefix}.position_min_rad"], vectors[f"{prefix}.position_max_rad"]
        problems += _order_faults(prefix, low, high)
    for key, value in vectors.items():
        if "position" not in key and ".q_m" not in key and value and min(value) < 0.0:
            problems.append(f"{key} contains {min(value)}: expected positive values.")
    for key in ("velocity_rad_s", "torque_nm"):
        zeros = [joint for joint, v in zip(joints, vectors[f"limits.{key}"], strict=True) if v <= 0.0]
        if zeros:
            problems.append(
                f"limits.{key} contains a zero: a limit must be greater than 0. In a model file, 0 means "
                f"that none is given: find the values for {', '.join(zeros)}."
            )
    return problems


def _order_faults(prefix: str, low: list[float], high: list[float]) -> list[str]:
    return [
        f"{prefix}: joint {joint + 1} has position_min_rad {a} not below position_max_rad {b}."
        for joint, (a, b) in enumerate(zip(low, high, strict=True))
        if a >= b
    ]


def _home_faults(file: RobotFile) -> list[str]:
    if file.home_rad is None or file.home_rad.value is None:
        return []
    low, high = file.limits.position_min_rad.value or [], file.limits.position_max_rad.value or []
    return [
        f"home_rad: {name} is {q}, outside [{a}, {b}]."
        for name, q, a, b in zip(file.joint_names, file.home_rad.value, low, high, strict=True)
        if not a <= q <= b
    ]


def _structure_faults(file: RobotFile) -> list[str]:
    """Whether the file describes an arm at all: chain and links that fit together, or a model file."""
    if file.model is not None:
        if file.kinematics or file.links:
            return ["Both model and kinematics/links are given: keep one of them."]
        return []
    if file.kinematics is None or file.links is None:
        return ["No arm is defined: give kinematics and links, or model with an mjcf or urdf path."]
    moving = [step.name for step in file.kinematics.steps if step.type == "revolute"]
    problems = []
    if moving != file.joint_names:
        problems.append(
            f"The revolute steps of kinematics are {moving}, but joint_names are {file.joint_names}."
        )
    linked = [link.joint for link in file.links.bodies]
    if linked != [None, *file.joint_names]:
        problems.append(
            f"links.bodies must be the base (joint: null) and one link for each joint, in order; they are {linked}."
        )
    names = [link.name for link in file.links.bodies]
    problems += [f"hulls: {unknown('link', name, names)}" for name in file.hulls if name not in names]
    for link in file.links.bodies:
        for color in sorted({item.color for item in link.geometry} - set(file.links.colors)):
            problems.append(f"Link '{link.name}' uses color '{color}', which is not in links.colors.")
    return problems + _pair_faults(file)


def _pair_faults(file: RobotFile) -> list[str]:
    """Names in self_distance that are no link and no shape of one. Those of a model file are checked later."""
    if file.self_distance is None or file.links is None:
        return []
    known = ["gripper", *(link.name for link in file.links.bodies)]
    for link in file.links.bodies:
        hull = file.hull_of(link)
        shapes = hull.shapes if hull else link.geometry
        known += [f"{link.name}_{k}" for k, shape in enumerate(shapes) if shape.type != "accent"]
    named = [name for pair in file.self_distance.pairs for name in pair]
    return [f"self_distance.pairs: {unknown('link', name, known)}" for name in named if name not in known]

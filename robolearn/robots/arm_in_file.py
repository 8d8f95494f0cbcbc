"""From a user's model file to the arm in it: what is besides the arm is cut or held, and the base put at the origin."""

from __future__ import annotations

import mujoco
import numpy as np

from robolearn.errors import RobotError, unknown
from robolearn.robots.kinematics import rotation_from_quaternion
from robolearn.robots.schema import ModelFile

_WORLD = "world"


def isolate_arm(
    spec: mujoco.MjSpec, model: ModelFile, joint_names: list[str], gripper: bool = False
) -> mujoco.MjsBody:
    """Leave only the arm's joints in a spec, with its base at the origin. The body of the flange.

    gripper: whether the file's own gripper, if it is to be the robot's, stays with its joints; else it is cut. Raises
    RobotError that names what is left over and how to declare it.
    """
    name_all(spec)
    fingers = []
    if model.gripper is not None:
        palm = named_body(spec, model.gripper.palm_body, "gripper.palm_body")
        if gripper:
            fingers = model.gripper.finger_joints
            for name in fingers:
                if spec.joint(name) is None:
                    known = [joint.name for joint in spec.joints]
                    raise RobotError(f"model.gripper: {unknown('joint', name, known)}")
        else:
            _drop(spec, palm)
    _cut(spec, model)
    flange = _flange(spec, model)
    _check_arm_joints(spec, joint_names)
    _hold(spec, model, joint_names)
    _check_chain(spec, flange, joint_names)
    _check_couplings(spec, flange, joint_names)
    for element in (*spec.equalities, *spec.tendons, *spec.excludes, *spec.pairs):
        spec.delete(element)  # of parts that are held or cut, or between links, which never touch here
    _check_left_over(spec, [*joint_names, *fingers], flange)
    _put_base_at_origin(spec, model, joint_names)
    return flange


def path_to(body: mujoco.MjsBody) -> list[mujoco.MjsBody]:
    """The bodies from the world, left out, to a body."""
    line = []
    while body is not None and body.name != _WORLD:
        line.insert(0, body)
        body = body.parent
    return line


def name_all(spec: mujoco.MjSpec) -> None:
    """Give bodies and joints without a name one, so that a robot file can name them."""
    for kind, elements in (("body", spec.bodies[1:]), ("joint", spec.joints)):
        for number, element in enumerate(elements):
            if not element.name:
                element.name = f"unnamed_{kind}_{number}"


def named_body(spec: mujoco.MjSpec, name: str, key: str) -> mujoco.MjsBody:
    """The body that a key under `model` names. Raises RobotError."""
    found = spec.body(name)
    if found is None or name == _WORLD:
        names = [body.name for body in spec.bodies[1:]]
        raise RobotError(f"model.{key}: {unknown('body', name, names)}")
    return found


def _flange(spec: mujoco.MjSpec, model: ModelFile) -> mujoco.MjsBody:
    found = spec.body(model.flange_body)
    if found is None:
        names = [body.name for body in spec.bodies]
        raise RobotError(
            f"The model file has no body '{model.flange_body}' for the flange. Bodies: {', '.join(names)}."
        )
    return found


def _cut(spec: mujoco.MjSpec, model: ModelFile) -> None:
    line = [] if spec.body(model.flange_body) is None else path_to(spec.body(model.flange_body))
    if carriers := [body.name for body in line if body.name in model.cut]:
        raise RobotError(f"model.cut names '{carriers[0]}', which carries the flange '{model.flange_body}'.")
    for name in model.cut:
        named_body(spec, name, "cut")
    for name in model.cut:
        if spec.body(name) is not None:  # it may have hung on another
            _drop(spec, spec.body(name))


def _drop(spec: mujoco.MjSpec, body: mujoco.MjsBody) -> None:
    """Delete a body with all on it, and before that whatever names a part of it."""
    bodies = {body.name, *(b.name for b in body.find_all(mujoco.mjtObj.mjOBJ_BODY))}
    joints = {j.name for j in body.find_all(mujoco.mjtObj.mjOBJ_JOINT)}
    _forget(spec, bodies, joints)
    spec.delete(body)


def _forget(spec: mujoco.MjSpec, bodies: set[str], joints: set[str]) -> None:
    """Delete couplings, exclusions and pairs that name one of these bodies or joints."""
    for equality in list(spec.equalities):
        if {equality.name1, equality.name2} & (joints if _of_joints(equality) else bodies):
            spec.delete(equality)
    for tendon in list(spec.tendons):
        if _wrapped(tendon) & joints:
            _drop_tendon(spec, tendon)
    for exclude in list(spec.excludes):
        if {exclude.bodyname1, exclude.bodyname2} & bodies:
            spec.delete(exclude)


def _drop_tendon(spec: mujoco.MjSpec, tendon: mujoco.MjsTendon) -> None:
    for equality in list(spec.equalities):
        if equality.type == mujoco.mjtEq.mjEQ_TENDON and tendon.name in (equality.name1, equality.name2):
            spec.delete(equality)
    spec.delete(tendon)


def _of_joints(equality: mujoco.MjsEquality) -> bool:
    return equality.type == mujoco.mjtEq.mjEQ_JOINT


def _wrapped(tendon: mujoco.MjsTendon) -> set[str]:
    """The names of the joints that a tendon runs over."""
    names = set()
    for wrap in tendon.path:
        if wrap.type == mujoco.mjtWrap.mjWRAP_JOINT and wrap.target is not None:
            names.add(wrap.target.name)
    return names


def _check_arm_joints(spec: mujoco.MjSpec, joint_names: list[str]) -> None:
    for name in joint_names:
        if spec.joint(name) is None:
            raise RobotError(unknown("joint", name, [joint.name for joint in spec.joints]))


def _hold(spec: mujoco.MjSpec, model: ModelFile, joint_names: list[str]) -> None:
    """Turn held joints into none, their bodies where the joint has them at the position that is given."""
    positions: dict[str, float] = dict(model.hold)
    for name in model.keep:
        body = named_body(spec, name, "keep")
        for joint in body.find_all(mujoco.mjtObj.mjOBJ_JOINT):
            if joint.name in joint_names:
                raise RobotError(f"model.keep names '{name}', which carries joint '{joint.name}' of the arm.")
            positions.setdefault(joint.name, joint.ref)
    for name in positions:
        if name in joint_names:
            raise RobotError(
                f"model.hold names '{name}', which is also in joint_names: remove it from one of them."
            )
        if spec.joint(name) is None:
            known = [joint.name for joint in spec.joints]
            raise RobotError(f"model.hold: {unknown('joint', name, known)}")
    if positions:
        _forget(spec, set(), set(positions))
        move_joints(spec, positions)
        for name in positions:
            spec.delete(spec.joint(name))


def move_joints(spec: mujoco.MjSpec, positions: dict[str, float]) -> None:
    """Put the bodies of joints where they are at these positions, rather than at the reference position."""
    moved = {name: value for name, value in positions.items() if value != spec.joint(name).ref}
    if not moved:
        return
    model = spec.compile()
    turned: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, value in moved.items():
        joint = model.joint(name)
        body = model.body(int(joint.bodyid[0]))
        pos, turn = turned.get(body.name, (body.pos.copy(), rotation_from_quaternion(body.quat)))
        amount = value - float(model.qpos0[joint.qposadr[0]])
        if joint.type[0] == mujoco.mjtJoint.mjJNT_SLIDE:
            pos = pos + turn @ (joint.axis * amount)
        elif joint.type[0] == mujoco.mjtJoint.mjJNT_HINGE:
            quat = np.zeros(4)
            mujoco.mju_axisAngle2Quat(quat, joint.axis, amount)
            spin = rotation_from_quaternion(quat)
            pos, turn = pos + turn @ (joint.pos - spin @ joint.pos), turn @ spin
        else:
            raise RobotError(
                f"model.hold: joint '{name}' is a ball or free joint, which can only be held at 0."
            )
        turned[body.name] = pos, turn
    for name, (pos, turn) in turned.items():
        body = spec.body(name)
        body.set_frame(body.parent.add_frame())
        body.pos, body.quat = pos, _quaternion(turn)
        body.alt.type = mujoco.mjtOrientation.mjORIENTATION_QUAT


def _check_chain(spec: mujoco.MjSpec, flange: mujoco.MjsBody, joint_names: list[str]) -> None:
    """Whether the joints from the world to the flange are hinges, and those that joint_names has."""
    found = []
    for body in path_to(flange):
        for joint in body.joints:
            name = joint.name
            if name in joint_names and joint.type != mujoco.mjtJoint.mjJNT_HINGE:
                raise RobotError(
                    f"Joint '{name}' on the way to '{flange.name}' is not a hinge; only "
                    "hinges work. Remove it from joint_names and "
                    f"limits, and fix it at its position in the cell: model.hold: {{{name}: 0.0}}."
                )
            found.append(name)
    if found == joint_names:
        return
    more = [name for name in found if name and name not in joint_names]
    advice = (
        f"List exactly these, in this order, or fix those that are not part of the arm: model.hold: {{{more[0]}: 0.0}}."
        if more
        else "List exactly these, in this order."
    )
    raise RobotError(
        f"joint_names are {joint_names}, but the joints from the base to body '{flange.name}' are {found}. {advice}"
    )


def _check_couplings(spec: mujoco.MjSpec, flange: mujoco.MjsBody, joint_names: list[str]) -> None:
    """Refuse joints of the arm that something ties to others: their drives would fight the tie."""
    line = {body.name for body in path_to(flange)}
    for equality in spec.equalities:
        names = {equality.name1, equality.name2}
        tied = names & (set(joint_names) if _of_joints(equality) else line)
        if tied and equality.type != mujoco.mjtEq.mjEQ_TENDON:
            other = sorted(name for name in names - tied if name)
            raise RobotError(
                f"'{sorted(tied)[0]}' of the arm is tied to {' and '.join(other) or 'another part'} (an equality of "
                "the MJCF, or a mimic joint of the URDF): robolearn needs independent joints. Cut or hold the "
                "coupled part (model.cut, model.hold), if the arm is correct without it."
            )
    for tendon in spec.tendons:
        tied = _wrapped(tendon) & set(joint_names)
        if len(_wrapped(tendon)) > 1 and tied:
            raise RobotError(
                f"Tendon '{tendon.name}' couples joint '{sorted(tied)[0]}' of the arm with others: robolearn needs "
                "independent joints. Remove the tendon if the drives do not need it."
            )


def _check_left_over(spec: mujoco.MjSpec, joint_names: list[str], flange: mujoco.MjsBody) -> None:
    left = [joint for joint in spec.joints if joint.name not in joint_names]
    if not left:
        return
    tops = tops_of(left, {body.name for body in path_to(flange)})
    names = ", ".join(f"'{joint.name}'" for joint in left[:12])
    raise RobotError(
        f"The model file has {len(left)} joints besides the "
        f"{len(joint_names)} that are used: {names}. Declare them: `cut: "
        f"[{', '.join(tops)}]` under model removes their bodies, `keep: [{', '.join(tops)}]` "
        "keeps them with their joints fixed, `hold: {JOINT: POSITION}` fixes single joints at a position."
    )


def tops_of(joints: list[mujoco.MjsJoint], line: set[str]) -> list[str]:
    """The bodies nearest to the root that carry these joints and no part of the arm."""
    tops: list[str] = []
    for joint in joints:
        outside = [body.name for body in path_to(joint.parent) if body.name not in line]
        if outside and outside[0] not in tops:
            tops.append(outside[0])
    return tops


def _put_base_at_origin(spec: mujoco.MjSpec, model: ModelFile, joint_names: list[str]) -> None:
    """Move all that the file holds, so that the base stands where `ModelFile` says."""
    compiled = spec.compile()
    data = mujoco.MjData(compiled)
    mujoco.mj_kinematics(compiled, data)
    first = int(compiled.joint(joint_names[0]).bodyid[0])
    turn, shift = np.eye(3), np.zeros(3)
    if model.base_body is None:
        shift[:2] = -data.xpos[int(compiled.body_parentid[first])][:2]
    else:
        base = _base(compiled, model.base_body, first)
        ahead = data.xmat[base].reshape(3, 3)[:, 0]
        if np.hypot(*ahead[:2]) > 1e-6:  # a base that looks straight up or down faces nowhere
            cos, sin = ahead[:2] / np.hypot(*ahead[:2])
            turn = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
        shift = -turn @ data.xpos[base]
    if np.allclose(turn, np.eye(3), atol=1e-12) and np.allclose(shift, 0.0, atol=1e-12):
        return
    world = spec.worldbody
    inside = [
        e for kind in (world.bodies, world.geoms, world.sites, world.frames) for e in kind if e.frame is None
    ]
    frame = world.add_frame(pos=shift, quat=_quaternion(turn))
    for element in inside:
        element.set_frame(frame)


def _base(compiled: mujoco.MjModel, name: str, first: int) -> int:
    """The body that is named as base: one that no joint moves and that carries the first joint."""
    line, body = [], first
    while body > 0:
        body = int(compiled.body_parentid[body])
        line.append(body)
    names = [compiled.body(b).name for b in line]
    if name not in names:
        raise RobotError(
            f"model.base_body is '{name}', but the bodies that carry the first joint are {', '.join(names[::-1])}."
        )
    return line[names.index(name)]


def _quaternion(rotation: np.ndarray) -> np.ndarray:
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(rotation).ravel())
    return quaternion

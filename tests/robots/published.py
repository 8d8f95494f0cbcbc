"""Small URDF and MJCF files, each with one trait of the files that manufacturers publish, and robot files for them."""

import numpy as np
import yaml

INERTIAL = (
    '<inertial><origin xyz="0.1 0 0"/><mass value="2"/>'
    '<inertia ixx="0.01" iyy="0.02" izz="0.02" ixy="0" ixz="0" iyz="0"/></inertial>'
)
LIMIT = '<limit lower="-2.5" upper="2.5" effort="80" velocity="2"/>'
CORNERS = np.array([[x, y, z] for x in (0.0, 0.3) for y in (-0.04, 0.04) for z in (-0.04, 0.04)])
_FACES = [(0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1), (2, 3, 7), (2, 7, 6), (0, 2, 6), (0, 6, 4),
          (1, 5, 7), (1, 7, 3)]  # fmt: skip


def obj(corners=CORNERS):
    return "".join(f"v {x} {y} {z}\n" for x, y, z in corners) + "".join(
        f"f {a + 1} {b + 1} {c + 1}\n" for a, b, c in _FACES
    )


def ascii_stl(corners=CORNERS):
    facets = "".join(
        "facet normal 0 0 0\nouter loop\n"
        + "".join("vertex {} {} {}\n".format(*corners[k]) for k in face)
        + "endloop\nendfacet\n"
        for face in _FACES
    )
    return f"solid s\n{facets}endsolid s\n"


def mesh(filename, kind="collision"):
    return f'<{kind} name="part"><geometry><mesh filename="{filename}"/></geometry></{kind}>'


def urdf(*, upper="", fore="", limit=LIMIT, second="revolute", extra="", begin=""):
    """Three joints, 0.3 m each way, a flange `tool0` on a fixed joint. upper, fore: geometry of two links."""
    limits = {"revolute": limit, "continuous": '<limit effort="80" velocity="2"/>', "prismatic": limit}
    return f"""<robot name="three">{begin}
  <link name="base_link"/>
  <link name="shoulder">{INERTIAL}</link>
  <link name="upper">{INERTIAL}{upper}</link>
  <link name="fore">{INERTIAL}{fore}</link>
  <link name="tool0"/>
  <joint name="turn" type="revolute"><parent link="base_link"/><child link="shoulder"/><origin xyz="0 0 0.3"/>
    <axis xyz="0 0 1"/>{limit}</joint>
  <joint name="lift" type="{second}"><parent link="shoulder"/><child link="upper"/>
    <axis xyz="0 1 0"/>{limits[second]}</joint>
  <joint name="bend" type="revolute"><parent link="upper"/><child link="fore"/><origin xyz="0.3 0 0"/>
    <axis xyz="0 1 0"/>{limit}</joint>
  <joint name="flange" type="fixed"><parent link="fore"/><child link="tool0"/>
    <origin xyz="0.25 0 0" rpy="0 1.5707963 0"/></joint>
  {extra}
</robot>"""


HAND = f"""<link name="hand">{INERTIAL}</link><link name="left">{INERTIAL}</link><link name="right">{INERTIAL}</link>
  <joint name="mount" type="fixed"><parent link="tool0"/><child link="hand"/></joint>
  <joint name="left_finger" type="prismatic"><parent link="hand"/><child link="left"/><axis xyz="0 1 0"/>
    <limit lower="0" upper="0.04" effort="0" velocity="0"/></joint>
  <joint name="right_finger" type="prismatic"><parent link="hand"/><child link="right"/><axis xyz="0 -1 0"/>
    <limit lower="0" upper="0.04" effort="0" velocity="0"/><mimic joint="left_finger"/></joint>"""


def mjcf(
    *, where="", extra="", upper='<geom type="capsule" fromto="0 0 0 .3 0 0" size=".04"/>', hand="", world=""
):
    """Three joints on a body `base`, whose place is `where`."""
    return f"""<mujoco><compiler angle="radian"/><worldbody>{world}
  <body name="base" {where}><geom type="box" size=".05 .05 .1" pos="0 0 .1"/>
   <body name="shoulder" pos="0 0 .3"><joint name="turn" axis="0 0 1" range="-2.5 2.5"/>
    <geom type="capsule" fromto="0 0 -.05 0 0 0" size=".05"/>
    <body name="upper"><joint name="lift" axis="0 1 0" range="-2.5 2.5"/>{upper}
     <body name="fore" pos=".3 0 0"><joint name="bend" axis="0 1 0" range="-2.5 2.5"/>
      <geom type="capsule" fromto="0 0 0 .25 0 0" size=".03"/>{hand}
  </body></body></body></body></worldbody>{extra}</mujoco>"""


def arm(model, joints=("turn", "lift", "bend"), **changes):
    """The robot file of one of these, as a dictionary."""
    n = len(joints)

    def fact(value):
        return {"value": value, "source": "nameplate", "trust": "primary"}

    data = {
        "schema": "robolearn.robot/1",
        "name": "three",
        "label": "An arm of three joints",
        "joint_names": list(joints),
        "model": model,
        "reach_m": fact(0.55),
        "limits": {
            "position_min_rad": fact([-2.4] * n),
            "position_max_rad": fact([2.4] * n),
            "velocity_rad_s": fact([2.0] * n),
            "torque_nm": fact([80.0, 80.0, 40.0][:n]),
        },
    }
    return data | changes


def write(folder, text, data, name=None):
    """A model file and its robot file; the path of the robot file."""
    model = data["model"]
    (folder / (model.get("mjcf") or model["urdf"])).write_text(text)
    path = folder / (name or "arm.yaml")
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path

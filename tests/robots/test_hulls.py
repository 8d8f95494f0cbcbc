"""Hulls: fitted to meshes, written into the robot file, watched by the monitor; and links that cannot be watched."""

import mujoco
import numpy as np
import pytest
import yaml
from published import CORNERS, arm, mesh, mjcf, obj, urdf, write

from robolearn.cli import app as cli
from robolearn.errors import ProfileError, RobotError
from robolearn.robots import check_robot, load_robot
from robolearn.robots.hull_fit import contained, fit_hull, split
from robolearn.robots.hulls_file import fit_hulls, write_hulls
from robolearn.robots.schema import BoxShape, CapsuleShape
from robolearn.safety.arm_model import ArmModel

pytest.importorskip("scipy")

URDF = {"urdf": "arm.urdf", "flange_body": "tool0"}
MJCF = {"mjcf": "arm.xml", "flange_body": "fore", "flange_xyz_m": [0.25, 0, 0]}
VERTICES = " ".join(str(x) for x in CORNERS.ravel())
MESH_ASSET = f'<asset><mesh name="m" vertex="{VERTICES}"/></asset>'


def bent_tube(bend, count=24, rings=30):
    """The surface of a tube of radius 4 cm along an arc, as triangles."""
    s, a = np.linspace(0, bend, rings), np.linspace(0, 2 * np.pi, count, endpoint=False)
    centre = 0.3 * np.stack([np.sin(s), np.zeros(rings), 1 - np.cos(s)], axis=1)
    out = np.stack([-np.sin(s), np.zeros(rings), np.cos(s)], axis=1)
    ring = np.cos(a)[:, None, None] * out + np.sin(a)[:, None, None] * np.array([0.0, 1.0, 0.0])
    grid = np.swapaxes(centre + 0.04 * ring, 0, 1)
    after = np.roll(grid, -1, axis=1)
    return np.concatenate(
        [np.stack([grid[:-1], after[:-1], grid[1:]], 2), np.stack([grid[1:], after[:-1], after[1:]], 2)]
    ).reshape(-1, 3, 3)


def on_surface(triangles, count=20_000, seed=1):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet([1, 1, 1], count)
    return np.einsum("kc,kcx->kx", weights, triangles[rng.integers(len(triangles), size=count)])


@pytest.mark.slow
@pytest.mark.parametrize("bend", [0.01, 1.0, 2.5])
@pytest.mark.parametrize("margin_m", [0.0, 0.002, 0.01])
def test_a_hull_contains_every_corner_by_its_margin_and_every_point_of_the_surface(bend, margin_m):
    triangles = bent_tube(bend)
    shapes = fit_hull(triangles, margin_m)
    assert contained(triangles.reshape(-1, 3), shapes, margin_m).all()
    assert contained(on_surface(triangles), shapes).all()


def test_a_bent_link_gets_several_shapes_and_a_straight_one_few():
    assert len(fit_hull(bent_tube(2.5), 0.002)) >= 3
    assert len(fit_hull(bent_tube(0.01), 0.002)) == 1


def test_a_ball_gets_a_ball_and_a_block_a_box():
    angles = np.linspace(0, np.pi, 13)
    rings = [
        0.1 * np.array([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)])
        for t in angles
        for p in np.linspace(0, 2 * np.pi, 25)
    ]
    (ball,) = fit_hull(
        np.array([[a, b, c] for a, b, c in zip(rings, rings[1:], rings[2:], strict=False)]), 0.0
    )
    assert isinstance(ball, CapsuleShape)
    assert ball.radius_m == pytest.approx(0.1, abs=0.002)
    block = CORNERS[[[0, 1, 3], [4, 6, 7], [0, 4, 5], [2, 3, 7]]]
    (box,) = fit_hull(block, 0.002)
    assert isinstance(box, BoxShape)
    np.testing.assert_allclose(box.half_size_m, [0.152, 0.042, 0.042], atol=6e-4)


def test_a_split_keeps_the_surface():
    triangles = bent_tube(1.0)
    low, high = split(triangles, 0, 0.12)

    def area(t):
        return np.linalg.norm(np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]), axis=1).sum() / 2

    assert area(low) + area(high) == pytest.approx(area(triangles))
    assert low[..., 0].max() <= 0.12 <= high[..., 0].min()


def test_no_triangles_are_refused():
    with pytest.raises(RobotError, match="holds no triangles"):
        fit_hull(np.zeros((0, 3, 3)), 0.002)


@pytest.fixture
def meshed(tmp_path):
    """An arm whose upper link is a mesh, its comment and its fore link a primitive."""
    (tmp_path / "upper.obj").write_text(obj())
    rod = '<collision><origin rpy="0 1.5708 0"/><geometry><cylinder radius="0.04" length="0.2"/></geometry></collision>'
    text = urdf(upper=mesh("upper.obj"), fore=rod).replace(
        '<link name="shoulder">', f'<link name="shoulder">{rod}'
    )
    path = write(tmp_path, text, arm(URDF))
    path.write_text("# written by hand\n" + path.read_text())
    return path


def run(*arguments):
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    return end.value.code or 0


def test_a_link_that_is_a_mesh_is_named_and_refused_until_it_has_a_hull(meshed, capsys):
    said = " ".join(check_robot(meshed))
    assert "Link 'upper' has geometry that the safety monitor cannot check" in said
    assert "robolearn robots hulls arm.yaml" in said
    with pytest.raises(ProfileError, match="Link 'upper' has geometry that the safety monitor cannot check"):
        ArmModel(load_robot(meshed), {}, "parallel")
    assert run("robots", "hulls", meshed) == 0
    assert "upper: box, every corner at least 2 mm inside" in capsys.readouterr().out
    assert "cannot check" not in " ".join(check_robot(meshed))
    assert "upper_0" in ArmModel(load_robot(meshed), {}, "parallel").names
    text = meshed.read_text()
    assert text.startswith("# written by hand\n")
    written = yaml.safe_load(text)["hulls"]
    assert list(written) == ["upper"]
    assert written["upper"]["margin_m"] == 0.002
    assert run("robots", "hulls", meshed) == 0
    assert "every link has a hull" in capsys.readouterr().out


def test_what_touches_is_then_the_hull_and_the_mesh_is_only_seen(meshed):
    write_hulls(meshed, fit_hulls(meshed).hulls)
    model = load_robot(meshed).spec().compile()
    body = model.body("upper").id
    touching = [
        model.geom(g).name
        for g in range(model.ngeom)
        if model.geom_bodyid[g] == body and model.geom_conaffinity[g]
    ]
    assert touching == ["upper_0"]
    before = load_robot(
        write(meshed.parent, (meshed.parent / "arm.urdf").read_text(), arm(URDF), "plain.yaml")
    )
    assert before.spec().compile().body_mass[body] == model.body_mass[body]


def test_all_links_and_a_second_time(meshed, capsys):
    assert run("robots", "hulls", meshed, "--all", "--margin-m", "0.01") == 0
    assert run("robots", "hulls", meshed, "--all") == 0
    data = yaml.safe_load(meshed.read_text())
    assert set(data["hulls"]) == {"shoulder", "upper", "fore"}
    assert {hull["margin_m"] for hull in data["hulls"].values()} == {0.002}
    assert meshed.read_text().count("hulls:") == 1
    assert len(ArmModel(load_robot(meshed), {}, None).names) == 5


@pytest.mark.slow
def test_round_primitives_lie_in_their_hulls(tmp_path):
    kinds = {
        "cylinder": ".05 .1",
        "sphere": ".06",
        "ellipsoid": ".05 .08 .03",
        "box": ".02 .03 .04",
        "capsule": ".04 .1",
    }
    for kind, size in kinds.items():
        upper = f'<geom type="{kind}" size="{size}" pos=".1 0 .02" euler=".3 .2 .1"/>'
        path = write(tmp_path, mjcf(upper=upper), arm(MJCF))
        shapes = fit_hulls(path, 0.0, every=True).hulls["upper"].shapes
        model = load_robot(path).spec().compile()
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        geom = next(g for g in range(model.ngeom) if model.geom_bodyid[g] == model.body("upper").id)
        base = data.body("upper").xpos
        for direction in np.random.default_rng(0).normal(size=(200, 3)):
            start = data.geom_xpos[geom] + 1.0 * direction / np.linalg.norm(direction)
            away = mujoco.mju_rayGeom(
                data.geom_xpos[geom],
                data.geom_xmat[geom],
                model.geom_size[geom],
                start,
                -direction,
                model.geom_type[geom],
                None,
            )
            assert contained((start - away * direction - base)[None], shapes).all(), kind


def test_a_mesh_beside_primitives_is_not_watched_either(tmp_path):
    both = '<geom type="mesh" mesh="m"/><geom type="capsule" fromto="0 0 0 .3 0 0" size=".04"/>'
    path = write(tmp_path, mjcf(upper=both, extra=MESH_ASSET), arm(MJCF))
    assert "Link 'upper' has geometry" in " ".join(check_robot(path))


def test_a_link_with_a_mass_and_no_geometry_is_not_watched(tmp_path):
    found = " ".join(check_robot(write(tmp_path, urdf(), arm(URDF))))
    assert (
        "Links 'shoulder', 'upper', 'fore' have a mass and no geometry, which the safety monitor cannot check"
        in found
    )


def test_a_mesh_for_a_link_of_a_file_of_links(tmp_path, capsys):
    (tmp_path / "part.obj").write_text(obj())
    data = yaml.safe_load(load_robot("ur5e").path.read_text())
    del data["links"]["bodies"][3]["hull"]
    path = tmp_path / "ur5e.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    found = check_robot(path)
    assert "Link 'forearm_link' has no hull" in " ".join(found)
    assert "--mesh forearm_link=MESH" in " ".join(found)
    assert run("robots", "hulls", path, "--mesh", f"forearm_link={tmp_path}/part.obj") == 0
    assert check_robot(path) == []
    assert "forearm_link_0" in ArmModel(load_robot(path), {}, None).names
    assert run("robots", "hulls", path, "--mesh", f"forarm_link={tmp_path}/part.obj") == 2
    assert "Did you mean 'forearm_link'" in capsys.readouterr().err
    assert run("robots", "hulls", path, "--mesh", "forearm_link") == 2


def test_hulls_of_unknown_links_are_refused(meshed):
    data = yaml.safe_load(meshed.read_text())
    hull = fit_hulls(meshed).hulls["upper"].model_dump(mode="json")
    meshed.write_text(yaml.safe_dump(data | {"hulls": {"uper": hull}}))
    with pytest.raises(RobotError, match="hulls: Unknown link 'uper'.*Did you mean 'upper'"):
        load_robot(meshed)

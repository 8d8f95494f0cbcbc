"""A bundle, evaluated as it will be served, and what `robolearn eval` writes."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from env_programs import reset_program

from robolearn.cli import app as cli
from robolearn.env.vec_env import VecEnv, make
from robolearn.errors import BundleError, PhysicsError, TaskError
from robolearn.learn import evaluate_bundle as bundles
from robolearn.learn.evaluate import (
    _conditions,
    control_periods,
    play_episodes,
)
from robolearn.learn.evaluation import Evaluation, wilson
from robolearn.policy.bundle import PolicyBundle, write_bundle
from robolearn.policy.export import export_policy
from robolearn.robots.kinematics import forward
from robolearn.show import evaluated as evaluated_paths

# Short episodes, easy goals; latency and noise that matter; no reward of the action, which a bundle does not tell.
ENV = {
    "episode_s": 1.0,
    "success_hold_s": 0.1,
    "tolerance_m": 0.25,
    "reward": {"action": 0.0},
    "randomization": {
        "observation_delay_ms": [0.0, 50.0],
        "observation_drop": 0.1,
        "action_delay_ms": [0.0, 30.0],
    },
}
N = 32  # environments, each with two episodes
SEED = 5


def towards(env: VecEnv):
    """A hand-written actor: the transposed Jacobian at home times the way to the goal, which `observe` gives."""
    n = env.task.robot.dof
    home = jnp.asarray(env.task.robot.home_rad, jnp.float32)
    jacobian = jax.jacobian(lambda q: forward(env.task.robot, q, xp=jnp)[0])(home)
    return lambda obs: jnp.clip(6.0 * obs[..., 2 * n + 3 : 2 * n + 6] @ jacobian, -1.0, 1.0)


@pytest.fixture(scope="module")
def env():
    return make("fr3/reach", N, "native", ENV)


@pytest.fixture(scope="module")
def bundle(env, tmp_path_factory):
    return export_policy(
        env.task, towards(env), tmp_path_factory.mktemp("served") / "hand.robolearn", name="hand",
        training={"config": {"env": ENV}}, evaluation={}, signing_key=Ed25519PrivateKey.generate(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(env):
    """What the actor did, episode by episode."""
    actor = towards(env)
    chunk = jax.jit(
        lambda carry: control_periods(env, carry, lambda state: env.step(state, actor(state.obs)))
    )
    return play_episodes(env, chunk, 2 * N, SEED)


@pytest.fixture(scope="module")
def evaluated(bundle, tmp_path_factory):
    """What `robolearn eval` makes of the bundle, and what the bundle did, episode by episode."""
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "hand-failure.mp4").write_bytes(b"of an earlier evaluation")
    kept, summarise = {}, bundles.summarise

    def keep(env, rows, seed):
        kept.update(rows)
        return summarise(env, rows, seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluated_paths, "EVALUATED_AT_ONCE", N)
        patch.setattr(bundles, "summarise", keep)
        done = evaluated_paths.evaluate_path(bundle.path, 2 * N, SEED, video=True, output=folder)
    notes = done.notes + done.write_films()
    return SimpleNamespace(rows=kept, result=done.result, notes=notes, folder=folder)


def altered(bundle, path, **changes):
    """The same bundle with another manifest, signed anew."""
    manifest = bundle.manifest.model_copy(update=changes)
    return write_bundle(path, manifest, bundle.onnx_bytes, "# card", Ed25519PrivateKey.generate()).path


@pytest.mark.slow
def test_a_bundle_does_in_every_episode_what_its_actor_did(trained, evaluated):
    found = evaluated.rows
    assert 0 < trained["success"].sum() < 2 * N  # else agreement would say little
    np.testing.assert_array_equal(found["success"], trained["success"])
    np.testing.assert_array_equal(found["first_success"], trained["first_success"])
    np.testing.assert_allclose(found["episode_return"], trained["episode_return"], rtol=1e-3, atol=1e-3)
    for name in trained:
        if name.startswith("stratum/"):
            np.testing.assert_allclose(found[name], trained[name], atol=1e-6)


@pytest.mark.slow
def test_strata_say_where_an_episode_began_and_how_late_it_was(env, trained):
    state = reset_program(env)(jax.random.key(SEED))
    start = np.asarray(env.readings(state.physics)["tcp_position"])
    for i, axis in enumerate("xyz"):
        values = trained[f"stratum/start of TCP.{axis} m"]
        np.testing.assert_allclose(values[:N], start[:, i], atol=1e-5)
        assert np.abs(values[N:] - start[:, i]).max() > 0.01  # the second episode's own start
    late = trained["stratum/action latency ms"]
    np.testing.assert_allclose(late[:N], np.asarray(state.commands.delay) * 1000.0, rtol=1e-5)
    assert 0.0 <= late.min() < late.max() <= 30.0
    late = trained["stratum/observation latency ms"]
    assert 0.0 <= late.min() < 15.0 < 35.0 < late.max() <= 50.0


@pytest.mark.slow
def test_objects_start_where_the_task_puts_them():
    env = make("fr3/pick_cube", 16, "native")
    state = reset_program(env)(jax.random.key(0))
    named = _conditions(env, state)
    address = env.model.jnt_qposadr[env.model.body("cube").jntadr[0]]
    for i, axis in enumerate("xyz"):
        np.testing.assert_array_equal(named[f"start of cube.{axis} m"], state.physics.qpos[:, address + i])
    assert "mass of cube kg" in named
    assert not [name for name in named if "fr3_" in name]  # neither the arm's joints nor its links
    assert not [name for name in named if "gripper" in name]  # nor the hand's parts


@pytest.mark.slow
def test_files_are_written_under_the_bundles_name(bundle, evaluated):
    report = json.loads((evaluated.folder / "hand-evaluation.json").read_text())
    assert report["digest"] == bundle.digest
    assert report["success"]["successes"] == evaluated.rows["success"].sum()
    assert report["episode_return"] is None
    assert (evaluated.folder / "hand-evaluation.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_successes_and_failures_are_filmed_or_their_lack_is_said(evaluated):
    successes = int(evaluated.rows["success"].sum())
    for kind, number in (("success", successes), ("failure", 2 * N - successes)):
        path = evaluated.folder / f"hand-{kind}.mp4"
        assert path.exists() == bool(number)
        assert bool(number) == (f"no {kind} to film" not in evaluated.notes)
        if number:
            assert b"ftyp" in path.read_bytes()[:16]


def test_a_bundle_of_another_world_is_refused(bundle, tmp_path):
    for changes, words in (
        ({"robot_digest": "0" * 64}, "robot file: 000000000000, here"),
        ({"control_hz": 20.0}, "control rate in Hz: 20.0, here 50.0"),
    ):
        path = altered(bundle, tmp_path / "other.robolearn", **changes)
        with pytest.raises(BundleError, match=words):
            bundles.bundle_env(PolicyBundle.load(path), 1)
    path = altered(bundle, tmp_path / "unknown.robolearn", task="fr3/reech")
    with pytest.raises(TaskError, match="Did you mean 'fr3/reach'"):
        bundles.bundle_env(PolicyBundle.load(path), 1)


def test_a_machine_that_cannot_film_says_so_before_an_episode_is_played(bundle, tmp_path, monkeypatch):
    def play(*_, **__):
        raise AssertionError("was played")

    monkeypatch.setattr(bundles, "play_episodes", play)
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    monkeypatch.setattr("mujoco.rendering.classic.gl_context.GLContext", play)
    with pytest.raises(PhysicsError, match="Cannot render .*libegl1"):
        evaluated_paths.evaluate_path(bundle.path, 2, video=True, output=tmp_path)


def test_the_result_is_printed_before_the_films_are_made(tmp_path, monkeypatch, capsys):
    rate = wilson("all", 1, 2)
    result = Evaluation("fr3/reach", 0, rate, 0, 0, None, None, {}, {}, (), None)

    class Done:
        notes = ["wrote a.json"]

        def __init__(self):
            self.result = result

        def write_films(self, progress):
            assert "fr3/reach: 50.0% of 2 episodes" in capsys.readouterr().out
            return ["wrote success.mp4"]

    monkeypatch.setattr(evaluated_paths, "evaluate_path", lambda *_, **__: Done())
    with pytest.raises(SystemExit) as end:
        cli.main(["eval", str(tmp_path), "--video", "--no-shifts"])
    assert end.value.code == 0
    assert capsys.readouterr().err.splitlines() == ["wrote a.json", "wrote success.mp4"]


def broken(bundle, path):
    data = bytearray(bundle.path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize(
    ("make_path", "word"),
    [
        (lambda bundle, folder: folder / "none.robolearn", "Cannot read the bundle"),
        (lambda bundle, folder: folder / "none", "Unknown run folder"),
        (lambda bundle, folder: folder, "Unknown run folder"),
        (lambda bundle, folder: broken(bundle, folder / "broken.robolearn"), "broken.robolearn"),
        (lambda bundle, folder: altered(bundle, folder / "x.robolearn", task="fr9/reach"), "Unknown task"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line_and_status_2(bundle, tmp_path, capsys, make_path, word):
    with pytest.raises(SystemExit) as end:
        cli.main(["eval", str(make_path(bundle, tmp_path))])
    out, err = capsys.readouterr()
    assert end.value.code == 2
    assert out == ""
    lines = [line for line in err.splitlines() if "compiling" not in line and line.strip()]
    assert len(lines) == 1
    assert word in lines[0]

"""The global policy as a bundle: what was averaged is what acts, and the manifest names rounds, pseudonyms, epsilon."""

import json
import shutil
from io import BytesIO

import jax
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from robolearn.env.vec_env import make
from robolearn.errors import ConfigError
from robolearn.fleet.global_bundle import export_global, export_own
from robolearn.fleet.local import arrays_of
from robolearn.fleet.rounds import Rounds
from robolearn.fleet.settings import Federation, Folder
from robolearn.fleet.setup import new_federation
from robolearn.fleet.vector import Layout, vector_sha256
from robolearn.fleet.work import common_config, trainer_of
from robolearn.learn.learner import init_learner
from robolearn.learn.trainer import pinned
from robolearn.policy.bundle import PolicyBundle

SMALL = {
    "num_envs": 16,
    "env": {"episode_s": 0.4, "success_hold_s": 0.1},
    "ppo": {"actor_hidden": [8], "critic_hidden": [8], "minibatches": 2, "rollout_steps": 8},
    "groups": 2,
}


@pytest.fixture(scope="module")
def learnt():
    """A learner as the sites would have trained it, and its environment."""
    config = pinned(common_config(federation()))
    env = make(config.task, 4, config.engine, config.env)
    return config, init_learner(config, env, jax.random.key(7))


def federation(**changes):
    given = {"schema": "robolearn.federation/1", "name": "arms", "task": "fr3/reach", "train": SMALL}
    return Federation.model_validate(given | changes)


def folder_with(tmp_path, vector, layout):
    folder = new_federation(tmp_path / "federation", federation())
    rounds = Rounds(folder.path)
    rounds.begin(layout, np.zeros_like(vector))
    for number, sites in ((1, ["north", "south"]), (2, ["north"])):
        rounds.complete(number, vector, None, {"answered": sites})
    return folder


def test_the_bundle_acts_as_the_averaged_vector_and_names_the_federation(learnt, tmp_path):
    _, learner = learnt
    arrays = {name: np.asarray(value) for name, value in arrays_of(learner).items()}
    layout = Layout.of(arrays)
    vector = layout.flatten(arrays)
    folder = folder_with(tmp_path, vector, layout)
    made = export_global(folder, tmp_path / "arms.robolearn", key_path=tmp_path / "key.pem", episodes=8)
    bundle = PolicyBundle.load(made.path)
    told = bundle.manifest.training["federation"]
    assert told["sites"] == {"north": 2, "south": 1}
    assert told["rounds"] == 2
    assert told["vector_sha256"] == vector_sha256(vector)
    assert told["privacy"]["epsilon"] is None
    assert bundle.manifest.evaluation["success"]["episodes"] == 8
    # The graph holds the averaged numbers themselves.
    held = [numpy_helper.to_array(one) for one in onnx.load_from_string(bundle.onnx_bytes).graph.initializer]
    for layer in learner.params.actor:
        assert any(np.array_equal(np.asarray(layer.kernel), one) for one in held)


def test_a_vector_of_other_networks_is_refused(learnt, tmp_path):
    _, learner = learnt
    arrays = {name: np.asarray(value) for name, value in arrays_of(learner).items()}
    arrays["one_more"] = np.zeros(3, np.float32)
    layout = Layout.of(arrays)
    folder = folder_with(tmp_path, layout.flatten(arrays), layout)
    with pytest.raises(ConfigError, match="not of the networks of fr3/reach"):
        export_global(folder, episodes=8)


def test_without_a_round_there_is_nothing_to_export(learnt, tmp_path):
    _, learner = learnt
    arrays = {name: np.asarray(value) for name, value in arrays_of(learner).items()}
    layout = Layout.of(arrays)
    folder = new_federation(tmp_path / "federation", federation())
    Rounds(folder.path).begin(layout, layout.flatten(arrays))
    with pytest.raises(ConfigError, match="no round yet"):
        export_global(folder, episodes=8)


def test_a_sites_own_bundle_acts_with_its_personal_parts(tmp_path):
    coordinator = new_federation(tmp_path / "federation", federation())
    north = Folder(tmp_path / "north")
    north.path.mkdir()
    shutil.copy(coordinator / "federation.yaml", north / "federation.yaml")
    env = {"randomization": {"joint_damping_scale": {"fr3_*": [2.0, 2.1]}}}
    (north / "site.yaml").write_text(
        json.dumps({"schema": "robolearn.site/1", "name": "north", "env": env, "personal": ["actor/1"]})
    )
    trainer = trainer_of(north, compile_now=False)
    trainer._own = np.full(trainer.layout.mask(["actor/1"]).sum(), 0.5, np.float32)
    data = BytesIO()
    np.savez(data, **trainer.kept())
    (north / "training.npz").write_bytes(data.getvalue())
    common = trainer.first_vector()
    Rounds(coordinator.path).begin(trainer.layout, common)
    last = coordinator / "rounds" / "000000.npz"
    made = export_own(north, last, key_path=tmp_path / "key.pem", episodes=8)
    bundle = PolicyBundle.load(made.path)
    told = bundle.manifest.training["federation"]
    assert (told["site"], told["personal"]) == ("north", ["actor/1"])
    assert told["vector_sha256"] == vector_sha256(common)
    pinned_env = bundle.manifest.training["config"]["env"]
    assert pinned_env["randomization"]["joint_damping_scale"]["fr3_*"] == [2.0, 2.1]
    held = [numpy_helper.to_array(one) for one in onnx.load_from_string(bundle.onnx_bytes).graph.initializer]
    arrays = trainer.layout.unflatten(common)
    assert any(np.array_equal(arrays["actor/0/kernel"], one) for one in held)
    assert any(one.shape == arrays["actor/1/kernel"].shape and (one == 0.5).all() for one in held)
    with pytest.raises(ConfigError, match=r"holds no vector of a round .* rounds/000008.npz"):
        export_own(north, tmp_path / "none.npz", episodes=8)

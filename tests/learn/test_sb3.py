import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

torch = pytest.importorskip("torch")
sb3 = pytest.importorskip("stable_baselines3")

from stable_baselines3.common.vec_env import VecNormalize  # noqa: E402

from robolearn.errors import BundleError  # noqa: E402
from robolearn.learn.sb3 import Sb3VecEnv, export_sb3, sb3_actor  # noqa: E402
from robolearn.policy.bundle import PolicyBundle  # noqa: E402
from robolearn.policy.runtime import PolicyRuntime  # noqa: E402


def small():
    return {"policy_kwargs": {"net_arch": [16, 16]}, "device": "cpu", "seed": 0}


@pytest.fixture(scope="module")
def envs():
    torch.set_num_threads(1)
    return Sb3VecEnv("fr3/reach", num_envs=8, engine="native", config={"episode_s": 0.6})


def test_infos_tell_sb3_what_it_needs(envs):
    envs.seed(3)
    first = envs.reset()
    envs.seed(3)
    np.testing.assert_array_equal(first, envs.reset())
    for i in range(30):
        obs, reward, done, infos = envs.step(np.zeros((8, 7), np.float32))
        assert done.all() == (i == 29)
        assert all(bool(info) == (i == 29) for info in infos)
    assert obs.shape == (8, envs.robolearn.obs_size)
    assert infos[0]["TimeLimit.truncated"] is True
    assert infos[0]["episode"]["l"] == 30
    assert infos[0]["terminal_observation"].shape == (envs.robolearn.obs_size,)
    assert np.isfinite(reward).all()


@pytest.mark.parametrize("algorithm", ["PPO", "SAC"])
def test_an_unchanged_algorithm_trains_and_its_policy_is_exported(algorithm, envs, tmp_path):
    wrapped = VecNormalize(envs)
    settings = (
        {"n_steps": 16, "batch_size": 64} if algorithm == "PPO" else {"learning_starts": 64, "batch_size": 32}
    )
    model = getattr(sb3, algorithm)("MlpPolicy", wrapped, **small(), **settings)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(512)
    after = model.policy.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before), "training changed the weights"
    assert len(model.ep_info_buffer) > 0, "episode statistics reached SB3"

    raw = np.random.default_rng(0).normal(size=(50, envs.robolearn.obs_size)).astype(np.float32)
    expected, _ = model.predict(wrapped.normalize_obs(raw), deterministic=True)
    actual = jax.vmap(sb3_actor(model))(jnp.asarray(raw))
    np.testing.assert_allclose(np.asarray(actual), expected, atol=1e-5)

    path = tmp_path / "sb3.robolearn"
    export_sb3(model, path, name="sb3-reach", signing_key=Ed25519PrivateKey.generate())
    bundle = PolicyBundle.load(path)
    assert bundle.manifest.training["algorithm"] == algorithm
    assert bundle.manifest.task == "fr3/reach"
    _serves_as_it_was_trained(bundle, envs, model, wrapped)


def _serves_as_it_was_trained(bundle, envs, model, wrapped):
    """Targets of the bundle equal those of the task's own action scaling of the SB3 model's action."""
    envs.seed(1)
    obs = envs.reset()
    state, env = envs._stepper.state, envs.robolearn
    action, _ = model.predict(wrapped.normalize_obs(obs), deterministic=True)
    targets, _ = jax.vmap(env.task.act)(jnp.asarray(action), state.memory)
    readings = {name: np.asarray(value[0]) for name, value in env.readings(state.physics).items()}
    readings |= {name: np.asarray(value[0]) for name, value in state.goal.items()}
    runtime = PolicyRuntime(bundle)
    runtime.reset({"joint_state.position": readings["joint_position"]})
    served = runtime.step(readings)["joint_position_target"]
    np.testing.assert_allclose(served, np.asarray(targets["joint_position_target"][0]), atol=1e-4)


def test_a_network_that_cannot_be_exported_is_named(envs):
    model = sb3.PPO("MlpPolicy", envs, **small(), n_steps=16, batch_size=64)
    model.policy.mlp_extractor.policy_net.append(torch.nn.LayerNorm(16))
    with pytest.raises(BundleError, match="LayerNorm"):
        sb3_actor(model)

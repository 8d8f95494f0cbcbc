"""A site's work: what goes into the vector and comes back, and that averaging it learns."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent.parent / "learn"))
from pointmass import PointMass
from train_point import point_config

from robolearn.errors import ConfigError
from robolearn.fleet.aggregate import mean
from robolearn.fleet.local import SiteTrainer, arrays_of, behind, site_config, with_arrays
from robolearn.fleet.vector import Layout
from robolearn.learn.evaluate import evaluate
from robolearn.learn.learner import init_learner, policy_of

ROUNDS, LOCAL = 8, 5


class Drifting(PointMass):
    """The point, pushed aside: each site by another amount."""

    def __init__(self, num_envs, push):
        super().__init__(num_envs)
        self.push = push

    def step(self, state, action):
        return super().step(state, action + self.push)

    def expert(self, state):
        return super().expert(state) - self.push


def trainer(push=0.0, seed=0, **options):
    config = point_config(imitation_fraction=0.5, groups=8)
    config = site_config(config, ROUNDS * LOCAL, {"seed": seed})
    return SiteTrainer(config, env=Drifting(config.num_envs, push), **options)


@pytest.fixture(scope="module")
def sites():
    return [trainer(push, seed) for seed, push in enumerate((-0.1, 0.1))]


def test_a_learner_comes_back_from_its_vector(sites):
    config = sites[0].config
    learner = init_learner(config, sites[0].env, jax.random.key(3))
    variance = np.linspace(0.5, 2.0, 4, dtype=np.float32)
    learner = learner._replace(normalizer=learner.normalizer._replace(mean=variance - 1.0, variance=variance))
    arrays = arrays_of(learner)
    layout = Layout.of(arrays)
    back = with_arrays(learner, layout.unflatten(layout.flatten(arrays)), 64.0)
    for old, new in zip(jax.tree.leaves(learner.params), jax.tree.leaves(back.params), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_allclose(back.normalizer.mean, variance - 1.0)
    np.testing.assert_allclose(back.normalizer.variance, variance, rtol=1e-6)
    assert float(back.normalizer.count) == 64.0


def test_the_mean_of_normalisers_is_that_of_the_pooled_observations(sites):
    random = np.random.default_rng(0)
    seen = [random.normal(shift, 1.0 + shift, (500, 4)) for shift in (0.0, 2.0)]
    learner = init_learner(sites[0].config, sites[0].env, jax.random.key(0))
    arrays = []
    for rows in seen:
        own = learner.normalizer._replace(mean=rows.mean(0), variance=rows.var(0))
        arrays.append(arrays_of(learner._replace(normalizer=own)))
    layout = Layout.of(arrays[0])
    both = layout.unflatten(mean(np.stack([layout.flatten(one) for one in arrays])))
    pooled = np.concatenate(seen)
    found = with_arrays(learner, both, 1000.0).normalizer
    np.testing.assert_allclose(found.mean, pooled.mean(0), atol=1e-5)
    np.testing.assert_allclose(found.variance, pooled.var(0), rtol=1e-4)


def test_two_sites_learn_one_policy_that_serves_both(sites):
    vector = sites[0].first_vector()
    for number in range(ROUNDS):
        new = [site.train(vector, number * LOCAL, LOCAL)[0] for site in sites]
        vector = vector + mean(np.stack([one - vector for one in new])).astype(np.float32)
    config = sites[0].config
    learner = init_learner(config, sites[0].env, jax.random.key(0))
    policy = policy_of(config, with_arrays(learner, sites[0].layout.unflatten(vector), 1.0))
    for push in (-0.1, 0.1):
        assert evaluate(Drifting(128, push), policy.act, 128).success.rate > 0.8


def test_a_round_continues_the_schedule_and_does_not_begin_a_new_one(sites):
    site = sites[0]
    site.train(site.first_vector(), 30, LOCAL)  # of 40: after imitation
    assert int(site._state.learner.iteration) == 35


def test_after_imitation_the_statistics_stay_common_and_the_networks_compute_what_they_did(sites):
    site = sites[0]
    vector = site.train(site.first_vector(), 0, LOCAL)[0]
    own = trainer(-0.1, common_statistics=False)
    new, averaged = site.train(vector, 30, LOCAL)[0], own.train(vector, 30, LOCAL)[0]
    arrays = [site.layout.unflatten(one) for one in (vector, new, averaged)]
    for name in ("obs/mean", "obs/mean_square", "critic_obs/mean", "critic_obs/mean_square"):
        np.testing.assert_array_equal(arrays[0][name], arrays[1][name])
        assert np.abs(arrays[0][name] - arrays[2][name]).max() > 0.0


def test_networks_behind_other_statistics_compute_the_same(sites):
    config = sites[0].config
    seen = np.random.default_rng(1).normal(0.0, 1.0, (64, 4)).astype(np.float32)
    own, common = (init_learner(config, sites[0].env, jax.random.key(seed)) for seed in (0, 1))
    own = own._replace(normalizer=own.normalizer._replace(mean=seen[0], variance=seen[1] ** 2 + 0.5))
    put_back = behind(own, common)
    np.testing.assert_array_equal(put_back.normalizer.mean, common.normalizer.mean)
    np.testing.assert_allclose(
        policy_of(config, put_back).act(seen), policy_of(config, own).act(seen), atol=1e-5
    )


def test_what_a_site_keeps_comes_back_in_a_new_process(sites):
    site = sites[0]
    site.train(site.first_vector(), 0, 1)
    other = trainer(seed=5, compile_now=False)
    other.restore(site.kept())
    for old, new in zip(site.kept().values(), other.kept().values(), strict=True):
        np.testing.assert_array_equal(old, new)
    with pytest.raises(ConfigError, match="of another network, task or num_envs"):
        other.restore({name: np.ravel(value)[:1] for name, value in site.kept().items()})


def test_episodes_go_on_over_a_restart_so_that_short_rounds_see_whole_ones():
    whole, first = trainer(0.1), trainer(0.1)
    vector = whole.first_vector()
    expected, _ = whole.train(vector, 0, 1)
    expected, _ = whole.train(expected, 1, 1)
    half, _ = first.train(vector, 0, 1)
    again = trainer(0.1)
    again.restore(first.kept())
    found, _ = again.train(half, 1, 1)
    np.testing.assert_array_equal(found, expected)
    steps = np.asarray(again._state.env.step_count)
    assert (steps > np.asarray(first._state.env.step_count)).mean() > 0.5  # not begun anew


def test_personal_parts_are_trained_kept_over_a_restart_and_never_sent():
    site = trainer(0.1, personal=("actor/2", "log_std"))
    mask, vector = site.layout.mask(site.personal), site.first_vector()
    assert 0 < mask.sum() < len(vector)
    np.testing.assert_array_equal(site.own_policy(vector), vector)  # before it has trained
    new, _ = site.train(vector, 0, 1)
    np.testing.assert_array_equal(new[mask], vector[mask])
    assert (new[~mask] != vector[~mask]).mean() > 0.5
    own = site.own_policy(new)
    np.testing.assert_array_equal(own[~mask], new[~mask])
    assert (own[mask] != vector[mask]).mean() > 0.5
    other = trainer(0.1, personal=("actor/2", "log_std"), compile_now=False)
    other.restore(site.kept())
    np.testing.assert_array_equal(other.own_policy(new), own)
    without = trainer(0.1, compile_now=False)
    with pytest.raises(
        ConfigError, match=f"kept {mask.sum()} personal numbers, and `personal` in site.yaml names 0"
    ):
        without.restore(site.kept())


def test_a_round_begins_with_the_personal_parts_of_the_last(sites):
    site = trainer(0.1, personal=("actor/2",))
    mask = site.layout.mask(site.personal)
    vector, _ = site.train(site.first_vector(), 0, 1)
    own = site.own_policy(vector)[mask]
    shared = vector.copy()
    shared[mask] = 100.0  # of the others' mean, which this site does not take
    new, _ = site.train(shared, 1, 1)
    np.testing.assert_array_equal(new[mask], shared[mask])
    assert np.abs(site.own_policy(new)[mask] - own).max() < 1.0

import io

import jax.numpy as jnp
import numpy as np
import pytest
from pointmass import PointMass
from rich.console import Console

from robolearn.errors import TaskError
from robolearn.learn.evaluate import evaluate
from robolearn.learn.evaluation import thirds, wilson
from robolearn.show.console import evaluation_table
from robolearn.show.plots import evaluation_figure


@pytest.mark.parametrize(
    ("successes", "episodes", "low", "high"),
    [  # worked from Wilson's formula with z = 1.959964
        (5, 10, 0.236593, 0.763407),
        (1, 10, 0.017876, 0.404150),
        (990, 1000, 0.981690, 0.994559),
        (10, 10, 0.722467, 1.0),
        (0, 10, 0.0, 0.277533),
    ],
)
def test_wilson_interval(successes, episodes, low, high):
    rate = wilson("x", successes, episodes)
    assert rate.rate == successes / episodes
    assert rate.low == pytest.approx(low, abs=1e-5)
    assert rate.high == pytest.approx(high, abs=1e-5)


def test_wilson_of_nothing_says_nothing():
    assert (wilson("x", 0, 0).low, wilson("x", 0, 0).high) == (0.0, 1.0)


def go_to_goal(obs):
    return obs[..., :2] * 10.0


def stand_still(obs):
    return jnp.zeros(2) * obs[..., :2]


def leave_if_right(obs):
    """To the goal where it lies left; out of the box where it lies right."""
    goal_x = obs[..., 0] + obs[..., 2]
    return jnp.where(goal_x[..., None] > 0, jnp.array([1.0, 0.0]), go_to_goal(obs))


def test_a_good_policy_succeeds_and_one_that_does_nothing_fails():
    good = evaluate(PointMass(200), go_to_goal, 200, seed=3)
    bad = evaluate(PointMass(200), stand_still, 200, seed=3)
    assert good.success.successes == 200
    assert good.terminated == bad.terminated == 0
    assert bad.success.rate < 0.05
    assert good.episode_return > bad.episode_return
    assert good.time_to_success_s is not None
    assert 0.1 <= good.time_to_success_s["median"] <= good.time_to_success_s["p95"] <= 2.0


class Pressing(PointMass):
    """Tells as its force where it is: the farthest out in the step that ends an episode."""

    def reset(self, key):
        return self._told(super().reset(key), 0.0)

    def step(self, state, action):
        after = super().step(state, action)
        return self._told(after, jnp.abs(after.final_obs[:, 2:]).max(1))

    def _told(self, state, force):
        figure = {"figure/contact_force_n": force * jnp.ones(self.num_envs)}
        return state.replace(metrics=state.metrics | figure)


def test_what_a_task_tells_is_kept_of_the_step_that_ends_an_episode_too():
    result = evaluate(Pressing(200, episode_steps=40), leave_if_right, 200, seed=1)
    force = result.peaks["contact_force_n"]
    assert result.terminated > 20
    assert force["max"] > 1.5, "out of the box: that ends it"
    assert set(force) == {"max", "p95", "p99"}
    alone = evaluate(Pressing(200), stand_still, 200, seed=1)
    assert alone.peaks["contact_force_n"]["max"] == 0.0


def test_every_environment_counts_equally_though_failures_are_short():
    # Half the goals lie right. Those episodes end early, so an environment plays more failures than successes in
    # the same time; counting whatever finishes first would report far fewer than a half.
    env = PointMass(500, episode_steps=40)
    result = evaluate(env, leave_if_right, 1000, seed=1)
    assert result.success.episodes == 1000
    assert result.success.rate == pytest.approx(0.5, abs=0.05)
    assert result.terminated == 1000 - result.success.successes


def test_strata_find_where_it_fails():
    result = evaluate(PointMass(600), leave_if_right, 600, seed=1)
    assert result.worst is not None
    assert result.worst.startswith("point.0 0.")
    by_name = {rate.name: rate for rate in result.strata}
    assert by_name[result.worst].rate == 0.0
    assert sum(rate.episodes for rate in result.strata if rate.name.startswith("point.1")) == 600


def test_the_picture_shows_the_worst_stratum_first_and_every_success_time():
    result = evaluate(PointMass(600), leave_if_right, 600, seed=1)
    strata, times = evaluation_figure(result).axes
    assert strata.get_yticklabels()[0].get_text().startswith("point 0  0.")
    assert sum(bar.get_height() for bar in times.patches) == result.success.successes == len(result.times_s)
    assert "times_s" not in result.to_json()
    nothing = evaluation_figure(evaluate(PointMass(4), stand_still, 4, seed=3))
    assert [text.get_text()[:9] for axes in nothing.axes for text in axes.texts] == ["no strata", "no succes"]


def test_progress_counts_to_the_end():
    seen = []
    evaluate(PointMass(8), go_to_goal, 12, seed=0, progress=lambda *what: seen.append(what))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert seen[-1] == ("steps", 320, 320)


def test_same_seed_same_result_and_another_seed_another():
    first, again, other = (evaluate(PointMass(100), leave_if_right, 100, seed) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_episodes_need_not_be_a_multiple_of_environments():
    assert evaluate(PointMass(64), go_to_goal, 100, seed=0).success.episodes == 100
    with pytest.raises(TaskError, match="episodes is 0"):
        evaluate(PointMass(4), go_to_goal, 0)


def test_thirds_leave_out_what_does_not_vary_and_what_is_too_few():
    success = np.arange(90) % 2 == 0
    assert thirds("flat", np.ones(90), success) == []
    assert thirds("few", np.arange(30.0), success[:30]) == []
    rates = thirds("value", np.arange(90.0), success)
    assert [rate.episodes for rate in rates] == [30, 30, 30]
    assert rates[0].name == "value 0..29.7"


def test_table_shows_the_interval_and_the_worst_stratum():
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(evaluation_table(evaluate(PointMass(600), leave_if_right, 600, seed=1)))
    text = console.export_text()
    assert "95 % interval" in text
    assert "worst stratum" in text

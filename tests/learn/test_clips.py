"""Which episodes are kept for a video, and exactly which of their postures."""

import numpy as np

from robolearn.learn.clips import EpisodeClips


def rows(start, steps, envs=3):
    """Postures whose one number tells time and environment: 10 * step + environment."""
    steps = np.arange(start, start + steps)
    qpos = (10.0 * steps[:, None] + np.arange(envs))[..., None]
    return {"qpos": qpos, "goal": {"point": qpos}, "fields": {}}


def test_an_episode_is_kept_whole_across_chunks():
    clips = EpisodeClips()
    for start in range(0, 40, 4):
        clips.push(rows(start, 4), episode_steps=10)
    clips.keep(order=1, success=True, step=2, index=1, length=10)  # ends in step 38, began in step 29
    clip = clips.clips["success"][0]
    np.testing.assert_array_equal(clip.qpos[:, 0], 10.0 * np.arange(29, 39) + 1)
    assert clip.goal["point"] == 381.0


def test_the_first_episodes_are_kept_in_their_order_not_that_of_their_ends():
    clips = EpisodeClips(count=2)
    clips.push(rows(0, 5), episode_steps=5)
    for order, success in ((7, False), (4, False), (5, False), (0, True)):
        clips.keep(order, success, step=4, index=order % 3, length=5)
    assert [clip.order for clip in clips.clips["failure"]] == [4, 5]
    assert [clip.order for clip in clips.clips["success"]] == [0]


def test_what_is_older_than_an_episode_is_forgotten():
    clips = EpisodeClips()
    for start in range(0, 1000, 3):
        clips.push(rows(start, 3), episode_steps=10)
    assert sum(map(len, clips._qpos)) < 25

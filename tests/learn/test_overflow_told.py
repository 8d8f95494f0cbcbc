"""A training whose engine loses contacts says so, once."""

from pointmass import PointMass
from train_point import point_config

from robolearn.learn.trainer import Silent, train


class Overflowing(PointMass):
    """Half of the environments have no room for their contacts."""

    def reset(self, key):
        return self._with(super().reset(key))

    def step(self, state, action):
        return self._with(super().step(state, action))

    def _with(self, state):
        lost = 1.0 * (state.reward * 0.0 + 0.5)
        return state.replace(metrics=state.metrics | {"overflow": lost})


class Listener(Silent):
    def __init__(self):
        self.said = []

    def warn(self, text):
        self.said.append(text)


def told(env, tmp_path):
    listener = Listener()
    train(point_config(3), tmp_path / "run", env=env, progress=listener)
    return [text for text in listener.said if "room" in text]


def test_overflow_is_named_once(tmp_path):
    (text,) = told(Overflowing(64), tmp_path)
    assert "iteration 1 " in text
    assert "engine=native" in text


def test_without_overflow_nothing_is_said(tmp_path):
    assert told(PointMass(64), tmp_path) == []

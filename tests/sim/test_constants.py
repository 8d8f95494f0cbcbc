import mujoco
import numpy as np
import pytest
from mujoco.batch import Batch
from scene import XML

from robolearn.errors import PhysicsError
from robolearn.sim import constants
from robolearn.sim.constants import DRAWN, FieldRows

N = 6


@pytest.fixture
def batch():
    return Batch(mujoco.MjModel.from_xml_string(XML), N)


def fields_of(batch, scale, keys=None):
    """Masses and dampings of every simulation, times scale [N]."""
    model, scale = batch.model, np.asarray(scale, np.float32)
    fields = {
        "body_mass": np.float32(model.body_mass) * scale[:, None],
        "dof_damping": np.float32(model.dof_damping) * scale[:, None],
    }
    return fields | ({} if keys is None else {DRAWN: np.asarray(keys, np.uint32)})


def load_whole_turn(rows, fields):
    """Two fields in two blocks: four calls look at everything."""
    for _ in range(4):
        rows.load(fields)


def draw_keys(first):
    return np.stack([np.arange(first, first + N), np.arange(N) + 1], axis=1)


@pytest.mark.parametrize("keyed", [False, True])
def test_only_changed_rows_are_written_and_their_constants_follow(batch, keyed, monkeypatch):
    rows, written = FieldRows(batch), []
    put = FieldRows.put
    monkeypatch.setattr(
        FieldRows, "put", lambda self, ids, fields: (written.append([*ids]), put(self, ids, fields))
    )
    keys = draw_keys(10) if keyed else None
    rows.load(fields_of(batch, np.ones(N), keys))
    rows.load(fields_of(batch, np.ones(N), keys))
    scale = np.ones(N)
    scale[2] = 2.0
    if keyed:
        keys = keys.copy()
        keys[2] += 1
    rows.load(fields_of(batch, scale, keys))
    assert written == [[*range(N)], [2]]
    np.testing.assert_allclose(batch.expanded("body_mass"), batch.model.body_mass * scale[:, None], rtol=1e-6)
    weights = batch.expanded("body_invweight0")
    np.testing.assert_array_equal(weights[[0, 1, 3, 4, 5]], weights[[0] * 5])
    assert (weights[2] != weights[0]).any()


def test_a_changed_value_under_the_key_of_another_is_refused_within_a_turn(batch, monkeypatch):
    monkeypatch.setattr(constants, "_BLOCK", 4)
    for simulation in range(N):
        rows, keys = FieldRows(batch), draw_keys(10 * (simulation + 1))
        for _ in range(simulation):  # wherever the turn stands
            rows.load(fields_of(batch, np.ones(N), keys))
        scale = np.ones(N)
        scale[simulation] = 1.5
        other = fields_of(batch, np.ones(N), keys) | {"body_mass": fields_of(batch, scale)["body_mass"]}
        rows.load(fields_of(batch, np.ones(N), keys))
        with pytest.raises(PhysicsError, match="body_mass .* give changed values another key"):
            load_whole_turn(rows, other)


def test_values_without_keys_replace_those_with_keys_and_back(batch):
    rows, keys = FieldRows(batch), draw_keys(10)
    for scale, key in ((1.0, keys), (2.0, None), (1.0, keys)):
        rows.load(fields_of(batch, np.full(N, scale), key))
        np.testing.assert_allclose(batch.expanded("dof_damping")[:, 0], 0.5 * scale, rtol=1e-6)

"""An iteration writes its results where its state was, and nothing that is saved or resumed differs for it."""

import time

import jax
import numpy as np
import pytest
from pointmass import PointMass
from train_point import point_config

from robolearn.learn import checkpoint
from robolearn.learn.checkpoint import Checkpoints
from robolearn.learn.distributed import data_mesh, first_state, per_device
from robolearn.learn.iteration import make_iteration
from robolearn.learn.trainer import train


def test_the_results_take_the_memory_of_the_state():
    config, env, mesh = point_config(4), PointMass(64), data_mesh()
    state, stop = first_state(config, env, mesh), per_device(mesh, False)
    program = make_iteration(config, env, mesh).lower(state, stop).compile()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert program.memory_analysis().alias_size_in_bytes >= 0.95 * size
    leaves = jax.tree.leaves(state)
    jax.block_until_ready(program(state, stop))
    assert sum(leaf.is_deleted() for leaf in leaves) >= 0.9 * len(leaves)


def test_a_slow_disk_saves_the_state_of_its_own_iteration(tmp_path, monkeypatch):
    """The iterations after it take the memory of what is still being written, unless JAX keeps it."""
    save, delays = checkpoint.ocp.StandardCheckpointHandler.async_save, []

    async def slowly(self, *arguments, **keywords):
        futures = await save(self, *arguments, **keywords)
        time.sleep(0.05)
        delays.append(1)
        return futures

    monkeypatch.setattr(checkpoint.ocp.StandardCheckpointHandler, "async_save", slowly)
    config = point_config(12).model_copy(update={"checkpoint_every": 4, "checkpoints_kept": 3})
    run = train(config, tmp_path / "run", env=PointMass(64))
    like = first_state(config, PointMass(64), data_mesh())
    warnings: list[str] = []
    kept = Checkpoints(run.run_dir, warn=warnings.append, read_only=True)
    assert kept.iterations == [4, 8, 12]
    assert len(delays) >= 3
    state, meta = kept.restore(like)  # it compares every array with its fingerprint
    kept.close()
    assert warnings == []
    assert meta["iteration"] == int(state.learner.iteration) == 12


@pytest.mark.parametrize("seen_before", [False, True])
def test_what_someone_still_looks_at_is_not_overwritten(seen_before):
    config, env, mesh = point_config(4), PointMass(64), data_mesh()
    state, stop = first_state(config, env, mesh), per_device(mesh, False)
    program = make_iteration(config, env, mesh).lower(state, stop).compile()
    views = [np.asarray(leaf) for leaf in jax.tree.leaves(state.learner.params)] if seen_before else []
    copies = [view.copy() for view in views]
    after, _ = jax.block_until_ready(program(state, stop))
    assert int(after.learner.iteration) == 1
    for view, copy in zip(views, copies, strict=True):
        np.testing.assert_array_equal(view, copy)

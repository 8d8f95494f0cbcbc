import shutil
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from robolearn.errors import CheckpointError
from robolearn.learn.checkpoint import Checkpoints, fingerprint, flatten, unflatten


class State(NamedTuple):
    weights: dict
    key: jax.Array
    keys: jax.Array
    flags: jax.Array
    count: jax.Array
    nothing: jax.Array


def make_state(seed):
    return State(
        {"a": jax.random.normal(jax.random.key(seed), (50, 7)), "b": jnp.arange(3.0) + seed},
        jax.random.key(seed),
        jax.random.split(jax.random.key(seed), 4),
        jnp.array([True, False, True]),
        jnp.int32(seed),
        jnp.zeros((4, 0)),
    )


def same(left, right):
    left, right = flatten(left), flatten(right)
    return left.keys() == right.keys() and all(np.array_equal(left[n], right[n]) for n in left)


@pytest.fixture
def saved(tmp_path):
    """Checkpoints 1, 2 and 3 in tmp_path."""
    checkpoints = Checkpoints(tmp_path, kept=3)
    for iteration in (1, 2, 3):
        state = make_state(iteration)
        checkpoints.save(iteration, state.weights, state, {"steps": iteration * 10})
    checkpoints.close()
    return tmp_path


def reopen(folder):
    warnings = []
    return Checkpoints(folder, warn=warnings.append), warnings


def test_flatten_names_every_leaf_and_unflatten_inverts():
    state = make_state(1)
    flat = flatten(state)
    assert set(flat) == {"weights['a']", "weights['b']", "key", "keys", "flags", "count"}
    back = unflatten(state, flat)
    assert same(state, back)
    assert back.nothing.shape == (4, 0)
    assert jax.random.uniform(back.key) == jax.random.uniform(state.key)


def test_newest_checkpoint_reads_back_bit_for_bit(saved):
    checkpoints, warnings = reopen(saved)
    state, meta = checkpoints.restore(make_state(0))
    assert same(state, make_state(3))
    assert meta == {"steps": 30}
    assert warnings == []
    weights, _ = checkpoints.restore(make_state(0).weights, "policy")
    assert same(weights, make_state(3).weights)


def test_only_the_newest_are_kept(saved):
    checkpoints, _ = reopen(saved)
    state = make_state(4)
    checkpoints.save(4, state.weights, state, {})
    checkpoints.close()
    assert reopen(saved)[0].iterations == [2, 3, 4]


def test_no_checkpoint_is_none(tmp_path):
    assert reopen(tmp_path)[0].restore(make_state(0)) is None


def data_files(folder: Path, iteration: int) -> list[Path]:
    step = next(p for p in (folder / "checkpoints").iterdir() if int(p.name) == iteration)
    return sorted((p for p in step.rglob("*") if p.is_file()), key=lambda p: -p.stat().st_size)


def truncate(path: Path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("which", range(6))
def test_truncated_files_are_noticed_or_harmless(saved, which):
    truncate(data_files(saved, 3)[which])
    checkpoints, warnings = reopen(saved)
    state, _ = checkpoints.restore(make_state(0))
    if warnings:
        assert same(state, make_state(2))
        assert "Checkpoint 3 is damaged" in warnings[0]
        assert (saved / "checkpoints-damaged").is_dir()
        assert checkpoints.iterations == [1, 2]
    else:  # a file that restoring does not need
        assert same(state, make_state(3))


def test_flipped_bytes_never_give_a_wrong_state(saved):
    """Each data file in turn has one byte flipped at several places: the state is whole, or an older whole one."""
    pristine = saved / "pristine"
    shutil.copytree(saved / "checkpoints", pristine)
    outcomes = set()
    for place in (0.1, 0.3, 0.5, 0.7, 0.9):
        shutil.rmtree(saved / "checkpoints")
        shutil.rmtree(saved / "checkpoints-damaged", ignore_errors=True)
        shutil.copytree(pristine, saved / "checkpoints")
        victim = max(data_files(saved, 3), key=lambda p: p.stat().st_size)
        data = bytearray(victim.read_bytes())
        data[int(len(data) * place)] ^= 0x10
        victim.write_bytes(bytes(data))
        state, _ = reopen(saved)[0].restore(make_state(0))
        outcomes.add(int(state.count))
        assert same(state, make_state(int(state.count)))
    assert outcomes <= {2, 3}
    assert 2 in outcomes


def test_a_missing_folder_inside_is_noticed(saved):
    step = next(p for p in (saved / "checkpoints").iterdir() if int(p.name) == 3)
    shutil.rmtree(step / "state")
    checkpoints, warnings = reopen(saved)
    state, _ = checkpoints.restore(make_state(0))
    assert same(state, make_state(2))
    assert len(warnings) == 1


def test_all_damaged_is_none(saved):
    for step in (saved / "checkpoints").iterdir():
        shutil.rmtree(step / "state")
    checkpoints, warnings = reopen(saved)
    assert checkpoints.restore(make_state(0)) is None
    assert len(warnings) == 3


def test_other_arrays_are_a_config_error_not_damage(saved):
    checkpoints, warnings = reopen(saved)
    with pytest.raises(
        CheckpointError, match=r"holds count int32\[\], .*; expected \['nothing'\] float32\[3\]"
    ):
        checkpoints.restore({"nothing": jnp.zeros(3)})
    wider = make_state(0)._replace(flags=jnp.ones(4, bool))
    with pytest.raises(CheckpointError, match=r"holds flags bool\[3\]; expected flags bool\[4\]"):
        checkpoints.restore(wider)
    assert warnings == []
    assert checkpoints.iterations == [1, 2, 3]


def test_full_disk_before_saving(saved, monkeypatch):
    checkpoints, _ = reopen(saved)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(CheckpointError, match=r"full: .* are free. The last good checkpoint is 3. Free some"):
        checkpoints.save(4, {}, make_state(4), {})
    state, _ = checkpoints.restore(make_state(0))
    assert same(state, make_state(3))


def test_full_disk_while_saving(saved, monkeypatch):
    checkpoints, _ = reopen(saved)

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints._manager, "save", fail)
    with pytest.raises(CheckpointError, match="no space is left. The last good checkpoint is 3"):
        checkpoints.save(4, {}, make_state(4), {})


def test_fingerprint_sees_any_single_change_and_any_swap():
    array = np.random.default_rng(0).normal(size=200).astype(np.float32)
    base = fingerprint(array)
    for index in range(0, 200, 7):
        bits = array.view(np.uint32).copy()
        bits[index] ^= 1
        assert fingerprint(bits.view(np.float32)) != base
    swapped = array.copy()
    swapped[[3, 4]] = array[[4, 3]]
    assert fingerprint(swapped) != base

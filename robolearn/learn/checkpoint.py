"""Checkpoints: the whole training state, saved off the training thread, verified when read back.

    checkpoints/000000000042/{policy,state,meta}   a folder per kept iteration, put in place whole by orbax

`policy` holds actor, critic and normalisers; `state` everything (so a resumed run continues bit for bit); `meta` has
a fingerprint of every array. What does not read back or does not match its fingerprint is moved aside to
`checkpoints-damaged/` and the one before it is used.
"""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from robolearn.errors import CheckpointError

Arrays = dict[str, jax.Array]
_NO_SPACE = ("No space left", "Disk quota exceeded", "RESOURCE_EXHAUSTED")


class Checkpoints:
    """The checkpoints of one run folder. Every process of the run takes part in save and restore.

    read_only: look, but move and delete nothing: the run may be going on.
    """

    def __init__(
        self,
        run_dir: Path,
        kept: int = 3,
        warn: Callable[[str], None] | None = None,
        *,
        read_only: bool = False,
    ):
        self._directory = (run_dir / "checkpoints").absolute()
        self._damaged = (run_dir / "checkpoints-damaged").absolute()
        self._kept, self._read_only = kept, read_only
        self._warn = warn or (lambda message: None)
        logging.getLogger("absl").setLevel(logging.ERROR)  # orbax reports every save at INFO and WARNING
        self._manager = self._open()

    def _open(self) -> ocp.CheckpointManager:
        try:
            return ocp.CheckpointManager(
                self._directory,
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=self._kept,
                    step_format_fixed_length=12,
                    cleanup_tmp_directories=not self._read_only,
                    read_only=self._read_only,
                    create=not self._read_only,
                ),
                item_names=("policy", "state", "meta"),
            )
        except OSError as error:
            raise CheckpointError(
                f"Cannot keep checkpoints in '{self._directory}': {error.strerror}."
            ) from error

    @property
    def iterations(self) -> list[int]:
        """Iterations that have a checkpoint, oldest first."""
        return sorted(self._manager.all_steps())

    def save(self, iteration: int, policy: Any, state: Any, meta: Mapping[str, Any]) -> None:
        """Start to save; returns after a few milliseconds. A failure of this or the last save is raised here.

        policy, state: pytrees of arrays. meta: JSON values.
        """
        if iteration in self._manager.all_steps():
            return
        policy, state = flatten(policy), flatten(state)
        prints = {"policy": _read_prints(policy), "state": _read_prints(state)}
        self._check_room(state)
        arguments = ocp.args.Composite(
            policy=ocp.args.StandardSave(policy),
            state=ocp.args.StandardSave(state),
            meta=ocp.args.JsonSave({**meta, "fingerprints": prints}),
        )
        self._guarded(lambda: self._manager.save(iteration, args=arguments, force=True))

    def wait(self) -> None:
        """Until the last save is on disk. Raises CheckpointError if it failed."""
        self._guarded(self._manager.wait_until_finished)

    def close(self) -> None:
        """Wait, then let go of the folder."""
        try:
            self.wait()
        finally:
            self._manager.close()

    def restore(self, like: Any, item: str = "state") -> tuple[Any, dict[str, Any]] | None:
        """The newest good checkpoint's item in the shape of `like`, and its meta; None if there is none.

        like: a pytree of arrays or ShapeDtypeStructs with shardings. Damaged checkpoints are set aside with a
        warning. Raises CheckpointError where a good checkpoint holds arrays of other shapes: a config that changed.
        """
        wanted = {name: _abstract(leaf) for name, leaf in flatten(like).items()}
        for iteration in reversed(self.iterations):
            try:
                meta = self._read(iteration, meta=ocp.args.JsonRestore())["meta"]
                prints = meta.pop("fingerprints")[item]
            except Exception as error:  # orbax raises many kinds for a damaged folder
                self._set_aside(iteration, error)
                continue
            self._check_fits(iteration, set(prints), {_describe(*entry) for entry in wanted.items()})
            try:
                arrays = self._read(iteration, **{item: ocp.args.StandardRestore(wanted)})[item]
                self._verify(arrays, prints)
            except Exception as error:
                self._set_aside(iteration, error)
                continue
            return unflatten(like, arrays), meta
        return None

    def _read(self, iteration: int, **items: Any) -> Any:
        return self._manager.restore(iteration, args=ocp.args.Composite(**items))

    def _check_fits(self, iteration: int, saved: set[str], wanted: set[str]) -> None:
        if saved != wanted:
            raise CheckpointError(
                f"Checkpoint {iteration} in '{self._directory}' does not fit this config. It holds "
                f"{', '.join(sorted(saved - wanted)[:2]) or 'less'}; expected "
                f"{', '.join(sorted(wanted - saved)[:2]) or 'less'}. Resume with the run's own config.yaml."
            )

    def _verify(self, arrays: Arrays, prints: Mapping[str, list[int]]) -> None:
        found = _read_prints(arrays)
        wrong = [name for name in found if found[name] != list(prints[name])]
        if wrong:
            raise CheckpointError(f"array '{wrong[0]}' is not what was saved")

    def _set_aside(self, iteration: int, error: Exception) -> None:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if self._read_only:
            self._warn(f"Checkpoint {iteration} is damaged and was skipped: {reason}")
            return
        self._warn(f"Checkpoint {iteration} is damaged and was moved to '{self._damaged}': {reason}")
        if jax.process_index() == 0:
            source = next(
                p for p in self._directory.iterdir() if p.name.isdigit() and int(p.name) == iteration
            )
            self._damaged.mkdir(exist_ok=True)
            target = self._damaged / source.name
            shutil.rmtree(target, ignore_errors=True)
            source.rename(target)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("damaged checkpoint set aside")
        self._manager.reload()

    def _check_room(self, state: Arrays) -> None:
        """A save that cannot fit is refused before it half-fills the disk."""
        needed = sum(leaf.size * leaf.dtype.itemsize for leaf in state.values()) + 2**20
        free = shutil.disk_usage(self._directory).free
        if free < needed:
            raise CheckpointError(
                self._full(f"{needed / 1e6:.1f} MB are needed and {free / 1e6:.1f} MB are free")
            )

    def _guarded(self, action: Callable[[], Any]) -> None:
        try:
            action()
            self._manager.check_for_errors()
        except Exception as error:
            if not _is_no_space(error):
                raise CheckpointError(
                    f"Cannot write a checkpoint to '{self._directory}': {' '.join(str(error).split())[:300]}"
                ) from error
            raise CheckpointError(self._full("no space is left")) from error

    def _full(self, detail: str) -> str:
        good = self.iterations
        last = f"The last good checkpoint is {good[-1]}" if good else "There is no earlier checkpoint"
        return f"The disk of '{self._directory}' is full: {detail}. {last}. Free some space, then resume."


def flatten(tree: Any) -> Arrays:
    """The leaves by path; random keys become their data, and empty arrays, which orbax refuses, are left out."""
    return {
        _name(path): _plain(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree) if leaf.size
    }


def unflatten(like: Any, arrays: Mapping[str, jax.Array]) -> Any:
    """The inverse of `flatten`, in the structure of `like`."""

    def leaf_of(path: Any, leaf: Any) -> Any:
        if not leaf.size:
            return jnp.zeros(leaf.shape, leaf.dtype, device=getattr(leaf, "sharding", None))
        value = arrays[_name(path)]
        return jax.random.wrap_key_data(value) if _is_key(leaf) else value

    return jax.tree_util.tree_map_with_path(leaf_of, like)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path).lstrip(".") or "value"


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    if not _is_key(leaf):
        return leaf
    if isinstance(leaf, jax.ShapeDtypeStruct):
        data = jax.eval_shape(jax.random.key_data, leaf)
        return jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=leaf.sharding)
    return jax.random.key_data(leaf)


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None))


def fingerprint(array: np.ndarray) -> list[int]:
    """Two 32-bit sums of an array's bits, plain and weighted by position: any one change shows."""
    bits = np.ascontiguousarray(array).ravel()
    bits = bits.view(np.uint32) if bits.dtype.itemsize == 4 else bits.astype(np.uint32)
    weights = np.arange(bits.size, dtype=np.uint32) * np.uint32(2654435761) | np.uint32(1)
    return [int(bits.sum(dtype=np.uint32)), int((bits * weights).sum(dtype=np.uint32))]


def _read_prints(arrays: Arrays) -> dict[str, list[int]]:
    return {_describe(name, arrays[name]): fingerprint(value) for name, value in _on_host(arrays).items()}


def _on_host(arrays: Arrays) -> dict[str, np.ndarray]:
    """The arrays whole, on every process."""
    spread = {name: leaf for name, leaf in arrays.items() if not leaf.is_fully_addressable}
    if spread:
        mesh = next(iter(spread.values())).sharding.mesh  # pyright: ignore[reportAttributeAccessIssue]
        everywhere = jax.NamedSharding(mesh, jax.P())
        arrays = arrays | jax.jit(lambda x: x, out_shardings=everywhere)(spread)
    return jax.device_get(arrays)


def _describe(name: str, leaf: Any) -> str:
    return f"{name} {leaf.dtype}{list(leaf.shape)}"


def _is_no_space(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(text in str(error) for text in _NO_SPACE):
            return True
        error = error.__cause__ or error.__context__
    return False

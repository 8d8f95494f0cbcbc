"""Programs that an earlier run compiled, kept on disk: loading one takes tenths of the seconds that XLA takes.

JAX's own cache leaves out programs that call back into Python, as steps of the native engine do. What such a program
holds of a callback is its number only; the function is the one of the run that loads it. So the text of a program,
together with all that decides how it is compiled, stands for its machine code.

JAX's settings apply: `JAX_COMPILATION_CACHE_DIR` (here else `~/.cache/robolearn/compiled`) is the folder, where JAX's
own cache then keeps the programs without callbacks; `JAX_COMPILATION_CACHE_MAX_SIZE` bounds the bytes of those kept
here, as it does JAX's own (here else their number is bounded); `JAX_ENABLE_COMPILATION_CACHE=false` switches it off.
The folder is as trusted as the program itself: its files are run.

This rests on names of JAX that are not public. With a JAX that lacks them, each run compiles again and says so.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import jax
import jax.experimental.serialize_executable as jax_serialize
import jaxlib
from jax.stages import Compiled, Lowered

from robolearn.files.writing import replace_file

SUFFIX = ".program"
KEPT = 32  # programs, of a few MB each; those that were not used for longest are removed

_DIGEST_BYTES = 32
_SPEAKS_OF_CPU = ("model name", "flags")


def compiled(lowered: Lowered) -> Compiled:
    """The program that `jax.jit(...).lower(...)` gave, compiled, now or by an earlier run on this machine."""
    try:
        path = _place(lowered)
        if path is None:
            return lowered.compile()
        callbacks = list(lowered._lowering.compile_args["host_callbacks"])
        found = _load(path, lowered, callbacks)
    except (
        AttributeError,
        KeyError,
        TypeError,
    ) as error:  # a name of JAX that is no longer there, or means another
        _compiles_again(f"JAX {jax.__version__} keeps programs otherwise: {error!r}")
        return lowered.compile()
    if found is None:
        found = lowered.compile()
        _save(path, found, callbacks)
    return found


def _compiles_again(why: object) -> None:
    logging.getLogger(__name__).warning("The next run compiles again: %s", why)


def _place(lowered: Lowered) -> Path | None:
    """The file of a program; None where it cannot be kept."""
    backend = jax.default_backend()
    if backend != "cpu" or jax.process_count() > 1 or not jax.config.jax_enable_compilation_cache:
        return None
    if jax.config.jax_compilation_cache_dir and not lowered._lowering.compile_args["host_callbacks"]:
        return None  # JAX keeps it itself, and what it has loaded XLA would write again without its kernels
    folder = _folder()
    if folder is None or lowered._lowering.const_args:
        return None
    decides = (
        lowered.as_text(),
        lowered._lowering._compiler_options_kvs,
        os.environ.get("XLA_FLAGS"),
        (jax.__version__, jaxlib.__version__, len(jax.devices()), len(os.sched_getaffinity(0)), _cpu()),
    )
    key = hashlib.sha256("\0".join(str(part) for part in decides).encode()).hexdigest()
    return folder / f"{key}{SUFFIX}"


def _folder() -> Path | None:
    """Where programs are kept; None for a user without a home, as in some containers."""
    if chosen := jax.config.jax_compilation_cache_dir:
        return Path(chosen)
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "robolearn" / "compiled"
    try:
        return Path.home() / ".cache" / "robolearn" / "compiled"
    except RuntimeError:
        return None


def _cpu() -> list[str]:
    """The processor and its instructions."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    return [line for line in lines if line.startswith(_SPEAKS_OF_CPU)]


def _load(path: Path, lowered: Lowered, callbacks: Sequence[Callable[..., Any]]) -> Compiled | None:
    """The program in a file; None where there is none, or none that is whole."""
    try:
        data = path.read_bytes()
        os.utime(path)
    except OSError:
        return None
    digest, body = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        return None
    executable, args_info, no_kwargs = _Unpickler(body, callbacks).load()
    args_info = lowered.in_tree.unflatten(args_info)
    return Compiled(executable.load(), [], args_info, lowered.out_tree, no_kwargs=no_kwargs)


def _save(path: Path, program: Compiled, callbacks: Sequence[Callable[..., Any]]) -> None:
    body = io.BytesIO()
    args_info = jax.tree.leaves(program.args_info)
    try:
        _Pickler(body, callbacks).dump(
            (program._executable._unloaded_executable, args_info, program._no_kwargs)
        )
        data = body.getvalue()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(path, hashlib.sha256(data).digest() + data, mode=0o600)
        for old in _surplus(path.parent):
            old.unlink(missing_ok=True)
    except (
        OSError,
        AttributeError,
        TypeError,
        pickle.PicklingError,
        jax.errors.JaxRuntimeError,
    ) as error:  # the middle two by pickle as well, the last by XLA, which cannot write every program
        _compiles_again(error)


def _surplus(folder: Path) -> list[Path]:
    """The kept programs beyond the bound, those that were not used for longest."""
    status = {path: path.stat() for path in folder.glob(f"*{SUFFIX}")}
    newest_first = sorted(status, key=lambda path: status[path].st_mtime, reverse=True)
    bytes_max = jax.config.jax_compilation_cache_max_size
    if bytes_max < 0:
        return newest_first[KEPT:]
    total = accumulate(status[path].st_size for path in newest_first)
    return [path for path, size in zip(newest_first, total, strict=True) if size > bytes_max]


_JaxPickler: Any = getattr(jax_serialize, "_JaxPjrtPickler", pickle.Pickler)
_JaxUnpickler: Any = getattr(jax_serialize, "_JaxPjrtUnpickler", pickle.Unpickler)


class _Pickler(_JaxPickler):
    """JAX's pickler of executables; a callback goes in as its number."""

    def __init__(self, file: io.BytesIO, callbacks: Sequence[Callable[..., Any]]):
        super().__init__(file)
        self._callbacks = callbacks

    def persistent_id(self, obj: Any) -> Any:
        for number, callback in enumerate(self._callbacks):
            if obj is callback:
                return ("callback", number)
        return super().persistent_id(obj)


class _Unpickler(_JaxUnpickler):
    def __init__(self, data: bytes, callbacks: Sequence[Callable[..., Any]]):
        super().__init__(io.BytesIO(data), jax.devices()[0].client)
        self._callbacks = callbacks

    def persistent_load(self, pid: Any) -> Any:
        kind, *content = pid
        if kind == "callback":
            return self._callbacks[content[0]]
        if kind == "exec":
            return self.backend.deserialize_executable(
                content[0], executable_devices=self.execution_devices, host_callbacks=self._callbacks
            )
        return super().persistent_load(pid)

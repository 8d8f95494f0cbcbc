"""Programs kept on disk: found again only where they are the same, and never with another run's callback."""

import logging
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from robolearn.files.writing import replace_file
from robolearn.sim import compiled as compiled_module
from robolearn.sim.callback import host_call
from robolearn.sim.compiled import KEPT, SUFFIX, compiled
from robolearn.sim.jit import known_options


@pytest.fixture
def cache(tmp_path):
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture
def compilations(monkeypatch):
    """How often XLA was asked."""
    asked, compile_ = [], jax.stages.Lowered.compile
    monkeypatch.setattr(
        jax.stages.Lowered, "compile", lambda self, *args: asked.append(self) or compile_(self, *args)
    )
    return asked


def lowered(host=np.negative, add=1.0, options=None):
    """x -> {"y": [host(x + add), ...]}, with the host called within a loop."""

    def call(out, x):
        out[:] = host(x)

    def program(state):
        shape = jax.ShapeDtypeStruct((4,), jnp.float32)
        return {"y": jax.lax.scan(lambda x, _: (host_call(call, shape, x), x), state["x"] + add, length=3)[0]}

    return jax.jit(program, compiler_options=options).lower({"x": jnp.zeros(4)})


def run(program):
    return np.asarray(program({"x": jnp.arange(4.0)})["y"])


def files(cache):
    return sorted(cache.glob(f"*{SUFFIX}"))


def test_a_program_is_loaded_with_the_callback_of_the_run_that_loads_it(cache, compilations):
    np.testing.assert_array_equal(run(compiled(lowered(np.negative))), -np.arange(1.0, 5.0))
    assert len(compilations) == len(files(cache)) == 1
    doubled = compiled(lowered(lambda x: 2.0 * x))
    np.testing.assert_array_equal(run(doubled), 8.0 * np.arange(1.0, 5.0))
    assert len(compilations) == len(files(cache)) == 1


def without_callback():
    return jax.jit(lambda state: {"y": jnp.cumsum(jnp.exp2(state["x"]))}).lower({"x": jnp.zeros(4)})


def test_what_jaxs_own_cache_takes_is_left_to_it(cache):
    """XLA writes a program that it has loaded without its kernels: one from JAX's cache must not be written again."""
    for _ in range(2):
        np.testing.assert_array_equal(run(compiled(without_callback())), [1.0, 3.0, 7.0, 15.0])
    assert files(cache) == []


def test_where_jaxs_own_cache_is_off_a_program_without_callbacks_is_kept_too(own_programs, compilations):
    for _ in range(2):
        np.testing.assert_array_equal(run(compiled(without_callback())), [1.0, 3.0, 7.0, 15.0])
    assert len(compilations) == len(files(own_programs)) == 1


@pytest.mark.parametrize("other", [{"add": 2.0}, {"options": {"xla_cpu_enable_fast_math": True}}])
def test_another_program_or_another_option_is_compiled(cache, compilations, other):
    compiled(lowered())
    run(compiled(lowered(**other)))
    assert len(compilations) == len(files(cache)) == 2


def test_other_flags_of_xla_are_another_program(cache, compilations, monkeypatch):
    compiled(lowered())
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    compiled(lowered())
    assert len(compilations) == 2


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_file_is_compiled_anew_and_replaced(cache, compilations, damage):
    compiled(lowered())
    (file,) = files(cache)
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    file.write_bytes({"cut": whole[:-100], "changed": bytes(flipped), "empty": b""}[damage])
    np.testing.assert_array_equal(run(compiled(lowered())), -np.arange(1.0, 5.0))
    assert len(compilations) == 2
    compiled(lowered())
    assert len(compilations) == 2


def test_a_folder_that_cannot_be_written_costs_only_time(cache, compilations, caplog):
    cache.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(run(compiled(lowered())), -np.arange(1.0, 5.0))
    assert "The next run compiles again" in caplog.text
    assert len(compilations) == 1


def test_a_jax_that_lacks_a_private_name_costs_only_time_and_says_so(
    cache, compilations, monkeypatch, caplog
):
    program = lowered()
    monkeypatch.setattr(program, "_lowering", object())
    monkeypatch.setattr(
        jax.stages.Lowered, "compile", lambda self, *args: compilations.append(self) or "compiled"
    )
    with caplog.at_level(logging.WARNING):
        assert compiled(program) == "compiled"
    assert caplog.text.count("The next run compiles again") == 1
    assert len(compilations) == 1
    assert files(cache) == []


def test_an_option_that_xla_does_not_know_is_left_out():
    known = {"xla_backend_optimization_level": 1}
    assert known_options(known | {"xla_cpu_of_another_version": True}) == known


def test_a_full_disk_costs_only_time_and_keeps_no_half_of_a_file(cache, monkeypatch, caplog):
    written = []

    def half(descriptor, content):
        if written:
            raise OSError(28, "No space left on device")
        written.append(os.write(descriptor, content[: len(content) // 2]))
        return written[0]

    monkeypatch.setattr(
        compiled_module, "replace_file", lambda path, data, mode: replace_file(path, data, mode, half)
    )
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(run(compiled(lowered())), -np.arange(1.0, 5.0))
    assert "No space left on device" in caplog.text
    assert list(cache.iterdir()) == []


def test_switched_off_nothing_is_kept(cache, compilations):
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        compiled(lowered())
        compiled(lowered())
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
    assert len(compilations) == 2
    assert not cache.exists()


@pytest.fixture
def bytes_max():
    """Set JAX's own bound on the bytes that are kept, -1 for none."""
    before = jax.config.jax_compilation_cache_max_size
    yield lambda most: jax.config.update("jax_compilation_cache_max_size", most)
    jax.config.update("jax_compilation_cache_max_size", before)


def test_what_was_not_used_for_longest_is_removed(cache, bytes_max):
    bytes_max(-1)
    cache.mkdir()
    for age in range(KEPT):
        (cache / f"{age}{SUFFIX}").write_bytes(b"")
        os.utime(cache / f"{age}{SUFFIX}", (1000.0 - age, 1000.0 - age))
    other = cache / "of-jax-itself"
    other.write_text("")
    compiled(lowered())
    assert len(files(cache)) == KEPT
    assert not (cache / f"{KEPT - 1}{SUFFIX}").exists()
    assert (cache / f"{KEPT - 2}{SUFFIX}").exists()
    assert other.exists()


def test_where_jax_has_a_bound_of_bytes_it_is_the_bound_and_not_the_number(cache, bytes_max):
    bytes_max(10**6)
    cache.mkdir()
    for age in range(2 * KEPT):
        (cache / f"{age}{SUFFIX}").write_bytes(bytes(10_000))
        os.utime(cache / f"{age}{SUFFIX}", (1000.0 - age, 1000.0 - age))
    compiled(lowered())
    assert len(files(cache)) == 2 * KEPT + 1
    program = max(file.stat().st_size for file in files(cache) if len(file.stem) > 10)
    bytes_max(2 * program + 25_000)
    compiled(lowered(add=2.0))
    left = {file.name for file in files(cache)}
    assert len(left) == 4
    assert {f"{age}{SUFFIX}" for age in range(2)} < left


@pytest.mark.parametrize("error", [TypeError, jax.errors.JaxRuntimeError])
def test_a_program_that_cannot_be_written_out_costs_only_time(cache, caplog, monkeypatch, error):
    def fail(*_):
        raise error("not serializable")

    monkeypatch.setattr("robolearn.sim.compiled._Pickler.persistent_id", fail)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(run(compiled(lowered())), -np.arange(1.0, 5.0))
    assert "The next run compiles again" in caplog.text
    assert not files(cache)


def test_without_a_folder_of_ones_own_choice_it_is_the_users_cache(
    cache, monkeypatch, tmp_path, compilations
):
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled(lowered())
    assert len(files(tmp_path / "robolearn" / "compiled")) == 1
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    compiled(lowered())
    assert len(files(tmp_path / "home" / ".cache" / "robolearn" / "compiled")) == 1

    def no_home():
        raise RuntimeError

    monkeypatch.setattr(Path, "home", no_home)
    np.testing.assert_array_equal(run(compiled(lowered())), -np.arange(1.0, 5.0))
    assert len(compilations) == 3

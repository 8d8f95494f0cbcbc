import gc
import os
import signal
import socket
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest

from robolearn.deploy.discovery import discovery_environment

ROS = Path(__file__).parent / "ros"

# Tests compile far more than they run.
_QUICK = "--xla_backend_optimization_level=0"
if version("jax").startswith("0.10."):  # a flag that XLA does not know ends the process
    _QUICK += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", _QUICK)

# They trace more than they compile: see `_trace_faster` of robolearn/cli/app.py.
gc.set_threshold(10_000)
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")

# No test may reach another machine's ROS 2 nodes, or use keys of whoever runs it.
os.environ.update(discovery_environment())
_HOME = tempfile.TemporaryDirectory(prefix="robolearn-home-")
os.environ["ROBOLEARN_HOME"] = _HOME.name

# Where wandb is installed, only the tests about it start it.
os.environ.setdefault("WANDB_MODE", "disabled")

# What one test has compiled the others, the processes they start, and the next run need not compile again.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / "build" / "compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(2**31))

# Tests send signals to themselves and to what they start, also where nohup has them ignored.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items):
    """Files with long tests go first, so that no worker is left with one of them at the end.

    Tests with ROS 2 are looked for in one folder only, which saves importing all others.
    """
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)
    strays = [
        item.nodeid for item in items if item.get_closest_marker("ros") and ROS not in item.path.parents
    ]
    if strays:
        raise pytest.UsageError(
            f"Marked 'ros' but not in tests/ros, where they would be run: {', '.join(strays)}"
        )


@pytest.fixture
def own_programs(tmp_path, monkeypatch):
    """The folder where programs are kept for a user who has not told JAX of one: JAX's own cache is off."""
    import jax
    from jax.experimental.compilation_cache.compilation_cache import reset_cache

    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    reset_cache()  # it looks at its folder once
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield tmp_path / "robolearn" / "compiled"
    jax.config.update("jax_compilation_cache_dir", before)
    reset_cache()


@pytest.fixture
def port():
    """A port of this machine that was free a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]

import os
import tempfile

# Tests compile far more than they run.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

# Headless rendering everywhere, and no test may reach another machine's ROS 2 nodes.
os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

# What one test has compiled the others, and the processes they start, need not compile again.
_CACHE = tempfile.TemporaryDirectory(prefix="robolearn-compiled-")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _CACHE.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

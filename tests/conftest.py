import os
import tempfile

# Tests compile far more than they run.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false")

# No test may reach another machine's ROS 2 nodes.
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

# Where wandb is installed, only the tests about it start it.
os.environ.setdefault("WANDB_MODE", "disabled")

# What one test has compiled the others, and the processes they start, need not compile again.
_CACHE = tempfile.TemporaryDirectory(prefix="robolearn-compiled-")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _CACHE.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

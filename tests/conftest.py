import os

# Headless rendering everywhere, and no test may reach another machine's ROS 2 nodes.
os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

"""The command line: parsing and printing."""

import sys

try:
    import mujoco  # noqa: F401
except RuntimeError as error:  # of its import, where MUJOCO_GL is not one that it knows
    sys.stderr.write(f"robolearn: {error}. Set it to egl, glfw or osmesa, or unset it.\n")
    sys.exit(2)

"""MuJoCo's own log file, which it writes beside whatever the user is doing."""

from __future__ import annotations

import mujoco


def log_to_console_only() -> None:
    """Let MuJoCo's warnings go to the console alone, not into MUJOCO_LOG.TXT in the current folder, in this process.

    To be called before MuJoCo reads or builds anything.
    """
    log = mujoco.MjLogConfig.get()
    if log.logto_file:
        log.logto_file = False
        mujoco.MjLogConfig.set(log)

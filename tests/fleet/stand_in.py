"""Stands for a site's training, in numpy: a known step, or in some round a fault, as `env` in site.yaml says."""

from __future__ import annotations

import os
import signal
import time

import numpy as np

SIZE = 1000
SECRET = "the secret of this site is 4711"


def step(folder, vector, request):
    """Add `env.add`; but in round r do `env.faults[r]`: nan, huge, error, killed (the whole node), slow."""
    site = folder.site()
    fault = site.env.get("faults", {}).get(str(request.round), "")
    if fault == "nan":
        return np.full_like(vector, np.nan)
    if fault == "huge":  # by a site that does not clip what it sends
        from robolearn.fleet import client

        client.clipped = lambda update, norm_max: update
        return vector + np.float32(1e6)
    if fault == "error":
        raise ValueError(SECRET)
    if fault == "slow":
        time.sleep(60)
    if fault == "killed":
        parent = os.getppid()
        with open(f"/proc/{parent}/stat") as file:
            grandparent = int(file.read().rpartition(")")[2].split()[1])
        for pid in (grandparent, parent, os.getpid()):  # the node, its executor, this process
            os.kill(pid, signal.SIGKILL)
    return vector + np.float32(site.env["add"])

"""Stands for a site's training, in numpy: a known step, or a fault, as `env` in site.yaml says."""

from __future__ import annotations

import os
import signal

import numpy as np

SIZE = 1000


def step(folder, vector, request):
    """Add `env.add` to every entry; `env.fault` in round `env.in_round`: nan, huge, killed, error."""
    site = folder.site()
    fault = site.env.get("fault", "")
    if fault and request.round >= site.env.get("in_round", 1):
        if fault == "nan":
            return np.full_like(vector, np.nan)
        if fault == "huge":
            return vector + np.float32(1e6)
        if fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("the secret of this site is 42")
    return vector + np.float32(site.env["add"])

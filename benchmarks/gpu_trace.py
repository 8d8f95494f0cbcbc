"""Which operations of a program the device's time goes to, from JAX's own profiler."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

MOST = 15  # operations


def device_time(call: Callable[[], Any]) -> dict[str, Any]:
    """Of one call: seconds and launches on the device in all, and of the operations that take most.

    Says why not where the profiler gives nothing of the device: on a CPU it does not.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                call()
            files = sorted(Path(folder).rglob("*.xplane.pb"))
            data: Any = jax.profiler.ProfileData.from_file(str(files[0]))
            return _sums(data)
    except Exception as error:  # private formats of the profiler: its failure must not cost the other figures
        return {"why_not": f"{type(error).__name__}: {error}"[:300]}


def _sums(data: Any) -> dict[str, Any]:
    seconds: Counter[str] = Counter()
    launches: Counter[str] = Counter()
    copies = 0
    for plane in data.planes:
        if not plane.name.startswith("/device:"):
            continue
        for line in plane.lines:
            if not line.name.startswith("Stream"):
                continue
            for event in line.events:
                seconds[event.name] += event.duration_ns * 1e-9
                launches[event.name] += 1
                copies += "D2H" in event.name or "DtoH" in event.name
    if not seconds:
        return {"why_not": "the profiler has no stream of a device"}
    return {
        "seconds": sum(seconds.values()),
        "launches": sum(launches.values()),
        "device_to_host_copies": copies,
        "operations": [
            {"name": name, "seconds": took, "launches": launches[name]}
            for name, took in seconds.most_common(MOST)
        ],
    }

"""Real Flower processes on loopback, with the numpy stand-in for the training."""

from __future__ import annotations

import os
import shutil
import socket
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from stand_in import SIZE

from robolearn.fleet.engine import ended, register, start_server, start_site, wait_for_port
from robolearn.fleet.rounds import Rounds
from robolearn.fleet.run import follow, prepare
from robolearn.fleet.settings import Federation, SiteSettings
from robolearn.fleet.setup import new_federation, new_site, site_keys, to_yaml
from robolearn.fleet.vector import Layout

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PYTHONPATH = os.pathsep.join([str(HERE), str(ROOT), str(ROOT / "envs")])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_federation(path: Path, **changes):
    base = {
        "schema": "robolearn.federation/1", "name": "test", "task": "fr3/reach", "local_iterations": 1,
        "address": f"127.0.0.1:{free_port()}", "norm_max": 100.0, "sites_min": 2, "round_timeout_s": 60.0,
    }  # fmt: skip
    folder = new_federation(path, Federation.model_validate(base | changes))
    Rounds(folder.path).begin(Layout.of({"w": np.zeros(SIZE, np.float32)}), np.zeros(SIZE, np.float32))
    return folder


def make_site(path: Path, federation, *, known=True, **changes):
    site = new_site(path, federation.path, path.name, free_port())
    settings = site.site().model_dump(mode="json", by_alias=True) | {"work": "stand_in:step"} | changes
    (site / "site.yaml").write_text(to_yaml(SiteSettings.model_validate(settings)))
    if known:
        shutil.copy(site / "node.pub", federation / "sites" / f"{path.name}.pub")
    return site


@contextmanager
def running(federation, sites, *, more=None):
    """The server and the sites' nodes; all of it is ended on leaving. more: {site: environment}."""
    with ExitStack() as stack:
        server = stack.enter_context(ended(start_server(federation, {"PYTHONPATH": PYTHONPATH})))
        settings = federation.federation()
        wait_for_port(server, settings.host, settings.port)
        register(federation, site_keys(federation))
        nodes = {}
        for site in sites:
            env = {"PYTHONPATH": PYTHONPATH} | (more or {}).get(site.path.name, {})
            nodes[site.path.name] = stack.enter_context(ended(start_site(site, env)))
        yield server, nodes


def train(federation, sites=None):
    """Every missing round; how it ended."""
    prepare(federation, sites, wait_s=120.0)
    return follow(federation, lambda record: None)


def wait_for(condition, timeout_s=60.0):
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.2)

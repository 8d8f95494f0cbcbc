"""The commands of docs/howto/federated.md, in order, in a namespace with loopback only; the training is the stand-in's.

Runs where Flower is installed: `make fleet`.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from stand_in import SIZE

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "howto" / "federated.md"
ADD = {"north": 0.01, "east": 0.02, "south": 0.06}
NAMESPACE = ["unshare", "--map-root-user", "--net"]
# What the page tells people to do by hand, and what the stand-in needs: each site's own settings, a first vector.
PREPARE = """
import sys, numpy as np
from pathlib import Path
from robolearn.fleet.rounds import Rounds
from robolearn.fleet.settings import Folder, SiteSettings
from robolearn.fleet.setup import to_yaml
from robolearn.fleet.vector import Layout
folder, add = sys.argv[1], sys.argv[2:]
if add:
    told = Folder(folder).site().model_dump(mode="json", by_alias=True)
    told |= {"work": "stand_in:step", "env": {"add": float(add[0])}}
    Path(folder, "site.yaml").write_text(to_yaml(SiteSettings.model_validate(told)))
else:
    zero = np.zeros(1000, np.float32)
    Rounds(folder).begin(Layout.of({"w": zero}), zero)
"""


def script():
    """The page as a shell script: servers and sites in the background, shorter than the page's eight rounds."""
    lines = ["set -e", "ip link set lo up", "background=''", "trap 'kill $background; wait' EXIT"]
    blocks = PAGE.read_text().split("```sh\n")[1:]
    for line in (line for block in blocks for line in block.split("```")[0].splitlines()):
        words = line.split()
        if words[:2] == ["robolearn", "federate"]:
            verb = words[2]
            if verb == "bundle":  # needs JAX: tests/fleet/test_global_bundle.py
                continue
            command = f"{sys.executable} -m {line}".replace("--rounds 8", "--rounds 2")
            if verb in ("server", "site"):
                lines.append(f'{command} > {words[3]}.out 2>&1 & background="$background $!"')
            else:
                lines.append(command)
            if verb == "init":
                add = str(ADD[words[3]]) if words[3] in ADD else ""
                lines.append(f"{sys.executable} prepare.py {words[3]} {add}")
        elif words[:1] == ["cp"]:
            lines.append(line)
    return "\n".join(lines) + "\n"


def offline():
    return shutil.which("unshare") and subprocess.run([*NAMESPACE, "true"], check=False).returncode == 0


def test_the_page_runs_with_loopback_only(tmp_path):
    pytest.importorskip("flwr", reason="make fleet runs this")
    if not offline():
        pytest.skip("this machine allows no namespace without a network")
    (tmp_path / "prepare.py").write_text(PREPARE)
    (tmp_path / "page.sh").write_text(script())
    paths = os.pathsep.join([str(Path(__file__).parent), str(ROOT), str(ROOT / "envs")])
    done = subprocess.run(
        [*NAMESPACE, "bash", "page.sh"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    records = [
        json.loads(line) for line in (tmp_path / "federation" / "rounds.jsonl").read_text().splitlines()
    ]
    assert [record["answered"] for record in records] == [["east", "north", "south"]] * 2
    with np.load(tmp_path / "federation" / "rounds" / "000002.npz") as kept:
        np.testing.assert_allclose(kept["vector"], 2 * np.mean(list(ADD.values())), atol=1e-6)
    assert "received bytes" in done.stdout
    assert f"float32 [{SIZE}]" in done.stdout.replace("\n", "")


def test_the_page_names_every_verb():
    shown = PAGE.read_text()
    assert all(
        f"robolearn federate {verb}" in shown
        for verb in ("init", "server", "site", "run", "status", "bundle")
    )

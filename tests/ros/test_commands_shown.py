"""The commands of the documentation that serve a bundle and operate the arm, run as they are shown."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import time

import pytest
import ros_standin
from test_docs import FOUND, ROOT, once

from robolearn.config import config_path

pytestmark = pytest.mark.ros

SERVED = [words for words in once(FOUND) if words[0] == "serve"]
SHOWN = [words for words in SERVED if "--motion" not in words]
PLAYED = [words for words in SERVED if "--motion" in words]
TUTORIAL = (ROOT / "docs" / "tutorials" / "integrator.md").read_text()
OPERATE = [shlex.split(words) for words in re.findall(r"^robolearn operate (.*)$", TUTORIAL, re.MULTILINE)]


def test_there_are_some():
    assert len(SHOWN) >= 2
    assert len(PLAYED) == 1
    assert [words[0] for words in OPERATE] == ["start", "goal", "status", "stop", "reset"]


def operate(words, environment):
    """Exit status; a moment later the arm has got to where that takes it."""
    done = subprocess.run(
        [sys.executable, "-m", "robolearn", "operate", *words], env=environment, check=False, timeout=60
    )
    time.sleep(1.0)
    return done.returncode


@pytest.mark.parametrize("words", SHOWN, ids=" ".join)
def test_a_bundle_is_served_and_the_arm_operated_until_ctrl_c(words, tmp_path):
    ros_standin.export_reaching(tmp_path, name="fr3-reach")
    shutil.copy(config_path("safety/fr3.yaml"), tmp_path / "my_cell.yaml")
    if "my_cell/cell.yaml" in words:
        made = ["init-cell", "my_cell", "--robot", "fr3", "--name", "cell 7", "--no-ask"]
        subprocess.run([sys.executable, "-m", "robolearn", *made], cwd=tmp_path, check=True, timeout=60)
    said = ros_standin.serve_until_ctrl_c(words, tmp_path)
    assert "is active after" in said
    assert "Review the log" in said


@pytest.mark.parametrize("words", PLAYED, ids=" ".join)
def test_a_motion_is_recorded_and_its_log_fitted(words, tmp_path):
    """Through the three nodes, which are processes on a busy computer: the fit still predicts the plant."""
    run = [sys.executable, "-m", "robolearn"]
    made = ["sysid", "excite", "fr3", "-o", "excite.mcap", "--duration", "10"]
    subprocess.run([*run, *made], cwd=tmp_path, check=True, timeout=120)
    said = ros_standin.serve_until_it_ends(words, tmp_path, once_it_says="Start it from another terminal")
    fit = re.search(r"Fit it: robolearn (.*)", said)
    assert fit, said
    fitted = subprocess.run(
        [*run, *shlex.split(fit[1]), "-o", "fr3.calibration.yaml"],
        cwd=tmp_path, check=False, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert fitted.returncode in (0, 1), fitted.stderr
    report = json.loads((tmp_path / "fr3.calibration.json").read_text())
    assert report["effort"]
    assert report["logs"][0]["verified"]
    for row in report["held_out"]:
        assert row["fitted_rmse_rad"] < row["nominal_rmse_rad"] / 3, row

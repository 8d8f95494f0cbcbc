"""The commands of the documentation that serve a bundle and operate the arm, run as they are shown."""

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

SHOWN = [words for words in once(FOUND) if words[0] == "serve" and "--motion" not in words]
TUTORIAL = (ROOT / "docs" / "tutorials" / "integrator.md").read_text()
OPERATE = [shlex.split(words) for words in re.findall(r"^robolearn operate (.*)$", TUTORIAL, re.MULTILINE)]


def test_there_are_some():
    assert len(SHOWN) >= 2
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
    said = ros_standin.serve_until_ctrl_c(words, tmp_path)
    assert "is active after" in said
    assert "Look at what happened" in said

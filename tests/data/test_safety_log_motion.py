"""A safety log is read as a recording: what was sent, what was measured, at the stamps of each."""

import numpy as np
import pytest
from log_sessions import Session

from robolearn.data.safety_log import read_safety_log
from robolearn.errors import DataError
from robolearn.safety.types import Command


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    session = Session(folder / "log", folder / "key.pem")
    session.cycle()
    session.start()
    for k in range(300):
        target = session.origin + 0.02 * np.sin(k / 100.0) ** 3
        session.cycle(Command(session.robot.joint_names, target, session.now_s, None))
    session.log.close()
    return folder / "log", session.robot


def test_the_motion_of_a_safety_log(recorded):
    folder, robot = recorded
    motion = read_safety_log(folder)
    assert motion.robot == "fr3"
    assert motion.robot_digest == robot.digest
    assert motion.joint_names == robot.joint_names
    assert len(motion.command.time_s) >= 300
    assert motion.command.period_s == pytest.approx(0.002)
    # The arm of the session follows at once: what is measured is what was sent one cycle before.
    sent, seen = motion.command.values["position_rad"], motion.measured.values["position_rad"]
    assert np.abs(seen[-299:] - sent[-300:-1]).max() < 1e-12
    assert motion.delay_s == pytest.approx(0.0, abs=1e-9)
    assert motion.faults == ()
    assert "effort" in motion.missing


def test_a_folder_without_a_log_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"No safety log in .*: events.jsonl cannot be read"):
        read_safety_log(tmp_path)
    (tmp_path / "events.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="first event of the log"):
        read_safety_log(tmp_path)

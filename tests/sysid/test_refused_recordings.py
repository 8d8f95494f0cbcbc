"""`robolearn sysid fit` on what cannot be fitted: one line that says why, exit status 2, nothing written."""

import shutil

import pytest
from plant_session import plant_bag, plant_log

from robolearn.cli.app import main


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    folder = tmp_path_factory.mktemp("short") / "log"
    plant_log(folder, folder.parent / "key.pem", "ur5e", duration_s=3.0)
    return folder


def _refused(words, folder, capsys):
    """The one line that is said; nothing beside what was there is written."""
    before = sorted(folder.rglob("*"))
    with pytest.raises(SystemExit) as end:
        main(["sysid", "fit", *map(str, words), "-o", str(folder / "x.calibration.yaml")])
    assert end.value.code == 2
    assert sorted(folder.rglob("*")) == before
    *faults, line = capsys.readouterr().err.strip().splitlines()
    assert all(str(words[0]) in fault for fault in faults), faults  # of a recording that was damaged
    return line


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"still": range(6)}, "contains no motion: no joint is commanded to move; a range of 0.02 rad"),
        ({"still": (4,)}, "wrist_2_joint never moves; of every joint a range of 0.02 rad"),
        ({"duration_s": 3.0}, "has 3.0 s of commands and measurements together, at least 8 s are needed"),
        ({"effort": True}, "has effort without a unit: drivers report Nm or A there. Give --effort-unit"),
    ],
)  # fmt: skip
def test_a_bag_from_which_nothing_can_be_told_is_refused(changes, expected, tmp_path, capsys):
    bag = plant_bag(tmp_path / "x.mcap", "ur5e", **({"duration_s": 9.0} | changes))
    assert expected in _refused([bag, "--robot", "ur5e"], tmp_path, capsys)


def test_a_bag_of_another_arm_is_refused(tmp_path, capsys):
    bag = plant_bag(tmp_path / "x.mcap", "ur5e", duration_s=0.1)
    said = _refused([bag, "--robot", "fr3"], tmp_path, capsys)
    assert "has no joint states of fr3_joint1, fr3_joint2" in said


def test_a_short_log_and_one_of_another_arm_are_refused(log, tmp_path, capsys):
    assert "at least 8 s are needed" in _refused([log, "--robot", "ur5e"], tmp_path, capsys)
    assert "is of the arm 'ur5e', not of 'fr3'" in _refused([log, "--robot", "fr3"], tmp_path, capsys)


def test_a_tampered_log_is_refused_before_it_is_read(log, tmp_path, capsys):
    altered = tmp_path / "log"
    shutil.copytree(log, altered)
    trace = next(altered.glob("trace-*.mcap"))
    data = bytearray(trace.read_bytes())
    data[len(data) // 2] ^= 1
    trace.write_bytes(bytes(data))
    said = _refused([altered, "--robot", "ur5e"], tmp_path, capsys)
    assert "does not verify" in said
    assert "at least 8 s" in _refused([altered, "--robot", "ur5e", "--unverified"], tmp_path, capsys)


def test_a_dataset_without_its_unit_is_refused(tmp_path, capsys):
    (tmp_path / "set" / "meta").mkdir(parents=True)
    features = '"features": {"action": {"names": ["a"]}, "observation.state": {"names": ["a"]}}'
    (tmp_path / "set" / "meta" / "info.json").write_text(f'{{"codebase_version": "v3.0", {features}}}')
    said = _refused([tmp_path / "set", "--robot", "ur5e"], tmp_path, capsys)
    assert "does not define the unit of its positions. Give --position-unit rad or deg." in said


def test_what_is_no_recording_is_refused(tmp_path, capsys):
    (tmp_path / "x.mcap").write_bytes(b"no MCAP file")
    assert "is not a rosbag2 MCAP file" in _refused(
        [tmp_path / "x.mcap", "--robot", "ur5e"], tmp_path, capsys
    )
    said = _refused([tmp_path / "nowhere", "--robot", "ur5e"], tmp_path, capsys)
    assert "is not a safety log (events.jsonl), MCAP file or LeRobotDataset" in said

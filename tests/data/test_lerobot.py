"""LeRobotDataset v3: joints by name, units said by who reads, episodes apart, and what is missing is named."""

import json

import numpy as np
import pytest

from robolearn.data.lerobot import is_lerobot, read_lerobot
from robolearn.errors import DataError

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

JOINTS = ("shoulder", "elbow")
STATE = ["gripper.pos", "elbow.pos", "shoulder.pos", "elbow.vel", "shoulder.vel"]
COMMAND = ["shoulder.pos", "elbow.pos", "gripper.pos"]


def _dataset(folder, *, state=STATE, command=COMMAND, version="v3.0", lengths=(4, 3), hz=50.0, grouped=False):
    """A dataset whose frame k of episode e has the value 10 e + k + column / 10 in each column."""
    names = {"motors": state} if grouped else state
    info = {
        "codebase_version": version, "robot_type": "so100", "fps": hz, "total_episodes": len(lengths),
        "total_frames": sum(lengths), "chunks_size": 1000,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "features": {
            "action": {"dtype": "float32", "shape": [len(command)], "names": command},
            "observation.state": {"dtype": "float32", "shape": [len(state)], "names": names},
            "timestamp": {"dtype": "float32", "shape": [1], "names": None},
            "observation.images.top": {"dtype": "video", "shape": [3, 4, 4], "names": ["c", "h", "w"]},
        },
    }  # fmt: skip
    (folder / "meta").mkdir(parents=True)
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    (folder / "data" / "chunk-000").mkdir(parents=True)
    for e, length in enumerate(lengths):
        rows = [10.0 * e + k for k in range(length)]
        table = pa.table(
            {
                "timestamp": pa.array([k / hz for k in range(length)], pa.float32()),
                "frame_index": pa.array(list(range(length)), pa.int64()),
                "episode_index": pa.array([e] * length, pa.int64()),
                "action": [[row + c / 10 for c in range(len(command))] for row in rows],
                "observation.state": [[row + c / 10 for c in range(len(state))] for row in rows],
            }
        )
        parquet.write_table(table, folder / "data" / "chunk-000" / f"file-{e:03d}.parquet")
    return folder


@pytest.mark.parametrize("grouped", [False, True])
def test_joints_are_taken_by_name_and_episodes_stay_apart(tmp_path, grouped):
    folder = _dataset(tmp_path / "set", grouped=grouped)
    assert is_lerobot(folder)
    motion = read_lerobot(folder, JOINTS, position_unit="rad")
    assert motion.measured.values["position_rad"][0] == pytest.approx([0.2, 0.1])  # shoulder, elbow
    assert motion.measured.values["velocity_rad_s"][0] == pytest.approx([0.4, 0.3])
    assert motion.command.values["position_rad"][4] == pytest.approx([10.0, 10.1])
    assert motion.command.time_s == pytest.approx([0, 0.02, 0.04, 0.06, 1.06, 1.08, 1.10], abs=1e-6)
    assert np.array(motion.measured.breaks_s) == pytest.approx(np.array([[0.06, 1.06]]), abs=1e-6)
    assert [fault.kind for fault in motion.faults] == ["gap", "gap"]
    assert "effort" in motion.missing
    assert motion.effort_unit is None
    assert motion.delay_s is None
    assert any("robot_type so100" in note for note in motion.notes)


def test_degrees_become_radians_and_effort_stays(tmp_path):
    names = [*JOINTS, *(f"{joint}.torque" for joint in JOINTS)]
    folder = _dataset(tmp_path / "set", state=names, command=list(JOINTS))
    motion = read_lerobot(folder, JOINTS, position_unit="deg", effort_unit="Nm")
    assert motion.measured.values["position_rad"][3] == pytest.approx(np.radians([3.0, 3.1]))
    assert motion.measured.values["effort"][3] == pytest.approx([3.2, 3.3])
    assert motion.effort_unit == "Nm"
    assert motion.missing[0] == "velocity"


def test_one_episode_is_chosen(tmp_path):
    folder = _dataset(tmp_path / "set")
    motion = read_lerobot(folder, JOINTS, position_unit="rad", episode=1)
    assert motion.command.values["position_rad"][:, 0] == pytest.approx([10.0, 11.0, 12.0])
    assert motion.faults == ()
    with pytest.raises(DataError, match="has no episode 2; it has 0 to 1"):
        read_lerobot(folder, JOINTS, position_unit="rad", episode=2)


def test_the_unit_must_be_said(tmp_path):
    folder = _dataset(tmp_path / "set")
    with pytest.raises(DataError, match="--position-unit rad or deg"):
        read_lerobot(folder, JOINTS, position_unit=None)
    with pytest.raises(DataError, match="Unknown position unit 'grad'"):
        read_lerobot(folder, JOINTS, position_unit="grad")


def test_another_version_and_other_joints_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"is a LeRobotDataset v2\.1, expected v3"):
        read_lerobot(_dataset(tmp_path / "old", version="v2.1"), JOINTS, position_unit="rad")
    with pytest.raises(DataError, match="Unknown joint 'wrist'"):
        read_lerobot(_dataset(tmp_path / "set"), ("shoulder", "wrist"), position_unit="rad")
    with pytest.raises(DataError, match="has no joint names in"):
        read_lerobot(_dataset(tmp_path / "bare", state=[]), JOINTS, position_unit="rad")


def test_what_is_no_dataset_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(DataError, match="No LeRobotDataset in"):
        read_lerobot(tmp_path, JOINTS, position_unit="rad")
    folder = _dataset(tmp_path / "set")
    file = folder / "data" / "chunk-000" / "file-001.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match="is not a Parquet file of frames that can be read"):
        read_lerobot(folder, JOINTS, position_unit="rad")
    (folder / "meta" / "info.json").write_text('{"codebase_version": "v3.0", "features": {}}')
    with pytest.raises(DataError, match="lacks 'action' or 'observation.state'"):
        read_lerobot(folder, JOINTS, position_unit="rad")
    (folder / "meta" / "info.json").write_text("[" * 5000)
    with pytest.raises(DataError, match="is not a description of a LeRobotDataset"):
        read_lerobot(folder, JOINTS, position_unit="rad")


def test_the_digest_is_that_of_all_files(tmp_path):
    first = read_lerobot(_dataset(tmp_path / "a"), JOINTS, position_unit="rad").digest
    assert first == read_lerobot(_dataset(tmp_path / "b"), JOINTS, position_unit="rad").digest
    assert first != read_lerobot(_dataset(tmp_path / "c", lengths=(4, 2)), JOINTS, position_unit="rad").digest

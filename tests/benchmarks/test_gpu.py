"""The measurement on a GPU: what a part has found is kept whatever becomes of it, and the others still run."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from benchmarks import gpu, gpu_needs

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import gpu_page  # noqa: E402

SCRIPT = ROOT / "benchmarks" / "gpu.sh"
PARTS = {
    "device": "write(1); write(2)",
    "kernels": "write(1); raise RuntimeError('no such kernel')",
    "steps": "import os, subprocess; write(1); subprocess.Popen(['sleep', '300']); import time; time.sleep(300)",
    "agreement": "os.kill(os.getpid(), 9)",
    "memory": "write(3)",
}


def stand_in(name, into, engine, small):
    """A part that writes numbers, and then does what PARTS says."""
    head = f"import os\ndef write(n, path={str(into)!r}):\n"
    head += "    open(path + '+', 'w').write('{\"n\": %d}' % n)\n    os.replace(path + '+', path)\n"  # as parts do
    return [sys.executable, "-c", head + PARTS[name]]


@pytest.fixture
def report(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "PARTS", dict.fromkeys(PARTS, (30.0, "")) | {"steps": (1.0, "")})
    monkeypatch.setattr(gpu, "_LEAST_S", 0.1)
    out = tmp_path / "there" / "gpu.json"
    gpu.run([*PARTS], out, engine="warp", minutes=1.0, small=False, command=stand_in)
    return json.loads(out.read_text())


def test_each_part_says_how_it_ended_and_what_it_had_found(report):
    parts = report["parts"]
    assert {name: part["ending"] for name, part in parts.items()} == {
        "device": "finished", "kernels": "failed", "steps": "out of time", "agreement": "failed", "memory": "finished",
    }  # fmt: skip
    assert [parts[name]["found"] for name in PARTS] == [{"n": 2}, {"n": 1}, {"n": 1}, {}, {"n": 3}]
    assert "no such kernel" in parts["kernels"]["said"][-1]
    assert parts["steps"]["why"] == "killed after 1 s"
    assert parts["agreement"]["why"] == "signal 9"


def test_what_a_killed_part_had_started_ends_with_it(report):
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert report["parts"]["steps"]["took_s"] < 30
    assert "sleep 300" not in listed.splitlines()


def test_what_is_found_is_on_disk_while_the_part_runs_and_sigterm_ends_both(tmp_path):
    out = tmp_path / "gpu.json"
    text = (
        "from pathlib import Path; from benchmarks import gpu\n"
        'code = \'import os, sys, time; at = sys.argv[1]; open(at + "+", "w").write(\\\'{"n": 7}\\\'); \'\n'
        "code += 'os.replace(at + \"+\", at); time.sleep(61.25)'\n"
        "command = lambda name, into, engine, small: ['python3', '-c', code, str(into)]\n"
        f"gpu.run(['memory'], Path({str(out)!r}), engine='warp', minutes=1, small=False, command=command)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", text], cwd=ROOT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    found = {}
    while not found and time.monotonic() < deadline:
        time.sleep(0.1)
        if out.exists():
            found = json.loads(out.read_text())["parts"].get("memory", {}).get("found", {})
    process.terminate()
    assert process.wait(timeout=30) == 128 + signal.SIGTERM
    assert found == {"n": 7}
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in listed.splitlines() if str(tmp_path) in line or "61.25" in line]


def test_without_a_gpu_it_ends_after_the_first_part_and_a_measured_file_stays(tmp_path, monkeypatch, capsys):
    text = '{"platform": "cpu", "versions": {"jax": "0.11.2"}, "nvidia_smi": "none"}'
    code = f"import sys; open(sys.argv[1], 'w').write({text!r})"
    monkeypatch.setattr(gpu, "part_command", lambda name, into, *_: [sys.executable, "-c", code, str(into)])
    monkeypatch.setattr(gpu_needs, "missing", lambda engine: [])
    measured = tmp_path / "gpu.json"
    measured.write_text("measured")
    assert gpu.main(["--only", "steps", "--out", str(measured)]) == 2
    assert "JAX 0.11.2 runs on 'cpu' and sees no GPU" in capsys.readouterr().err
    assert measured.read_text() == "measured"


def test_a_dry_run_does_not_write_to_the_file_of_measured_figures(monkeypatch):
    monkeypatch.setattr(gpu, "run", None)
    with pytest.raises(SystemExit, match="for what a GPU does"):
        gpu.main(["--small", "--out", str(gpu.RESULTS)])


def test_where_the_first_part_cannot_tell_the_device_in_two_tries_a_measured_file_stays(
    tmp_path, monkeypatch, capsys
):
    tries = tmp_path / "tries"
    code = f"import time; open({str(tries)!r}, 'a').write('x'); time.sleep(60)"
    monkeypatch.setattr(gpu_needs, "missing", lambda engine: [])
    monkeypatch.setattr(gpu, "PARTS", dict.fromkeys(PARTS, (2.0, "")))
    monkeypatch.setattr(gpu, "_LEAST_S", 0.1)
    monkeypatch.setattr(gpu, "part_command", lambda *_: [sys.executable, "-c", code])
    measured = tmp_path / "gpu.json"
    measured.write_text("measured")
    assert gpu.main(["--only", "steps", "--out", str(measured)]) == 2
    assert "'device' did not finish (killed after 2 s)" in capsys.readouterr().err
    assert tries.read_text() == "xx"
    assert measured.read_text() == "measured"


def test_a_part_of_a_dry_run_is_limited_by_its_processor_time(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "_SMALL_CPU_S", 1)
    monkeypatch.setattr(gpu, "_LEAST_S", 0.1)

    def busy(name, into, engine, small):
        return [sys.executable, "-c", "while True: pass"]

    report = gpu.run(["memory"], tmp_path / "g.json", engine="warp", minutes=2.0, small=True, command=busy)
    part = report["parts"]["memory"]
    assert (part["ending"], part["why"]) == ("failed", "1 s of processor time were used up")
    assert 0.5 < part["cpu_s"] < 10.0


def test_when_the_time_is_used_up_the_rest_is_not_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "PARTS", dict.fromkeys(PARTS, (30.0, "")))
    report = gpu.run(["device", "memory"], tmp_path / "g.json", engine="warp", minutes=0.0, small=False)
    assert {part["ending"] for part in report["parts"].values()} == {"not begun"}
    assert "used up" in report["parts"]["memory"]["why"]


def test_the_parts_that_matter_most_fit_into_eight_minutes():
    limits = [limit for limit, _ in gpu.PARTS.values()]
    assert sum(limits[:7]) <= 480
    assert [*gpu.PARTS][:7] == [
        "device", "kernels", "steps", "train_pick_cube", "agreement", "learn_reach", "train_reach",
    ]  # fmt: skip


def wheel(folder: Path, name: str, content: bytes) -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", content)
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return path


def script(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHON": sys.executable, "PIP_NO_INDEX": "1"}
    return subprocess.run(
        [SCRIPT, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False
    )


def cut(path: Path, folders: list[Path]) -> None:
    """As `split -b` does, one part into each folder."""
    content = path.read_bytes()
    size = -(-len(content) // len(folders))
    for i, folder in enumerate(folders):
        folder.mkdir(exist_ok=True)
        part = content[i * size : (i + 1) * size]
        (folder / f"{path.name}.part-a{'abc'[i]}").write_bytes(part)
    path.unlink()


def test_wheels_cut_into_parts_are_joined_installed_and_used(tmp_path):
    wheel(tmp_path, "whole_thing", b"VALUE = 1\n")
    folders = [tmp_path / name for name in ("one", "two", "three")]
    cut(
        wheel(tmp_path, "cut_thing", os.urandom(3000).hex().encode().join([b"# ", b"\nVALUE = 2\n"])), folders
    )
    done = script(tmp_path, tmp_path / "place", "--", "--list")
    assert done.returncode == 0, done.stderr
    assert "2 wheels" in done.stdout
    assert "train_pick_cube" in done.stdout
    (points,) = (tmp_path / "place" / "site").glob("robolearn-*.dist-info/entry_points.txt")
    assert points.read_text().startswith("[robolearn.tasks]\npackaged = robolearn_envs")
    assert {path.name for path in (tmp_path / "place" / "site").glob("*.py")} == {
        "whole_thing.py",
        "cut_thing.py",
    }


def test_a_missing_part_of_a_wheel_is_named(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    cut(wheel(tmp_path, "cut_thing", os.urandom(3000)), folders)
    (folders[1] / "cut_thing-1.0-py3-none-any.whl.part-ab").unlink()
    done = script(tmp_path, tmp_path / "place", "--", "--list")
    assert done.returncode == 2
    assert "cut_thing-1.0-py3-none-any.whl is not whole" in done.stderr


def test_a_folder_without_wheels_is_refused(tmp_path):
    done = script(tmp_path, tmp_path / "place")
    assert done.returncode == 2
    assert "no wheels" in done.stderr


def test_what_is_missing_is_named_before_anything_is_started(tmp_path, monkeypatch, capsys):
    asked = {"numpy": ">=1.26", "jax": ">=0.1,<0.2", "flax": ">=0.12"}
    monkeypatch.setattr(gpu_needs, "NEEDS", {"numpy": "numpy", "jax": "jax", "flax": "no_such.module"})
    monkeypatch.setattr(gpu_needs, "OF_WARP", {"warp-lang": "no_such_module"})
    monkeypatch.setattr(gpu_needs, "_wanted", lambda: asked)
    monkeypatch.setattr(gpu_needs, "entry_points", lambda group: ())
    monkeypatch.setattr(gpu, "run", None)
    assert gpu.main(["--out", str(tmp_path / "gpu.json")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert sys.executable in lines[0]
    jax_line, flax_line, warp_line, own_line = map(str.strip, lines[1:5])
    assert jax_line.startswith("jax>=0.1,<0.2 (there is 0.1")
    assert (flax_line, warp_line) == ("flax>=0.12", "warp-lang")
    assert own_line.startswith("robolearn itself, which makes its tasks known")
    assert lines[5].startswith("Nothing was started.")


def test_nothing_is_missing_here_and_what_is_not_needed_is_not_asked_for():
    assert gpu_needs.missing("warp") == []
    assert not {"jax2onnx", "onnxruntime", "gymnasium", "mcap", "tensorboardx"} & {*gpu_needs.NEEDS}
    assert {"jax", "flax", "optax"} < gpu_needs._wanted().keys(), "versions are those of pyproject.toml"


@pytest.mark.parametrize(
    ("have", "asked", "fits"),
    [
        ("0.11.2", ">=0.10,<0.12", True),
        ("0.12.0", ">=0.10,<0.12", False),
        ("0.9.9", ">=0.10", False),
        ("4.0", ">=4.0,<5", True),
        ("1.18.0", "==1.18", True),
        ("", ">=1", True),
    ],
)
def test_versions_are_compared_by_number(have, asked, fits):
    assert gpu_needs._fits(have, asked) is fits


def test_parts_run_without_what_is_said_not_to_be_needed_and_find_tasks_of_a_tree_that_is_not_installed(
    tmp_path,
):
    """With the import of an exporter refused, and no metadata of robolearn but what gpu.sh writes into its folder."""
    gpu_needs.register(tmp_path / "site")
    text = (
        "import importlib.metadata as metadata, sys\n"
        f"site = {str(tmp_path / 'site')!r}\n"
        "for name in ('jax2onnx', 'onnx', 'onnxruntime', 'gymnasium', 'mcap', 'tensorboardX', 'imageio'):\n"
        "    sys.modules[name] = None\n"
        "def entry_points(group):\n"
        "    found = [point for one in metadata.distributions(path=[site]) for point in one.entry_points]\n"
        "    return [point for point in found if point.group == group]\n"
        "from benchmarks import gpu_needs, gpu_parts\n"
        "from robolearn.env import task\n"
        "task.entry_points = gpu_needs.entry_points = entry_points\n"
        "import robolearn, robolearn.learn.trainer, robolearn.learn.selection\n"
        "robolearn.make('fr3/reach', 1, 'warp')\n"
        "print(gpu_needs.missing('warp'), sorted(task.task_classes())[:2])\n"
    )
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[] ['connector_insert', 'open_drawer']"


def test_where_the_first_part_fails_the_others_are_not_begun(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu_needs, "missing", lambda engine: [])
    monkeypatch.setattr(
        gpu, "part_command", lambda *_: [sys.executable, "-c", "raise OSError('no such library')"]
    )
    assert gpu.main(["--small", "--out", str(tmp_path / "gpu.json")]) == 2
    said = capsys.readouterr()
    assert "OSError: no such library" in said.err
    assert "others were not begun" in said.err
    assert "kernels" not in said.out


def whole_report():
    found = {"environments_alone_s": 0.2, "physics_alone_s": 0.1, "iteration_s": 0.4, "num_envs": 8192,
             "control_steps_per_s": 321000.0, "compile_s": 30.0, "peak_bytes": 2e9,
             "device_time": {"launches": 77, "device_to_host_copies": 0}}  # fmt: skip
    device = {
        "platform": "gpu",
        "kind": "NVIDIA H100",
        "count": 1,
        "nvidia_smi": "H100, 570",
        "versions": {"jax": "0.11.2"},
    }
    row = {"bare_per_s": 1e6, "engine_per_s": 9e5, "engine_drawn_per_s": 8e5, "engine_per_bare": 0.9}
    parts = {
        "device": {"ending": "finished", "found": device},
        "steps": {"ending": "finished", "found": {"task": "fr3/pick_cube", "by_num_envs": {"1024": row}}},
        "train_pick_cube": {"ending": "finished", "found": found},
        "learn_reach_alone": {
            "ending": "finished",
            "found": {"reached": {"0.90": {"after_compiling_s": 4.25}}},
        },
        "memory": {"ending": "failed", "why": "exit status 1", "found": {}},
    }
    return {
        "small": False,
        "engine": "warp",
        "date": "2027-01-01T00:00:00+00:00",
        "commit": "abc",
        "parts": parts,
    }


def page(tmp_path, report):
    path = tmp_path / "gpu.json"
    if report is not None:
        path.write_text(json.dumps(report))
    return gpu_page.gpu_page(path, tmp_path / "parity.json")


def test_the_page_shows_what_was_measured(tmp_path):
    text = page(tmp_path, whole_report())
    assert "Not measured yet" not in text
    assert "NVIDIA H100" in text
    assert "| pick_cube | 8192 | 321,000 | 0.50 | 0.25 | 77 | 0 | 30.0 | 2,000 |" in text
    assert "| 1024 | 1,000,000 | 900,000 | 800,000 | 0.90 | - |" in text
    assert "| reach | no | None | 4.2 | - | - | - |" in text
    assert "| memory | failed | exit status 1 |" in text


def on_a_cpu():
    report = whole_report()
    report["parts"]["device"]["found"]["platform"] = "cpu"
    return report


@pytest.mark.parametrize("report", [None, whole_report() | {"small": True}, on_a_cpu()])
def test_without_a_measurement_on_a_gpu_the_page_says_so(tmp_path, report):
    text = page(tmp_path, report)
    assert "Not measured yet" in text
    assert "321,000" not in text


def test_the_page_shows_engines_through_contact(tmp_path):
    from benchmarks import parity  # brings JAX

    options = argparse.Namespace(envs=8, seconds=2.0)
    means = {"achieved": 1.0, "force": 4.0, "moved": 0.1}
    apart = {"achieved": (0.0, 0.0), "force": (-0.25, 0.5), "moved": (0.0, 0.0)}
    for engine, force, wrong, undecided in (
        ("warp", 4.1, (), ()), ("jax", 5.0, ("force: apart",), ()), ("other", 4.2, (), ("force",)),
    ):  # fmt: skip
        found = parity.Parted(means, means | {"force": force}, apart, wrong, undecided)
        parity.keep(tmp_path / "parity.json", f"fr3/push {engine} 8 2", found, options)
    rows = json.loads((tmp_path / "parity.json").read_text())
    # as they were kept before intervals were
    rows["fr3/stack warp 8 2"] = {"envs": 8, "seconds": 2.0, "native": means, "other": means}
    rows["fr3/push jax 128 2"] = rows["fr3/push jax 8 2"] | {"envs": 128, "wrong": []}
    (tmp_path / "parity.json").write_text(json.dumps(rows))
    lines = page(tmp_path, None).splitlines()
    assert "| fr3/stack | warp | 8 | 2 | 1 / 1 | 4 / 4 | 0.1 / 0.1 | means only |" in lines
    still = "0.1 / 0.1 (+0 to +0)"
    for engine, force, verdict in (
        ("jax", "5", "force: apart"),
        ("other", "4.2", "not decided: force"),
        ("warp", "4.1", "yes"),
    ):
        assert (
            f"| fr3/push | {engine} | 8 | 2 | 1 / 1 (+0 to +0) | 4 / {force} (-0.25 to +0.5) | {still} | {verdict} |"
            in lines
        )
    found = [line.split(" | ")[1:4] for line in lines if line.startswith("| fr3/push")]
    assert found[:2] == [["jax", "8", "2"], ["jax", "128", "2"]], "few environments before more"

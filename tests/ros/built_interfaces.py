"""Message packages, built here with the generators of the ROS 2 wheels and colcon, once for each state of the sources.

`robolearn_interfaces` is the project's own. The others stand in for packages that the wheels lack: the fields are those
of the published interfaces, so that types and hashes are theirs, and only what the nodes use is there.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import filelock

ROOT = Path(__file__).resolve().parents[2]
OWN = ROOT / "ros2_ws" / "src" / "robolearn_interfaces"
CACHE = ROOT / "build" / "interfaces"
SKIP = "ROS 2's generators are not installed: pip install 'robolearn[dev]', and a compiler and CMake"

_GRIP = "float64 width\nfloat64 speed\n---\nbool success\nstring error\n---\nfloat64 current_width\n"
STANDINS = {
    "control_msgs": {
        "msg/GripperCommand.msg": "float64 position\nfloat64 max_effort\n",
        "action/GripperCommand.action": "GripperCommand command\n"
        + "---\nfloat64 position\nfloat64 effort\nbool stalled\nbool reached_goal\n" * 2,
    },
    "franka_msgs": {
        "msg/GraspEpsilon.msg": "float64 inner\nfloat64 outer\n",
        "action/Move.action": _GRIP,
        "action/Grasp.action": "float64 width\nGraspEpsilon epsilon\nfloat64 speed\nfloat64 force\n"
        "---\nbool success\nstring error\n---\nfloat64 current_width\n",
    },
    "schunk_gripper_interfaces": {
        "srv/MoveToAbsolutePositionGPE.srv": "float32 position\nfloat32 velocity\nbool use_gpe\n"
        "---\nbool success\nstring message\n",
        "srv/GripWithVelocity.srv": "int16 force\nbool outward\nfloat32 velocity\n---\nbool workpiece_gripped\n"
        "bool no_workpiece_detected\nbool wrong_workpiece_gripped\nbool workpiece_lost\nbool success\nstring message\n",
    },
    "tf2_msgs": {"msg/TFMessage.msg": "geometry_msgs/TransformStamped[] transforms\n"},
}  # fmt: skip


def install_interfaces() -> Path:
    """Build what is not built yet, and let this process and its children import it. Returns the prefix.

    Raises RuntimeError with colcon's output where it cannot be built.
    """
    prefix = _built()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = str(prefix / "lib" / version / "site-packages")
    if packages not in sys.path:
        sys.path.insert(0, packages)
    for name, path in (("PYTHONPATH", packages), ("LD_LIBRARY_PATH", str(prefix / "lib"))):
        others = [part for part in os.environ.get(name, "").split(os.pathsep) if part and part != path]
        os.environ[name] = os.pathsep.join([path, *others])
    _load(prefix / "lib")
    return prefix


def _load(folder: Path) -> None:
    """Load the libraries: this process read LD_LIBRARY_PATH when it began, and finds by name only what is loaded."""
    importlib.import_module("rclpy")  # brings what they need
    waiting = sorted(folder.glob("lib*.so"))
    while waiting:
        failed = []
        for library in waiting:
            try:
                ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
            except OSError as error:  # it needs one that comes later
                failed.append((library, error))
        if len(failed) == len(waiting):
            raise RuntimeError(f"{failed[0][0].name} does not load: {failed[0][1]}")
        waiting = [library for library, _ in failed]


def can_build() -> bool:
    """Whether the generators, colcon and a compiler are there."""
    cmake = Path(sys.prefix) / "share" / "rosidl_default_generators"
    return cmake.is_dir() and all(shutil.which(tool) for tool in ("cmake", "c++"))


def _built() -> Path:
    digest = hashlib.sha256(repr((sys.version, STANDINS, _sources())).encode()).hexdigest()[:16]
    folder = CACHE / digest
    CACHE.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(CACHE / "lock"):
        if not (folder / "done").is_file():
            _build(folder)  # goes on where a build that was cut short has ended
            (folder / "done").touch()
    return folder / "install"


def _sources() -> list[tuple[str, str]]:
    return [
        (path.name, path.read_text(encoding="utf-8")) for path in sorted(OWN.rglob("*")) if path.is_file()
    ]


def _build(folder: Path) -> None:
    source = folder / "src"
    shutil.copytree(OWN, source / OWN.name, dirs_exist_ok=True)
    for name, files in STANDINS.items():
        _write_standin(source / name, name, files)
    environment = os.environ | {
        "CMAKE_PREFIX_PATH": sys.prefix,
        "AMENT_PREFIX_PATH": sys.prefix,
        "PATH": f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}",
    }
    command = [
        sys.executable, "-m", "colcon", "--log-base", str(folder / "log"), "build", "--merge-install",
        "--base-paths", str(source), "--build-base", str(folder / "build"),
        "--install-base", str(folder / "install"), "--cmake-args", "-DCMAKE_BUILD_TYPE=Debug",
        "-DCMAKE_CXX_FLAGS_DEBUG=-O0", f"-DCMAKE_INSTALL_RPATH={folder / 'install' / 'lib'}",
    ]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"colcon could not build the interfaces:\n{done.stdout}\n{done.stderr}")
    shutil.rmtree(folder / "build")


def _write_standin(folder: Path, name: str, files: dict[str, str]) -> None:
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        _write(file, text)
    for template in ("package.xml", "CMakeLists.txt"):
        text = (OWN / template).read_text(encoding="utf-8").replace(OWN.name, name)
        if template == "CMakeLists.txt":
            begin, end = text.index("  action/ReachGoal.action"), text.index("  DEPENDENCIES")
            text = text[:begin] + "".join(f"  {path}\n" for path in files) + text[end:]
        _write(folder / template, text)


def _write(file: Path, text: str) -> None:
    """What is there already keeps its time, so that nothing is compiled again."""
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")

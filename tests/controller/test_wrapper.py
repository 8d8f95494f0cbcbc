"""The ros2_control plugin around the filter, compiled and run on stand-ins, and the package's files."""

import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from robolearn.deploy.controller import controller_source

HERE = Path(__file__).parent
PACKAGE = controller_source()
STRICT = ("-std=c++17", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror")
CHECKS = (
    "a_flood_stops_it",
    "commands_efforts_within_their_limits",
    "follows_by_name_and_brakes_at_the_end",
    "holds_what_is_commanded_already",
    "refuses_numbers_that_cannot_be",
    "refuses_to_start_outside_the_limits",
    "says_what_it_does_not_take",
)


def compiled(out: Path, *arguments: str | Path) -> Path:
    command = ["g++", *STRICT, f"-I{PACKAGE / 'include'}", *map(str, arguments), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def wrapper(tmp_path_factory):
    out = tmp_path_factory.mktemp("wrapper") / "wrapper_checks"
    return compiled(
        out,
        f"-I{HERE / 'standins'}",
        PACKAGE / "src" / "stream_controller.cpp",
        HERE / "wrapper_checks.cpp",
    )


def test_every_check_is_run(wrapper):
    listed = subprocess.run([wrapper], capture_output=True, text=True, check=True).stdout.split()
    assert tuple(listed) == CHECKS


@pytest.mark.parametrize("name", CHECKS)
def test_the_wrapper(wrapper, name):
    done = subprocess.run([wrapper, name], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("header", sorted(path.name for path in PACKAGE.glob("include/*/*.hpp")))
def test_every_header_stands_alone(header, tmp_path):
    source = tmp_path / "alone.cpp"
    source.write_text(f'#include "robolearn_controller/{header}"\n')
    compiled(tmp_path / "alone.o", "-c", f"-I{HERE / 'standins'}", source)


def test_the_control_loop_neither_allocates_nor_throws(tmp_path):
    program = compiled(tmp_path / "checks", "-O2", "-fno-exceptions", HERE / "realtime_checks.cpp")
    done = subprocess.run([program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout
    assert "0 allocations" in done.stdout


def test_the_c_interface_compiles_without_warnings(tmp_path):
    compiled(tmp_path / "c_api.o", "-c", PACKAGE / "src" / "c_api.cpp")


def test_the_manifest_and_the_plugin_description_name_what_there_is():
    from catkin_pkg.package import parse_package

    package = parse_package(str(PACKAGE / "package.xml"))
    assert package.name == "robolearn_controller"
    assert package.get_build_type() == "ament_cmake"
    cmake = (PACKAGE / "CMakeLists.txt").read_text()
    for depend in package.build_depends:
        assert depend.name in cmake
    library = ET.parse(PACKAGE / "robolearn_controller_plugins.xml").getroot()
    entry = library.find("class")
    assert library.get("path") == package.name
    assert entry is not None
    name = entry.get("type", "")
    assert f"PLUGINLIB_EXPORT_CLASS({name}," in (PACKAGE / "src" / "stream_controller.cpp").read_text()
    assert entry.get("name") == name.replace("::", "/")

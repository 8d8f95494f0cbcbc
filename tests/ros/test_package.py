"""The package as ROS tools see it, and its tables of parameters."""

import ast
import importlib
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from robolearn_ros.parameters import table_markdown

from robolearn.safety.types import State, Verdict

PACKAGE = Path(__file__).parents[2] / "ros2_ws" / "src" / "robolearn_ros"
NODES = ("sim_node", "policy_node", "safety_node", "gripper_node", "restamp_node")


def test_the_manifest_is_valid_and_names_every_import():
    catkin = pytest.importorskip("catkin_pkg.package")
    package = catkin.parse_package(str(PACKAGE / "package.xml"))
    package.validate()
    assert package.name == "robolearn_ros"
    assert [e.content for e in package.exports if e.tagname == "build_type"] == ["ament_python"]
    declared = {d.name for d in package.exec_depends} | {
        "robolearn",
        "robolearn_ros",
        "numpy",
        "mujoco",
        "cryptography",
        "jax",
    }
    makers = {
        "franka_msgs",
        "schunk_gripper_interfaces",
    }  # of the drivers of grippers, where there is such a gripper
    for file in [*PACKAGE.glob("robolearn_ros/*.py"), *PACKAGE.glob("launch/*.py")]:
        assert _imports(file) - set(sys.stdlib_module_names) <= declared | makers, file.name


def test_the_resource_marker_and_folders_that_setup_names_are_there():
    assert (PACKAGE / "resource" / "robolearn_ros").is_file()
    assert "script_dir=$base/lib/robolearn_ros" in (PACKAGE / "setup.cfg").read_text()
    assert list((PACKAGE / "launch").iterdir())


@pytest.mark.parametrize("file", sorted(PACKAGE.glob("launch/*.launch.py")), ids=lambda file: file.name)
def test_launch_files_compile_and_keep_to_the_stable_subset(file):
    tree = ast.parse(file.read_text())
    assert compile(tree, str(file), "exec")
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
    assert names <= {
        "LaunchDescription", "DeclareLaunchArgument", "IncludeLaunchDescription", "PythonLaunchDescriptionSource",
        "LaunchConfiguration", "Node", "LifecycleNode", "OpaqueFunction", "Shutdown", "Path", "from_launch",
        "launch_arguments", "enclave_environment", "get_package_prefix",
    }  # fmt: skip
    assert "generate_launch_description" in {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}


def run(code):
    """Python in a process of its own, ended."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60.0)


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1"])
def test_a_signal_before_the_node_is_ready_ends_it_in_order_without_a_traceback(number):
    code = f"""
        import os, signal, sys
        from robolearn_ros.node import run_node
        class Made:
            def __init__(self):
                os.kill(os.getpid(), signal.{number})
            def rest(self, reason):
                return True
            def close(self):
                print("closed in order")
        sys.exit(run_node(Made))
    """
    done = run(code)
    expected = (1, "closed in order\n", f"Stopped before the node was ready: {number}.\n")
    assert (done.returncode, done.stdout, done.stderr) == expected


@pytest.mark.ros
def test_an_interrupt_between_ready_and_the_first_tick_is_not_lost():
    """Collecting garbage and locking memory take a tenth of a second there; the executor's thread has just begun."""
    code = """
        import os, signal, sys, time
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node
        from robolearn_ros.loop import Loop
        from robolearn_ros import node
        from robolearn_ros.node import STATS_PATH
        from robolearn_ros.parameters import declare
        class Ready:
            def __init__(self):
                self.loop, self._node = Loop(100.0), Node("ready")
                declare(self._node, [STATS_PATH])
            @property
            def node(self):  # asked for first once all is made
                os.kill(os.getpid(), signal.SIGINT)
                return self._node
            def tick(self, tick_ns):
                sys.exit("a tick after the interrupt")
            def rest(self, reason):
                return True
            def close(self):
                print("closed in order")
        class Slow(SingleThreadedExecutor):  # still looks for something to do when all ends
            def can_execute(self, entity):
                time.sleep(0.02)
                return super().can_execute(entity)
        node.SingleThreadedExecutor = Slow
        sys.exit(node.run_node(Ready))
    """
    done = run(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "closed in order\n", "")


@pytest.mark.parametrize("node", NODES)
def test_every_parameter_has_a_meaning_and_numbers_have_a_range(node):
    table = importlib.import_module(f"robolearn_ros.{node}").PARAMETERS
    assert len({parameter.name for parameter in table}) == len(table)
    for parameter in table:
        assert parameter.meaning
        if parameter.type in ("int", "double"):
            assert parameter.low <= parameter.default <= parameter.high
    text = table_markdown(table)
    assert all(f"| `{parameter.name}` |" in text for parameter in table)


@pytest.mark.ros
@pytest.mark.parametrize(("argument", "messages"), [
    ("rat_hz:=500.0", ["Unknown parameter 'rat_hz'. Available: ", "Did you mean 'rate_hz'?"]),
    ("rate_hz:=500", ["parameter 'rate_hz' must be a double. Write a decimal point, such as 500.0."]),
    ("rate_hz:=5.0", ["parameter 'rate_hz' must lie in 50 to 1000 Hz."]),
    ("mode:=automatik", ["Unknown mode 'automatik'.", "Did you mean 'automatic'?"]),
    ("robot:=fr4", ["Unknown robot 'fr4'.", "Did you mean 'fr3'?"]),
])  # fmt: skip
def test_wrong_parameters_refuse_to_start_with_one_line(argument, messages):
    command = [sys.executable, "-m", "robolearn_ros.safety_node", "--ros-args", "-p", argument]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    for message in messages:
        assert message in result.stderr


def _imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_colcon_builds_and_installs_what_the_launch_files_name(tmp_path):
    pytest.importorskip("colcon_core")
    bases = [f"--{name}-base={tmp_path / name}" for name in ("build", "install")]
    command = [sys.executable, "-m", "colcon", f"--log-base={tmp_path / 'log'}", "build", *bases]
    command += ["--base-paths", str(PACKAGE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    built = tmp_path / "install" / "robolearn_ros"
    for node in NODES:
        assert (built / "lib" / "robolearn_ros" / node).is_file()
    installed = {path.name for path in (built / "share" / "robolearn_ros" / "launch").iterdir()}
    assert installed == {path.name for path in PACKAGE.glob("launch/*.launch.py")}


def test_the_constants_of_a_decision_are_the_monitors_own_words():
    text = (PACKAGE.parent / "robolearn_interfaces" / "msg" / "Decision.msg").read_text()
    lines = [line.split()[1] for line in text.splitlines() if "=" in line.partition("#")[0]]
    found = dict(line.split("=") for line in lines)
    expected = {f"STATE_{s.name}": s.value for s in State} | {f"VERDICT_{v.name}": v.value for v in Verdict}
    assert found == expected

"""As much of `launch` and `launch_ros` as the launch files here use, which the package index does not have.

    python launch_standin.py FILE.launch.py name:=value ...        start the nodes, until SIGINT
    python launch_standin.py --list FILE.launch.py name:=value ... write what would be started as JSON

It does with arguments, includes and parameters what the real ones do: undeclared arguments of an include are refused,
parameters go through a YAML file for each node, an empty list is refused, every value must be of a plain type.
"""

import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

import yaml


class LaunchDescription:
    def __init__(self, entities):
        self.entities = entities

    def run(self, context):
        return [node for entity in self.entities for node in entity.run(context)]

    def declared(self):
        return {entity.name for entity in self.entities if isinstance(entity, DeclareLaunchArgument)}


class Context(dict):
    """Arguments by name; argv: as they were given."""

    def __init__(self, words):
        super().__init__(word.split(":=", 1) for word in words)
        self.argv = list(words)


class Shutdown:
    def __init__(self, *, reason):
        assert isinstance(reason, str)
        self.reason = reason


class DeclareLaunchArgument:
    def __init__(self, name, *, default_value=None, description=""):
        assert isinstance(description, str)
        self.name, self.default = name, default_value

    def run(self, context):
        if self.name not in context:
            assert self.default is not None, f"Required launch argument '{self.name}' was not provided"
            context[self.name] = self.default
        return []


class LaunchConfiguration:
    def __init__(self, name):
        self.name = name

    def perform(self, context):
        return context[self.name]


class PythonLaunchDescriptionSource:
    def __init__(self, path):
        self.path = path

    def load(self):
        return runpy.run_path(self.path)["generate_launch_description"]()


class IncludeLaunchDescription:
    def __init__(self, source, *, launch_arguments):
        self.source, self.arguments = source, list(launch_arguments)

    def run(self, context):
        included = self.source.load()
        for name, value in self.arguments:
            assert name in included.declared(), f"{self.source.path} has no argument '{name}'"
            context[name] = value if isinstance(value, str) else value.perform(context)
        return included.run(context)


class OpaqueFunction:
    def __init__(self, *, function):
        self.function = function

    def run(self, context):
        return self.function(context)


class Node:
    def __init__(
        self, *, executable, name, namespace, output, additional_env, parameters, on_exit, sigterm_timeout,
        sigkill_timeout, package=None, arguments=(),
    ):  # fmt: skip
        assert output == "screen"
        if package is None:  # robolearn from pip, without a workspace
            assert executable == sys.executable
            assert arguments == ["-m", f"robolearn_ros.{name}"]
            executable = name
        else:
            assert (package, arguments) == ("robolearn_ros", ())
        assert isinstance(namespace, str)
        assert isinstance(on_exit, Shutdown)
        self.sigterm_s, self.sigkill_s = float(sigterm_timeout), float(sigkill_timeout)
        self.namespace = namespace
        self.name, self.executable, self.environment = name, executable, additional_env
        self.parameters = {key: value for given in parameters for key, value in given.items()}
        for key, value in self.parameters.items():
            parts = value if isinstance(value, list) else [value]
            assert parts, f"{key}: an empty list"
            assert all(type(part) in (bool, int, float, str) for part in parts), f"{key}: {value!r}"

    def start(self, folder):
        file = folder / f"{self.name}.yaml"
        file.write_text(yaml.safe_dump({"/**": {"ros__parameters": self.parameters}}))
        arguments = [
            "--ros-args",
            "-r",
            f"__node:={self.name}",
            "-r",
            f"__ns:={self.namespace or '/'}",
            "--params-file",
            str(file),
        ]
        command = [sys.executable, "-m", f"robolearn_ros.{self.executable}", *arguments]
        return subprocess.Popen(command, env=os.environ | self.environment)


class LifecycleNode(Node):
    pass


MODULES = {
    "launch": [LaunchDescription],
    "launch.actions": [DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction, Shutdown],
    "launch.launch_description_sources": [PythonLaunchDescriptionSource],
    "launch.substitutions": [LaunchConfiguration],
    "launch_ros": [],
    "launch_ros.actions": [LifecycleNode, Node],
}


def main(words):
    listed = words[0] == "--list"
    file, *given = words[1:] if listed else words
    for name, contents in MODULES.items():
        sys.modules[name] = ModuleType(name)
        for content in contents:
            setattr(sys.modules[name], content.__name__, content)
    context = Context(given)
    try:
        nodes = PythonLaunchDescriptionSource(file).load().run(context)
    except Exception as error:  # as `ros2 launch` does
        sys.stderr.write(f"[ERROR] [launch]: Caught exception in launch (see debug for traceback): {error}\n")
        return 1
    if listed:
        json.dump({node.name: [node.parameters, node.environment] for node in nodes}, sys.stdout)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return run(nodes, Path(folder))


def run(nodes, folder):
    """Start the nodes, and end them as `ros2 launch` 3.4 does."""
    interrupted = []
    signal.signal(signal.SIGINT, lambda *_: interrupted.append(True))
    for number in (signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, lambda *_: os._exit(1))  # "can result in orphaned processes"
    processes = [node.start(folder) for node in nodes]
    while not interrupted and all(process.poll() is None for process in processes):
        time.sleep(0.05)
    # After Ctrl-C it trusts that the terminal has sent it to all; where a node has ended, it sends it to the others.
    send(processes, 0 if interrupted else signal.SIGINT)
    wait(processes, nodes[0].sigterm_s)
    send(processes, signal.SIGTERM)
    wait(processes, nodes[0].sigkill_s)
    send(processes, signal.SIGKILL)
    return max(abs(process.wait()) for process in processes)


def send(processes, number):
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def wait(processes, timeout_s):
    deadline = time.monotonic() + timeout_s
    while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

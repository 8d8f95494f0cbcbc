"""Policy and safety node for an arm whose driver is running, as its deployment file has it.

ros2 launch robolearn_ros policy.launch.py deploy:=my_cell.yaml bundle:=policy.robolearn

Without `deploy` the packaged file of `robot` is used. Every key of a deployment file is an argument too, such as
mode:=manual_reduced; `ros2 launch --show-args robolearn_ros policy.launch.py` lists them. With sim:=true a simulated
arm starts as well. The safety log goes below runs/launch, unless log_dir names another folder.

Without a workspace, robolearn from pip alone: the file is in the folder robolearn_ros/launch of the installed packages;
give `ros2 launch` its path.

Where one node ends, the launch ends: the safety node brakes the arm to rest before it goes.
"""

import sys
from pathlib import Path

from ament_index_python.packages import get_package_prefix
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from robolearn.deploy.deployment import from_launch, launch_arguments
from robolearn.deploy.security import enclave_environment


def started_as(name):
    """How a node is started: by its package where colcon built it, else as a module of this Python, from pip."""
    try:
        get_package_prefix("robolearn_ros")
    except (LookupError, OSError):  # not built, or no workspace is sourced
        return {"executable": sys.executable, "arguments": ["-m", f"robolearn_ros.{name}"]}
    return {"package": "robolearn_ros", "executable": name}


def nodes(context):
    """The nodes with the parameters that `robolearn serve` would give them."""
    given = {name: LaunchConfiguration(name).perform(context) for name in launch_arguments()}
    # A launch file that includes this one has arguments of its own on the command line.
    here = Path(__file__).resolve().parent
    alone = any(word == "robolearn_ros" or Path(word).resolve().parent == here for word in sys.argv)
    parameters, environment, namespace = from_launch(given, context.argv if alone else ())
    kinds = {"policy_node": LifecycleNode}
    return [
        kinds.get(name, Node)(
            **started_as(name),
            name=name,
            namespace=namespace,
            output="screen",
            additional_env={**environment, **enclave_environment(name, environment)},
            parameters=[values],
            on_exit=Shutdown(reason=f"{name} has ended"),
            sigterm_timeout="3",  # of a node that was sent no SIGINT with the launch
            sigkill_timeout="25",  # braking takes up to 5 s, the end of a log on a slow disk up to 15 s
        )
        for name, values in parameters.items()
    ]


def generate_launch_description():
    """Declare the arguments; the nodes start once their values are known."""
    arguments = [
        DeclareLaunchArgument(name, default_value="", description=text)
        for name, text in launch_arguments().items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=nodes)])

"""Policy and safety node for an arm whose driver is running, as its deployment file has it.

ros2 launch robolearn_ros policy.launch.py deploy:=my_cell.yaml bundle:=policy.robolearn log_dir:=new-folder

Without `deploy` the packaged file of `robot` is used. Every key of a deployment file is an argument too, such as
mode:=manual_reduced; `ros2 launch --show-args robolearn_ros policy.launch.py` lists them. With sim:=true a simulated
arm starts as well.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from robolearn.deploy.deployment import from_launch, launch_arguments
from robolearn.deploy.security import enclave_environment


def nodes(context):
    """The nodes with the parameters that `robolearn serve` would give them."""
    given = {name: LaunchConfiguration(name).perform(context) for name in launch_arguments()}
    parameters, environment = from_launch(given)
    kinds = {"policy_node": LifecycleNode}
    return [
        kinds.get(name, Node)(
            package="robolearn_ros",
            executable=name,
            name=name,
            namespace="",
            output="screen",
            additional_env={**environment, **enclave_environment(name, environment)},
            parameters=[values],
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

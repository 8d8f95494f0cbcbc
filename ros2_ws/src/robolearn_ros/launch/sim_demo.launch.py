"""A simulated arm, a policy and the safety node.

ros2 launch robolearn_ros sim_demo.launch.py robot:=fr3 bundle:=/path/fr3-reach.robolearn
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

ARGUMENTS = (
    ("robot", "fr3", "robot name or robot YAML"),
    ("bundle", "", "the .robolearn file"),
    ("rate_hz", "500.0", "rate of the simulated arm and of commands to it"),
    ("log_dir", "", "new or empty folder of the safety log"),
)


def generate_launch_description():
    """Declare the arguments, start the arm, include policy.launch.py."""
    sim = Node(
        package="robolearn_ros",
        executable="sim_node",
        name="sim_node",
        output="screen",
        parameters=[
            {
                "robot": ParameterValue(LaunchConfiguration("robot"), value_type=str),
                "rate_hz": ParameterValue(LaunchConfiguration("rate_hz"), value_type=float),
            }
        ],
    )
    beside = str(Path(__file__).parent / "policy.launch.py")
    policy = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(beside),
        launch_arguments=[(name, LaunchConfiguration(name)) for name, _, _ in ARGUMENTS],
    )
    arguments = [DeclareLaunchArgument(n, default_value=d, description=t) for n, d, t in ARGUMENTS]
    return LaunchDescription([*arguments, sim, policy])

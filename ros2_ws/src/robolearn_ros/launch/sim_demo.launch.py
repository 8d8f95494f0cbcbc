"""A simulated arm, a policy and the safety node. The policy needs no approval: nothing real moves.

ros2 launch robolearn_ros sim_demo.launch.py robot:=fr3 bundle:=/path/fr3-reach.robolearn

Every argument of policy.launch.py can be given here too; with deploy:=/path/my_cell.yaml the simulated arm speaks as
the arm of that cell is said to.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from robolearn.deploy.deployment import launch_arguments


def generate_launch_description():
    """Include policy.launch.py with the simulated arm."""
    arguments = {name: text for name, text in launch_arguments().items() if name != "sim"}
    declared = [
        DeclareLaunchArgument(name, default_value="", description=arguments[name]) for name in arguments
    ]
    passed = [("sim", "true"), *((name, LaunchConfiguration(name)) for name in arguments)]
    beside = str(Path(__file__).parent / "policy.launch.py")
    policy = IncludeLaunchDescription(PythonLaunchDescriptionSource(beside), launch_arguments=passed)
    return LaunchDescription([*declared, policy])

"""Policy and safety node for the arm 'fr3', as its deployment file has it.

ros2 launch robolearn_ros fr3.launch.py deploy:=my_fr3.yaml bundle:=policy.robolearn

Without `deploy` the packaged file of this arm is used. Every argument of policy.launch.py can be given here too.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from robolearn.deploy.deployment import launch_arguments


def generate_launch_description():
    """Include policy.launch.py for this arm; a deployment file of another arm is refused."""
    arguments = {name: text for name, text in launch_arguments().items() if name != "robot"}
    declared = [
        DeclareLaunchArgument(name, default_value="", description=arguments[name]) for name in arguments
    ]
    passed = [("robot", "fr3"), *((name, LaunchConfiguration(name)) for name in arguments)]
    beside = str(Path(__file__).parent / "policy.launch.py")
    policy = IncludeLaunchDescription(PythonLaunchDescriptionSource(beside), launch_arguments=passed)
    return LaunchDescription([*declared, policy])

"""Policy and safety node for the arm 'iiwa14': policy.launch.py with its topics.

ros2 launch robolearn_ros iiwa14.launch.py bundle:=/path/policy.robolearn log_dir:=/path/new-folder
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

NAMES = ("bundle", "profile", "mode", "rate_hz", "log_dir", "state_topic", "command_topic")
DEFAULTS = {"mode": "automatic", "rate_hz": "500.0"}


def generate_launch_description():
    """Include policy.launch.py for this arm; its topics and rates come from the robot file."""
    beside = str(Path(__file__).parent / "policy.launch.py")
    arguments = [DeclareLaunchArgument(name, default_value=DEFAULTS.get(name, "")) for name in NAMES]
    passed = [("robot", "iiwa14"), *((name, LaunchConfiguration(name)) for name in NAMES)]
    policy = IncludeLaunchDescription(PythonLaunchDescriptionSource(beside), launch_arguments=passed)
    return LaunchDescription([*arguments, policy])

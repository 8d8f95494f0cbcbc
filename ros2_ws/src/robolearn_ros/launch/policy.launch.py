"""Policy and safety node for an arm whose driver is running.

ros2 launch robolearn_ros policy.launch.py robot:=fr3 bundle:=/path/fr3-reach.robolearn log_dir:=/path/new-folder
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

ARGUMENTS = (
    ("robot", "fr3", "robot name or robot YAML"),
    ("bundle", "", "the .robolearn file"),
    ("profile", "", "safety profile; empty for the robot's own"),
    ("mode", "automatic", "mode of the safety profile"),
    ("rate_hz", "500.0", "rate of commands to the arm"),
    ("log_dir", "", "new or empty folder of the safety log"),
    ("state_topic", "", "joint states; empty for the robot file's"),
    ("command_topic", "", "position controller; empty for the robot file's"),
)


def generate_launch_description():
    """Declare the arguments and start both nodes."""

    def text(name):
        return ParameterValue(LaunchConfiguration(name), value_type=str)

    rate = ParameterValue(LaunchConfiguration("rate_hz"), value_type=float)
    safety = Node(
        package="robolearn_ros",
        executable="safety_node",
        name="safety_node",
        output="screen",
        parameters=[
            {
                **{
                    name: text(name)
                    for name in ("robot", "profile", "mode", "log_dir", "state_topic", "command_topic")
                },
                "rate_hz": rate,
            }
        ],
    )
    policy = LifecycleNode(
        package="robolearn_ros",
        executable="policy_node",
        name="policy_node",
        namespace="",
        output="screen",
        parameters=[
            {**{name: text(name) for name in ("robot", "bundle", "state_topic")}, "command_rate_hz": rate},
        ],
    )
    arguments = [DeclareLaunchArgument(n, default_value=d, description=t) for n, d, t in ARGUMENTS]
    return LaunchDescription([*arguments, safety, policy])

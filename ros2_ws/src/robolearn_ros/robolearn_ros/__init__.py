"""The ROS 2 face of robolearn: nodes that convert, call the library, convert and publish."""

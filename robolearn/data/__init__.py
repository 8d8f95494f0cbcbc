"""Recorded joint motion, read from safety logs, rosbag2 files and LeRobot datasets into one contract."""

"""Recorded joint motion, read from safety logs and rosbag2 files into one contract."""

"""Manipulation tasks, one file each; found by the entry point group `robolearn.tasks`."""

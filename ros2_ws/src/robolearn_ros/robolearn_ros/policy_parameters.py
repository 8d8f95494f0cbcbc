"""The policy node's parameters."""

from __future__ import annotations

from dataclasses import replace

from robolearn_ros.node import PHASE, RT_PRIORITY, STATS_PATH
from robolearn_ros.parameters import Parameter

PARAMETERS = (
    Parameter("bundle", "", "path of the .robolearn file"),
    Parameter("robot", "", "robot name or YAML; empty for the bundle's; any other than the bundle's is refused"),
    Parameter("joint_prefix", "", "what the arm's driver puts before each joint name"),
    Parameter("command_rate_hz", 500.0, "rate of commands, a whole multiple of the policy's", "Hz", 50, 1000),
    Parameter("state_topic", "", "joint states; empty for the fastest that the robot file names"),
    Parameter("state_rate_hz", 0.0, "rate at which joint states come; 0 for the robot file's; slower is refused",
              "Hz", 0, 10000),
    Parameter("base_frame", "base", "frame in which goals are given"),
    Parameter("slot_topics", [], "topics that differ from the default, such as pose.cube=/tracker/cube"),
    Parameter("trusted_keys", [], "key ids or public keys that may sign; empty accepts any intact signature"),
    Parameter("require_approval", True, "serve only a bundle that one of approver_keys has approved"),
    Parameter("approver_keys", [], "key ids or public keys of those who may approve"),
    Parameter("approvals_needed", 1, "different people who must have approved it", "", 1, 2),
    Parameter("observation_age_max_s", 0.05, "older joint states hold the policy", "s", 0.001, 1.0),
    Parameter("staged_bundle", "", "bundle for the service ~/stage; may be changed while running", read_only=False),
    Parameter("swap_in_motion", False, "swap a staged policy at once, in motion, without a start; the log names it"),
    Parameter("autostart", True, "configure and activate without being asked, as soon as the arm is there"),
    replace(PHASE, default=0.35),
    RT_PRIORITY,
    STATS_PATH,
)  # fmt: skip

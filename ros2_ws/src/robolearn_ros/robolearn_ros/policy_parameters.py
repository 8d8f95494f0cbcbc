"""The policy node's parameters."""

from __future__ import annotations

from dataclasses import replace

from robolearn_ros.node import PHASE, RT_PRIORITY, STATS_PATH
from robolearn_ros.parameters import Parameter

PARAMETERS = (
    Parameter("bundle", "", "path of the .robolearn file"),
    Parameter("robot", "", "robot name or YAML; empty for the bundle's; must be the bundle's robot"),
    Parameter("joint_prefix", "", "prefix of the driver's joint names"),
    Parameter("command_rate_hz", 500.0, "command rate, an integer multiple of the policy's", "Hz", 50, 1000),
    Parameter("state_topic", "", "joint state topic; empty for the fastest one in the robot file"),
    Parameter("state_rate_hz", 0.0, "rate of the joint states; 0 for the robot file's; a slower one is refused",
              "Hz", 0, 10000),
    Parameter("base_frame", "base", "frame in which goals are given"),
    Parameter("slot_topics", [], "topics that differ from the default, such as pose.cube=/tracker/cube"),
    Parameter("wrench_topic", "", "force-torque sensor, for a policy that reads it; empty for the robot file's"),
    Parameter("wrench_frames", [], "where the sensor's frame is, such as tool0=flange, or sensor=tcp reversed"),
    Parameter("trusted_keys", [], "key ids or public keys that may sign; empty accepts any intact signature"),
    Parameter("require_approval", True, "serve only bundles approved with one of approver_keys"),
    Parameter("approver_keys", [], "key ids or public keys of the approvers"),
    Parameter("approvals_needed", 1, "number of people who must approve it", "", 1, 2),
    Parameter("observation_age_max_s", 0.05, "older joint states or wrenches hold the policy", "s", 0.001, 1.0),
    Parameter("staged_bundle", "", "bundle for the service ~/stage; may be changed while running", read_only=False),
    Parameter("swap_in_motion", False, "swap a staged policy immediately, in motion, without a start; logged"),
    Parameter("autostart", True, "configure and activate automatically when the arm is available"),
    replace(PHASE, default=0.35),
    RT_PRIORITY,
    STATS_PATH,
)  # fmt: skip

"""The message `robolearn_msgs/msg/Cycle`: which columns a recorded cycle has, in order, and its ROS 2 definition."""

from __future__ import annotations

SCALARS = (
    "now_s",
    "command_stamp_s",
    "measured_stamp_s",
    "person_distance_m",
    "person_stamp_s",
    "stopping_time_s",
    "enabling_stamp_s",
    "wrench_stamp_s",
)
ARRAYS = (
    "command_position_rad",
    "command_velocity_rad_s",
    "measured_position_rad",
    "measured_velocity_rad_s",
    "sent_position_rad",
    "sent_velocity_rad_s",
    "measured_effort_nm",
    "wrench_force_n",
    "wrench_torque_nm",
)
STAMPS = tuple(name for name in SCALARS if name == "now_s" or name.endswith("_stamp_s"))
BYTES = ("verdict", "state", "present", "stop_requested", "enabling_device", "latched", "odd", "also_present")
TAIL_BYTES = len(BYTES)

SCHEMA = """\
# One cycle of the robolearn safety monitor. NaN: not received.
uint8 PASS=0
uint8 LIMIT=1
uint8 STOP=2
uint8 HOLDING=0
uint8 RUNNING=1
uint8 STOPPING=2
uint8 STOPPED=3
uint64 cycle
uint64 monotonic_ns
float64 now_s
float64 command_stamp_s
float64 measured_stamp_s
float64 person_distance_m
float64 person_stamp_s
float64 stopping_time_s
float64 enabling_stamp_s
float64 wrench_stamp_s
{arrays}
uint8 verdict
uint8 state
# bits: 1 command, 2 its velocity, 4 measurement, 8 person distance, 16 its stamp, 32 published, 64 enabling stamp
uint8 present
uint8 stop_requested
# 0 none, 1 released, 2 held
uint8 enabling_device
uint8 latched
# 1: an input had other joint names or another shape; odd_json has it
uint8 odd
# bits: 1 efforts, 2 wrench; the monitor does not judge them
uint8 also_present
string command_source
RuleRecord[] records
string odd_json
# which of the cycle's commands the decision is about, in order of arrival; -1 none. The columns hold that one, or the
# last one; other_commands the rest.
int32 command_index
OtherCommand[] other_commands
================================================================================
MSG: robolearn_msgs/OtherCommand
float64 stamp_s
string source
# empty where odd_json has the command
float64[] position_rad
# empty where the command has none
float64[] velocity_rad_s
================================================================================
MSG: robolearn_msgs/RuleRecord
float64 value
float64 limit
float64 margin
string rule
string unit
string source
string text
string where
"""

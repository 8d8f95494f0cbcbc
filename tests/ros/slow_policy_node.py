"""`slow_policy_node.py FILE --ros-args ...`: the policy node, whose policy takes 120 ms while the file is there."""

import sys
import time
from pathlib import Path

from robolearn_ros import policy_node

from robolearn.policy.runtime import PolicyRuntime

SLOW = Path(sys.argv.pop(1))
STEP = PolicyRuntime.step


def step(self, readings):
    if SLOW.exists():
        time.sleep(0.12)
    return STEP(self, readings)


if __name__ == "__main__":
    PolicyRuntime.step = step
    sys.exit(policy_node.main())

"""SROS 2 enforced for the nodes of a deployment: environment, enclaves, and a look at whether it can be.

Asked for by `security_keystore` in the deployment file, or by ROS 2's own variables in the environment. It is never
dropped in silence: where the middleware was built without DDS Security, nothing starts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from robolearn.deploy.discovery import FAST_DDS, RMW
from robolearn.deploy.keystore import check_keystore
from robolearn.errors import ConfigError

ENABLE, STRATEGY, KEYSTORE = "ROS_SECURITY_ENABLE", "ROS_SECURITY_STRATEGY", "ROS_SECURITY_KEYSTORE"
ENCLAVE = "ROS_SECURITY_ENCLAVE_OVERRIDE"
_SAME_ENCLAVE = {"motion_node": "policy_node"}  # has its name and topics, and takes its place
DOMAIN_MAX = 232  # the UDP ports of a higher one would lie beyond 65535 (DDSI-RTPS 9.6.1.1)
PROBE_TIMEOUT_S = 60.0  # the first import of rclpy on a slow disk
_PROBE = """
import sys, rclpy
from rclpy.parameter import Parameter
rclpy.init()
off = [Parameter("start_type_description_service", Parameter.Type.BOOL, False)]
try:
    rclpy.create_node("probe", start_parameter_services=False, enable_rosout=False, parameter_overrides=off)
except Exception as error:
    sys.exit(" ".join(str(error).split()))
print("joined")
"""


def security_environment(keystore: str | Path) -> dict[str, str]:
    """Environment variables that enforce SROS 2 with a keystore; none for an empty name."""
    if not str(keystore):
        return {}
    return {ENABLE: "true", STRATEGY: "Enforce", KEYSTORE: str(Path(keystore).expanduser().absolute())}


def enclave_environment(name: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The variable that puts a node into its enclave; none where SROS 2 is not enabled in environment."""
    return {ENCLAVE: f"/robolearn/{_SAME_ENCLAVE.get(name, name)}"} if enabled(environment) else {}


def enabled(environment: Mapping[str, str]) -> bool:
    """Whether SROS 2 is asked for, in environment or in this process's own."""
    return environment.get(ENABLE, os.environ.get(ENABLE, "")) == "true"


def own_domain() -> int:
    """ROS_DOMAIN_ID of this environment, 0 where it is not set. Raises ConfigError for an invalid domain."""
    text = os.environ.get("ROS_DOMAIN_ID") or "0"
    expected = (
        f"expected a whole number from 0 to {DOMAIN_MAX}. Set it to that of the cell, or unset it: that is 0"
    )
    try:
        domain = int(text)
    except ValueError:
        raise ConfigError(f"ROS_DOMAIN_ID is '{text}', {expected}.") from None
    if not 0 <= domain <= DOMAIN_MAX:
        raise ConfigError(f"ROS_DOMAIN_ID is {domain}, {expected}.")
    return domain


def require_middleware() -> None:
    """Raises ConfigError where this environment's domain or middleware is one that no node could start with.

    Only a middleware other than robolearn's own default is tried, by a node in a process of its own.
    """
    own_domain()
    chosen = os.environ.get(RMW) or FAST_DDS
    if chosen == FAST_DDS:
        return
    plain = {name: value for name, value in os.environ.items() if name != ENABLE}
    if problem := middleware_problem(plain):
        raise ConfigError(
            f"{RMW} is '{chosen}', and no node starts with it: {problem}. Install it, or unset {RMW}: robolearn is "
            f"tested with {FAST_DDS}. All nodes of a cell need the same one."
        )


def require_security(environment: Mapping[str, str], nodes: Iterable[str]) -> None:
    """Raises ConfigError where SROS 2 is asked for and these nodes could not be protected by it."""
    if not enabled(environment):
        return
    whole = {**os.environ, **environment}
    if whole.get(STRATEGY) != "Enforce":
        raise ConfigError(
            f"{ENABLE} is true, but {STRATEGY} is {whole.get(STRATEGY, '')!r}: a node without keys would start "
            "without security. Set it to Enforce, or `security_keystore` in the deployment file, which does."
        )
    names = [_SAME_ENCLAVE.get(name, name) for name in nodes]
    problems = check_keystore(whole.get(KEYSTORE, ""), names)
    problem = "; ".join(problems) or middleware_problem(
        {**whole, **enclave_environment(names[0], environment)}
    )
    if problem:
        raise ConfigError(f"SROS 2 is required but cannot be enforced: {problem}. Nothing was started.")


def middleware_problem(environment: Mapping[str, str]) -> str:
    """Why a node cannot join with the security of this environment; empty where it can. Starts a process."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, text=True, env=dict(environment),
            timeout=PROBE_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"a node did not start within {PROBE_TIMEOUT_S:g} s"
    if done.returncode == 0:
        return ""
    said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    if "doesn't have the security libraries" in said:
        return (
            "the installed ROS 2 middleware was built without DDS Security, as the wheels from the Python index are; "
            "use ROS 2 from apt"
        )
    return f"the middleware refuses: {said}"

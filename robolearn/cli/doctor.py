"""`robolearn doctor`: what this machine can do for robolearn, and what to do about what it cannot.

Each check answers one `Finding`. Only `missing` makes the machine unfit; what is `optional` is needed for some work
only, and the finding says for which.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from robolearn.deploy.deployment import Deployment, load_deployment, node_environment, require_operators
from robolearn.deploy.discovery import describe, discovery_environment, not_followed
from robolearn.deploy.keystore import SOON, Rights, create_keystore, expires
from robolearn.deploy.security import (
    KEYSTORE,
    enabled,
    enclave_environment,
    middleware_problem,
    own_domain,
    require_middleware,
    require_security,
    security_environment,
)
from robolearn.deploy.serving import ros_environment
from robolearn.errors import RobolearnError
from robolearn.fleet.engine import FLOWER
from robolearn.keys import key_directory, load_key
from robolearn.robots import load_robot

State = Literal["ok", "missing", "optional"]
DISK_FREE_MIN_GB = 5.0  # one training with video and an hour of safety log at 500 Hz
RT_PRIORITY = 40  # what the nodes ask for
ENFORCED_NODES = ("safety_node", "policy_node")
PROBE_TIMEOUT_S = 120.0  # the first import of jax on a slow disk
SHARE_MAX = 10.0  # of that, on a busy machine
_NO_ANSWER, _LOOK_AGAIN = "no answer", "the machine is busy: retry when it is idle"


@dataclass(frozen=True)
class Finding:
    """One line. state: `ok`, `missing` (and required), `optional` (missing, and needed for some work only)."""

    what: str
    state: State
    found: str
    todo: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """Every finding, in order."""

    findings: tuple[Finding, ...]

    @property
    def fit(self) -> bool:
        """Whether nothing required is missing."""
        return all(finding.state != "missing" for finding in self.findings)

    @property
    def summary(self) -> str:
        """One line: what is missing, or that nothing required is."""
        missing = [finding.what for finding in self.findings if finding.state == "missing"]
        return f"Missing: {', '.join(missing)}." if missing else "Everything required is present."

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"fit": self.fit, "findings": [asdict(finding) for finding in self.findings]}

    def __rich__(self) -> Table:
        style = {"ok": "green", "missing": "red", "optional": "yellow"}
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in ("what", "state", "found", "what to do"):
            table.add_column(column, overflow="fold")
        for finding in self.findings:
            cells = (finding.what, finding.found, finding.todo)  # as they are: brackets are no markup here
            what, found, todo = (Text(cell) for cell in cells)
            table.add_row(what, Text(finding.state, style[finding.state]), found, todo)
        return table


def diagnose(folder: str | Path = ".", deploy: str = "") -> Diagnosis:
    """Look at this machine. folder: where runs and logs would go.  deploy: also look at what a deployment asks for.

    Raises ConfigError where there is no such deployment.
    """
    deployment = load_deployment(deploy) if deploy else None
    found = [check() for check in CHECKS]
    found += [ros_security(deployment), ros_discovery(deployment)]
    found += [operators(deployment)] if deployment is not None else []
    return Diagnosis((*found, disk(Path(folder))))


def python_version() -> Finding:
    """Python 3.11 to 3.13."""
    found = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("Python", "ok", found)
    return Finding("Python", "missing", found, "use Python 3.11 to 3.13")


def physics() -> Finding:
    """MuJoCo builds an arm and steps it."""
    try:
        import mujoco

        model = load_robot("fr3").spec().compile()
        data = mujoco.MjData(model)
        mujoco.mj_step(model, data)
    except (ImportError, ValueError, RobolearnError) as error:
        return Finding("MuJoCo", "missing", _first_line(error), "reinstall robolearn")
    return Finding("MuJoCo", "ok", f"{mujoco.__version__}, simulated one step of an FR3")


def training() -> Finding:
    """The training stack and its engine, a tiny step included."""
    missing = [name for name in ("jax", "flax", "optax", "orbax", "jax2onnx") if not _has(name)]
    if missing:
        todo = "only for training: pip install 'robolearn[train]'"
        return Finding("Training", "optional", f"no {', '.join(missing)}", todo)
    code = (
        "import jax, jax.numpy as jnp, robolearn\n"
        "env = robolearn.make('fr3/reach', num_envs=2, engine='native')\n"
        "state = env.reset(jax.random.key(0))\n"
        "state = env.step(state, jnp.zeros((2, env.action_size)))\n"
        "print('jax', jax.__version__ + ', engine native, a step of fr3/reach')"
    )
    worked, text = _probe(code)
    if worked or text.startswith(_NO_ANSWER):  # too slow is not missing
        return Finding("Training", "ok" if worked else "optional", text, "" if worked else _LOOK_AGAIN)
    return Finding("Training", "missing", text, "run `make test` for details")


def federation() -> Finding:
    """Flower, of the version whose processes robolearn starts and wraps."""
    what = "Federated training"
    if not _has("flwr"):
        todo = (
            "only for `robolearn federate`: in an environment of its own, since Flower wants older protobuf, typer and "
            "rich: python3 -m venv federated; federated/bin/pip install 'robolearn[train,fleet]'"
        )
        return Finding(what, "optional", "no Flower", todo)
    found = version("flwr")
    if found != FLOWER:
        return Finding(what, "missing", f"Flower {found}", f"pip install 'robolearn[fleet]' (flwr=={FLOWER})")
    return Finding(what, "ok", f"Flower {found}")


def graphics_card() -> Finding:
    """A GPU that JAX can use."""
    if not _has("jax"):
        return Finding(
            "GPU", "optional", "no jax", "only for training on a GPU: pip install 'robolearn[gpu]'"
        )
    worked, text = _probe("import jax; d = jax.devices(); print(d[0].platform, len(d), d[0].device_kind)")
    if not worked:
        slow = text.startswith(_NO_ANSWER)
        todo = _LOOK_AGAIN if slow else "to train on the CPU, set JAX_PLATFORMS=cpu"
        return Finding("GPU", "optional", text, todo)
    if text.startswith("cpu"):
        todo = "none needed; with an NVIDIA GPU: pip install 'robolearn[gpu]'"
        return Finding("GPU", "optional", "none, training runs on the CPU", todo)
    warp = "" if _has("warp") else "for the engine warp: pip install 'robolearn[gpu]'"
    return Finding("GPU", "ok", text, warp)


def ros() -> Finding:
    """ROS 2 and our nodes can be imported."""
    if not _has("rclpy"):
        todo = "only for arms: pip install 'robolearn[ros]', or source /opt/ros/jazzy/setup.bash"
        return Finding("ROS 2", "optional", "no rclpy", todo)
    if not _has("robolearn_ros"):
        return Finding(
            "ROS 2", "optional", "rclpy, but no robolearn_ros", "build ros2_ws and source its setup.bash"
        )
    try:
        require_middleware()
    except RobolearnError as error:
        return Finding("ROS 2", "missing", _first_line(error), "correct the environment, then look again")
    worked, text = _probe("import os, rclpy, robolearn_ros.messages; print(os.path.dirname(rclpy.__file__))")
    todo = "" if worked else "source the setup.bash of ROS 2 in this terminal, then retry"
    todo = _LOOK_AGAIN if text.startswith(_NO_ANSWER) else todo
    return Finding("ROS 2", "ok" if worked else "optional", text, todo)


def ros_security(deployment: Deployment | None) -> Finding:
    """SROS 2: a keystore that is asked for is in order and a node joins with it; else whether it could be used."""
    what = "ROS 2 security"
    if not _has("rclpy"):
        return Finding(what, "optional", "no rclpy", "only for arms")
    asked = security_environment(deployment.security_keystore if deployment is not None else "")
    if not enabled(asked):
        return _security_on_offer(what)
    try:
        require_security(ros_environment(None, asked), ENFORCED_NODES)
    except RobolearnError as error:
        return Finding(what, "missing", _first_line(error), "robolearn security check KEYSTORE")
    keystore = Path(asked.get(KEYSTORE) or os.environ[KEYSTORE])
    until = min(expires(keystore, name) for name in ENFORCED_NODES)
    found = f"enforced; keys valid until {until:%Y-%m-%d}"
    if until - datetime.now(UTC) < SOON:
        return Finding(what, "optional", found, "robolearn security init KEYSTORE --renew")
    private = keystore / "private"
    todo = f"keep {private} off the robot's computer" if private.is_dir() else ""
    return Finding(what, "ok", found, todo)


def _security_on_offer(what: str) -> Finding:
    """Whether the installed middleware could enforce SROS 2, tried with a keystore that is thrown away."""
    viewer = Rights("/robolearn/viewer", "checks whether it can join")
    with tempfile.TemporaryDirectory() as folder:
        try:
            keystore = create_keystore(Path(folder) / "keys", [viewer], own_domain())
        except RobolearnError as error:
            return Finding(what, "missing", _first_line(error), "correct the environment")
        environment = ros_environment() | security_environment(keystore)
        problem = middleware_problem(environment | enclave_environment("viewer", environment))
    if problem:
        return Finding(what, "optional", f"off, not available: {problem}", "a network of the arm's own")
    todo = "for a real arm: robolearn security init, then security_keystore in the deployment file"
    return Finding(what, "optional", "off, available", todo)


def ros_discovery(deployment: Deployment | None) -> Finding:
    """With whom the nodes would speak, and whether the environment says otherwise."""
    what = "ROS 2 discovery"
    d = deployment
    try:
        changes = node_environment(d) if d is not None else discovery_environment()
    except RobolearnError as error:
        return Finding(what, "missing", _first_line(error), "correct the deployment file")
    found = describe(d.discovery_range, d.static_peers, d.interface) if d is not None else "this machine only"
    ignored = ", ".join(not_followed(changes))
    return Finding(what, "ok", found, f"ignored environment variables: {ignored}" if ignored else "")


def operators(deployment: Deployment) -> Finding:
    """Whether anybody could start the arm."""
    try:
        require_operators(deployment)
    except RobolearnError as error:
        return Finding("Operators", "missing", _first_line(error), "robolearn operate key")
    return Finding("Operators", "ok", ", ".join(deployment.operators))


def real_time() -> Finding:
    """SCHED_FIFO at the priority of the nodes, tried in a child so that nothing here changes."""
    worked, text = _probe(
        f"import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param({RT_PRIORITY})); print('granted')"
    )
    if worked:
        return Finding("Real-time priority", "ok", f"SCHED_FIFO {RT_PRIORITY} granted")
    todo = f"on the robot's computer: `@realtime - rtprio {RT_PRIORITY}` in /etc/security/limits.d, join that group"
    return Finding("Real-time priority", "optional", _last_line(text), todo)


def memory_lock() -> Finding:
    """How much memory may be locked (mlockall)."""
    try:
        import resource
    except ImportError:
        return Finding("Memory lock", "optional", "not on this system", "serve arms from Linux")
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft == resource.RLIM_INFINITY or os.geteuid() == 0:
        return Finding("Memory lock", "ok", "unlimited")
    todo = "on the robot's computer: `@realtime - memlock unlimited` in /etc/security/limits.d"
    return Finding("Memory lock", "optional", f"{soft // 1024} KiB", todo)


def rendering() -> Finding:
    """A picture, on the display or without one."""
    code = (
        "import os, sys\n"
        "if sys.platform == 'linux' and not {'MUJOCO_GL', 'DISPLAY', 'WAYLAND_DISPLAY'} & set(os.environ):\n"
        "    os.environ['MUJOCO_GL'] = 'egl'\n"  # as our renderer chooses
        "import mujoco\n"
        "m = mujoco.MjModel.from_xml_string('<mujoco><worldbody><geom size=\"1\"/></worldbody></mujoco>')\n"
        "r = mujoco.Renderer(m, 16, 16); d = mujoco.MjData(m); mujoco.mj_forward(m, d); r.update_scene(d)\n"
        "print(os.environ.get('MUJOCO_GL', 'display'), r.render().shape)"
    )
    worked, text = _probe(code)
    todo = "only for videos: sudo apt install libegl1 libgl1-mesa-dri; if it stays so, set MUJOCO_GL=egl"
    todo = "" if worked else _LOOK_AGAIN if text.startswith(_NO_ANSWER) else todo
    return Finding("Rendering", "ok" if worked else "optional", text, todo)


def signing_key() -> Finding:
    """The key that signs bundles and logs."""
    file = key_directory() / "robolearn.pem"
    if not file.exists():
        return Finding("Signing key", "ok", f"none yet; created on first use in {file.parent}")
    try:
        load_key(file)
    except RobolearnError as error:
        return Finding("Signing key", "missing", _first_line(error), "fix the problem, then retry")
    return Finding("Signing key", "ok", str(file))


def disk(folder: Path) -> Finding:
    """Room for runs and logs."""
    try:
        free_gb = shutil.disk_usage(folder).free / 1e9
    except OSError as error:
        return Finding("Disk", "missing", _first_line(error), "choose an existing folder")
    if free_gb >= DISK_FREE_MIN_GB:
        return Finding("Disk", "ok", f"{free_gb:.0f} GB free")
    todo = f"free some space: below {DISK_FREE_MIN_GB:g} GB a training or a log may not fit"
    return Finding("Disk", "optional", f"{free_gb:.1f} GB free", todo)


CHECKS: tuple[Callable[[], Finding], ...] = (
    python_version,
    physics,
    training,
    graphics_card,
    ros,
    real_time,
    memory_lock,
    rendering,
    signing_key,
    federation,
)


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _probe(code: str) -> tuple[bool, str]:
    """Run code in a Python of its own, which may crash; (worked, last line it wrote).

    On a busy machine it gets as much longer as there are processes waiting for each processor.
    """
    share = os.getloadavg()[0] / (os.cpu_count() or 1)
    limit_s = PROBE_TIMEOUT_S * min(max(1.0, share), SHARE_MAX)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired:
        return False, f"{_NO_ANSWER} within {limit_s:.0f} s; {share:.1f} processes per processor want to run"
    if done.returncode == 0:
        return True, _last_line(done.stdout)
    return False, _last_line(done.stderr) or f"ended with status {done.returncode}"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]

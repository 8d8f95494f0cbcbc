"""Real time over ROS 2: jitter and latency of the three nodes beside a bare loop and a bare hop, in the same run.

    python benchmarks/ros2.py [--rate 500] [--seconds 20] [--bundle FILE] [--controller robolearn]

Bare loop: the same absolute sleep, nothing else. Bare hop: one process publishes a JointState of seven joints,
another takes it in an executor. Bare graph: the policy's ONNX graph, run at the policy's rate by a loop of its own.
Sensor to command: from the stamp of a joint state over the policy node to the command that the safety node sends to
the arm. With `--controller robolearn` the simulated arm runs robolearn_controller's C++ filter at 1 kHz. Command to
hardware is then from the grid time of a sent command to the end of the first step that has it; the time by which the
filter stays behind the stream on purpose (`delay_s`) comes on top and is printed beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONTROLLER_HZ = 1000.0
GOALS = ((0.5, 0.2, 0.4), (0.45, -0.3, 0.5), (0.55, 0.0, 0.3))
LOAD = "load of the machine over the last minute"


def bare_loop(rate: float, seconds: float) -> None:
    from robolearn_ros.loop import Loop

    loop = Loop(rate, priority=40, phase=0.9)
    end = time.monotonic() + seconds
    for _ in loop:
        if time.monotonic() > end:
            loop.stop()
    print(json.dumps(loop.summary()))


def talker(rate: float, seconds: float) -> None:
    import rclpy
    from robolearn_ros.loop import Loop
    from sensor_msgs.msg import JointState

    rclpy.init()
    node = rclpy.create_node("talker")
    publisher = node.create_publisher(JointState, "/hop", 10)
    names, zeros = [f"joint{i}" for i in range(7)], [0.0] * 7
    loop, end = Loop(rate, priority=40, phase=0.45), time.monotonic() + seconds
    for _ in loop:
        message = JointState(name=names, position=zeros, velocity=zeros)
        now = time.monotonic_ns()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 10**9)
        publisher.publish(message)
        if time.monotonic() > end:
            loop.stop()


def listener(seconds: float) -> None:
    import rclpy
    from robolearn_ros.loop import Samples, promote_other_threads, set_fifo
    from sensor_msgs.msg import JointState

    rclpy.init()
    node, samples = rclpy.create_node("listener"), Samples()

    def take(message: JointState) -> None:
        stamp = message.header.stamp
        samples.add(time.monotonic_ns() - (stamp.sec * 10**9 + stamp.nanosec))

    node.create_subscription(JointState, "/hop", take, 10)
    promote_other_threads(30)
    set_fifo(40)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.1)
    print(json.dumps(samples.summary_us()))


def bare_graph(bundle: Path, seconds: float) -> None:
    import numpy as np
    import onnxruntime
    from robolearn_ros.loop import Loop, Samples

    from robolearn.policy.bundle import PolicyBundle

    loaded, options = PolicyBundle.load(bundle), onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(loaded.onnx_bytes, options, providers=["CPUExecutionProvider"])
    feed = {node.name: np.full(node.shape, 0.1, np.float32) for node in session.get_inputs()}
    loop, samples = Loop(loaded.manifest.control_hz, priority=40, phase=0.045), Samples()
    end = time.monotonic() + seconds
    for _ in loop:
        began = time.monotonic_ns()
        session.run(None, feed)
        samples.add(time.monotonic_ns() - began)
        if time.monotonic() > end:
            loop.stop()
    print(json.dumps(samples.summary_us()))


def beside(
    mode: str, rate: float, seconds: float, bundle: Path, environment: dict[str, str]
) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--mode", mode, "--rate", str(rate), "--seconds", str(seconds)]
    command += ["--bundle", str(bundle)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def hand_written_bundle(folder: Path) -> Path:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "ros"))
    import ros_standin

    path = ros_standin.export_reaching(folder).path
    assert path is not None
    return path


def measure(rate: float, seconds: float, bundle: Path | None, controller: str) -> None:
    from robolearn.deploy.exercise import exercise
    from robolearn.deploy.serving import Serving, ros_environment

    domain = 1 + os.getpid() % 50
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = bundle or hand_written_bundle(folder)
        with Serving(folder, rate_hz=rate, domain_id=domain) as serving:
            ours = controller == "robolearn"
            arm_hz = CONTROLLER_HZ if ours else rate
            serving.start_sim(person_sensor=False, controller=controller, rate_hz=arm_hz, stream_rate_hz=rate)
            chosen = {"controller": controller, "controller_rate_hz": 0.0} if ours else {}
            serving.start_safety(log_dir=folder / "safety", log_key=folder / "log.pem", **chosen)
            serving.start_policy(bundle, state_rate_hz=arm_hz)
            serving.wait_until_active()
            hop = ros_environment(domain + 50)
            processes = {
                mode: beside(mode, rate, seconds, bundle, hop)
                for mode in ("bare-loop", "bare-graph", "listener", "talker")
            }
            if ours:
                processes["fast-loop"] = beside("bare-loop", arm_hz, seconds, bundle, hop)
            goals = [GOALS[i % len(GOALS)] for i in range(max(1, round(seconds / 2.5)))]
            driven = exercise(serving, goals, faults=False, timeout_s=60.0 + 10 * seconds)
            bare = json.loads(processes["bare-loop"].communicate()[0])
            graph = json.loads(processes["bare-graph"].communicate()[0])
            bare_hop = json.loads(processes["listener"].communicate()[0])
            processes["talker"].communicate()
            fast = json.loads(processes["fast-loop"].communicate()[0]) if ours else None
            serving.stop()
            report(rate, serving.statistics(), bare, bare_hop, graph, driven)
            if fast is not None:
                report_controller(serving.statistics(), fast, bare_hop)


def report(rate: float, found: dict, bare: dict, hop: dict, graph: dict, driven: dict) -> None:
    print(f"{rate:g} Hz, {os.cpu_count()} cores, {LOAD} {os.getloadavg()[0]:.1f}; {bare['real_time']}")
    reached = sum(goal["reached"] for goal in driven.get("goals", []))
    print(
        f"{reached} of {len(driven.get('goals', []))} goals; unexpected stops: {len(driven['unexpected_stops'])}"
    )
    if "error" in driven:
        print(f"the drive ended early: {driven['error']}")
    print(f"{'us':<42}{'p50':>9}{'p99':>9}{'p99.9':>9}{'max':>10}{'missed':>8}")
    line("bare loop: late", bare["late_us"], bare["missed"])
    for node in ("sim_node", "policy_node", "safety_node"):
        line(f"{node}: late", found[node]["late_us"], found[node]["missed"])
    for node in ("sim_node", "policy_node", "safety_node"):
        line(f"{node}: work of a cycle", found[node]["work_us"])
    line("bare graph", graph)
    line("policy_node: inference", found["policy_node"]["inference_us"])
    line("safety_node: check", found["safety_node"]["check_us"])
    line("bare hop", hop)
    age, out = found["policy_node"]["observation_age_us"], found["safety_node"]["policy_to_command_us"]
    line("sensor to policy", age)
    line("policy to arm's command", out)
    total = {key: age[key] + out[key] for key in ("p50", "p99", "p99.9", "max")}
    line("sensor to command (sum, an upper bound)", total)
    line("  above two bare hops", {key: total[key] - 2 * hop[key] for key in total})


def report_controller(found: dict, fast: dict, hop: dict) -> None:
    """The arm's loop beside a bare one of the same rate, and the way from a sent command into it."""
    from robolearn_ros.stream_filter import FilterConfig

    arm, keys = found["sim_node"], ("p50", "p99", "p99.9", "max")
    print(f"controller at {arm['rate_hz']:g} Hz, {arm['controller_state']}")
    line("bare loop of that rate: late", fast["late_us"], fast["missed"])
    line(
        "  the arm's loop over it",
        {k: arm["late_us"][k] / max(fast["late_us"][k], 1.0) for k in keys},
        digits=1,
    )
    hardware = arm["command_to_hardware_us"]
    line("command to hardware", hardware)
    line("  over a bare hop", {k: hardware[k] / max(hop[k], 1.0) for k in keys}, digits=1)
    sensor = found["safety_node"]["state_to_command_us"]
    line("sensor to the safety node's command", sensor)
    line("  over a bare hop", {k: sensor[k] / max(hop[k], 1.0) for k in keys}, digits=1)
    print(f"the filter stays another {FilterConfig.delay_s * 1e3:g} ms behind the stream on purpose")


def line(what: str, values: dict[str, float], missed: int | None = None, digits: int = 0) -> None:
    numbers = "".join(f"{values.get(key, float('nan')):>9.{digits}f}" for key in ("p50", "p99", "p99.9"))
    largest = f"{values.get('max', float('nan')):>10.{digits}f}"
    print(f"{what:<42}{numbers}{largest}{'' if missed is None else missed:>8}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--bundle", type=Path, help="default: a reaching policy written by hand")
    parser.add_argument("--controller", default="forward", choices=("forward", "robolearn"))
    parser.add_argument("--mode", default="measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.mode == "bare-loop":
        bare_loop(options.rate, options.seconds)
    elif options.mode == "bare-graph":
        bare_graph(options.bundle, options.seconds)
    elif options.mode == "talker":
        talker(options.rate, options.seconds)
    elif options.mode == "listener":
        listener(options.seconds)
    else:
        measure(options.rate, options.seconds, options.bundle, options.controller)


if __name__ == "__main__":
    main()

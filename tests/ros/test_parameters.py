"""What `ros2 param` gets of a running node: every value, every range."""

import importlib
import subprocess
import sys
import time

import pytest
import rclpy
import ros_standin
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from robolearn.deploy.serving import Serving, free_domain, ros_environment

pytestmark = pytest.mark.ros

TYPES = {
    "bool": ParameterType.PARAMETER_BOOL,
    "int": ParameterType.PARAMETER_INTEGER,
    "double": ParameterType.PARAMETER_DOUBLE,
    "string": ParameterType.PARAMETER_STRING,
    "string list": ParameterType.PARAMETER_STRING_ARRAY,
}


def ask(executor, node, kind, name, request):
    client = node.create_client(kind, name)
    deadline = time.monotonic() + 30.0
    while not client.service_is_ready():
        assert time.monotonic() < deadline, name
        executor.spin_once(timeout_sec=0.05)
    future = client.call_async(request)
    executor.spin_until_future_complete(future, timeout_sec=10.0)
    return future.result()


@pytest.mark.parametrize("name", ["sim_node", "safety_node", "policy_node"])
def test_a_dump_holds_every_parameter_and_a_description_its_range(name, tmp_path):
    table = {p.name: p for p in importlib.import_module(f"robolearn_ros.{name}").PARAMETERS}
    domain, context = free_domain(), Context()
    given = {"bundle": str(ros_standin.export_reaching(tmp_path).path)} if name == "policy_node" else {}
    given |= {"require_approval": False} if given else {}
    given |= {"controller_rate_hz": 500.0} if name == "safety_node" else {}
    with Serving(tmp_path / "run", domain_id=domain) as serving:
        serving.start(name, **given)
        rclpy.init(context=context, domain_id=domain)
        node, executor = Node("asker", context=context), SingleThreadedExecutor(context=context)
        executor.add_node(node)
        try:
            names = ask(executor, node, ListParameters, f"/{name}/list_parameters", ListParameters.Request())
            names = list(names.result.names)
            assert set(table) <= set(names)
            values = ask(
                executor, node, GetParameters, f"/{name}/get_parameters", GetParameters.Request(names=names)
            ).values
            assert len(values) == len(names)
            described = ask(
                executor, node, DescribeParameters, f"/{name}/describe_parameters",
                DescribeParameters.Request(names=list(table)),
            ).descriptors  # fmt: skip
        finally:
            node.destroy_node()
            context.shutdown()
    types = {one: value.type for one, value in zip(names, values, strict=True)}
    for descriptor in described:
        parameter = table[descriptor.name]
        assert descriptor.type == types[descriptor.name] == TYPES[parameter.type]
        ranges = [
            (r.from_value, r.to_value) for r in (*descriptor.floating_point_range, *descriptor.integer_range)
        ]
        assert ranges == ([] if parameter.low is None else [(parameter.low, parameter.high)])


@pytest.mark.parametrize("number", [".nan", ".inf", "100.0", "-0.5"])
def test_a_rate_of_no_use_is_refused(number):
    command = [sys.executable, "-m", "robolearn_ros.sim_node", "--ros-args", "-p", f"clock_rate:={number}"]
    done = subprocess.run(
        command, env=ros_environment(free_domain()), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "sim_node: parameter 'clock_rate'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("name", "given", "message"), [
    ("sim_node", {}, "sim_node: use_sim_time is refused: it is the simulator; with clock_rate it publishes /clock"),
    ("restamp_node", {}, "restamp_node: use_sim_time is refused: it brings a simulator's joint states onto the system"),
    ("safety_node", {"controller_rate_hz": 500.0, "check_controller": False}, "use_sim_time needs check_controller"),
])  # fmt: skip
def test_a_simulators_clock_is_refused_where_it_would_be_mixed_with_another(name, given, message, tmp_path):
    with Serving(tmp_path, domain_id=free_domain(), rt_priority=0) as serving:
        node = serving.start(name, use_sim_time=True, **given)
        assert node.wait(30.0) == 2
        assert message in node.last_words()

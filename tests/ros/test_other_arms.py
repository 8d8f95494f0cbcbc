"""The arms that the other tests leave out, from their own deployment files, through all three nodes."""

import jax.numpy as jnp
import numpy as np
import pytest
import ros_standin

from robolearn.deploy.deployment import deployment_for, node_parameters
from robolearn.deploy.exercise import exercise
from robolearn.deploy.serving import Serving, free_domain
from robolearn.review.verify import verify
from robolearn.robots import load_robot
from robolearn.robots.kinematics import forward

pytestmark = pytest.mark.ros

RATE_HZ = 250.0


@pytest.mark.parametrize("name", ["ur5e", "iiwa14"])
def test_an_arm_reaches_its_goals_as_its_deployment_file_has_it(name, tmp_path):
    robot, deployment = load_robot(name), deployment_for(name, changes={"rate_hz": RATE_HZ})
    bundle = ros_standin.export_reaching(tmp_path, robot=name)
    home = np.asarray(forward(robot, jnp.asarray(robot.home_rad))[0])
    goals = home + np.array([[0.05, 0.1, -0.1], [0.0, -0.1, 0.05]])
    with Serving(tmp_path / "run", robot=name, rate_hz=RATE_HZ, domain_id=free_domain()) as serving:
        nodes = node_parameters(deployment, bundle.path, sim=True, log_dir=tmp_path / "safety")
        nodes["sim_node"]["person_sensor"] = False
        nodes["safety_node"]["log_key"] = tmp_path / "log.pem"
        for node, parameters in nodes.items():
            serving.start(node, **parameters)
        result = exercise(serving, goals, faults=False, timeout_s=60.0)
        codes = serving.stop()
    assert [goal["reached"] for goal in result["goals"]] == [True, True], result
    assert codes == {"sim_node": 0, "safety_node": 0, "policy_node": 0}
    assert verify(tmp_path / "safety").findings == []

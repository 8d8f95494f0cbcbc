import sys

import jax.numpy as jnp
import numpy as np
import policy_standin
import pytest
from jax2onnx.plugins import plugin_system

from robolearn.errors import BundleError
from robolearn.policy.export import AGREEMENT_RAD, PolicyGraph, check_agreement, random_inputs
from robolearn.policy.runtime import PolicyRuntime
from robolearn.policy.slots import Slot

READINGS = {"joint_position": [0.1, 0.2], "joint_velocity": [0.0, 0.0], "goal_angle": [0.5, -0.5]}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return policy_standin.export(tmp_path_factory.mktemp("export"))


@pytest.fixture
def runtime(bundle):
    return PolicyRuntime(bundle)


def test_the_graph_agrees_with_jax_on_a_thousand_random_inputs(runtime):
    graph = PolicyGraph(policy_standin.StandIn(), policy_standin.actor)
    agreement = check_agreement(graph, runtime, policy_standin.ROBOT, seed=7)
    assert agreement.inputs == 1000
    assert agreement.error <= AGREEMENT_RAD


def test_a_graph_that_disagrees_is_not_written(tmp_path, monkeypatch):
    honest = PolicyGraph.to_onnx

    def biased(self, name):
        self._actor = lambda observation: policy_standin.actor(observation) + 0.01
        exported = honest(self, name)
        self._actor = policy_standin.actor
        return exported

    monkeypatch.setattr(PolicyGraph, "to_onnx", biased)
    with pytest.raises(BundleError, match="differs from JAX by .* No bundle was written"):
        policy_standin.export(tmp_path)
    assert not list(tmp_path.iterdir())


def test_of_jax2onnx_only_what_a_graph_needs_is_imported(bundle):
    """Its plugins for Equinox build networks as they are imported, which takes longer than any export."""
    assert "jax2onnx.plugins.jax.lax.scan" in sys.modules
    assert not [name for name in sys.modules if name.startswith("jax2onnx.plugins.equinox")]
    assert not plugin_system._already_imported_plugins  # else another conversion would lack them


def test_memory_slots_and_fields_must_match(tmp_path):
    task = policy_standin.StandIn()
    task.memory_slots = task.memory_slots[:1]
    with pytest.raises(BundleError, match="memory slots .* differ"):
        policy_standin.export(tmp_path, task=task)


def test_random_inputs_stay_in_the_ranges_of_the_arm():
    slots = (*policy_standin.StandIn.slots, Slot("pose", (4,), "1", "pose.cube.orientation"))
    drawn = list(random_inputs(slots, policy_standin.ROBOT, 200, seed=0))
    position = np.array([values["joint_position"] for values in drawn])
    assert (np.abs(position) <= [1.0, 2.0]).all()
    assert np.ptp(position, axis=0) == pytest.approx([2.0, 4.0], rel=0.1)
    np.testing.assert_allclose([np.linalg.norm(values["pose"]) for values in drawn], 1.0, rtol=1e-6)


def test_the_arm_follows_its_goal_from_where_it_is(runtime):
    start = np.array([0.3, -0.3])
    runtime.reset({"joint_state.position": start})
    position = start
    for step in range(300):
        targets = runtime.step({**READINGS, "joint_position": position})
        if step == 0:  # no lurch: half the largest acceleration over one period
            assert np.abs(targets["joint_position_target"] - start).max() <= 0.5 * 4.0 * 0.02**2 + 1e-6
        position = targets["joint_position_target"]
    np.testing.assert_allclose(position, [0.5, -0.5], atol=0.02)


def test_reset_forgets(runtime):
    runtime.reset({"joint_state.position": [0.0, 0.0]})
    first = runtime.step(READINGS)
    for _ in range(10):
        runtime.step(READINGS)
    runtime.reset({"joint_state.position": [0.0, 0.0]})
    np.testing.assert_array_equal(
        runtime.step(READINGS)["joint_position_target"], first["joint_position_target"]
    )


def test_a_rehearsal_changes_nothing(runtime):
    runtime.reset({"joint_state.position": [0.0, 0.0]})
    start = runtime.memory
    runtime.rehearse()  # nothing to repeat yet
    np.testing.assert_equal(runtime.memory, start)
    first = runtime.step(READINGS)
    after = runtime.memory
    runtime.rehearse()
    np.testing.assert_equal(runtime.memory, after)
    runtime.restore(start)
    np.testing.assert_equal(runtime.step(READINGS), first)


def test_step_needs_a_reset(runtime):
    with pytest.raises(BundleError, match="reset the policy from measured values"):
        runtime.step(READINGS)
    runtime.reset({"joint_state.position": [0.0, 0.0]})
    runtime.warm_up(2)
    with pytest.raises(BundleError, match="reset the policy from measured values"):
        runtime.step(READINGS)


@pytest.mark.parametrize(("change", "message"), [
    ({"goal_angle": [0.0, np.nan]}, "'goal_angle' holds a value that is not finite"),
    ({"joint_velocity": [np.inf, 0.0]}, "'joint_velocity' holds a value that is not finite"),
    ({"joint_position": [0.0]}, r"'joint_position' has shape \[1\], expected \[2\]"),
])  # fmt: skip
def test_bad_readings_are_refused_and_leave_the_memory_alone(runtime, change, message):
    runtime.reset({"joint_state.position": [0.1, 0.2]})
    runtime.step(READINGS)
    before = runtime.memory
    with pytest.raises(BundleError, match=message):
        runtime.step({**READINGS, **change})
    for name, value in runtime.memory.items():
        np.testing.assert_array_equal(value, before[name])


def test_missing_readings_are_named(runtime):
    with pytest.raises(BundleError, match=r"memory 'command_position' starts from 'joint_state.position'"):
        runtime.reset({})
    runtime.reset({"joint_state.position": [0.0, 0.0]})
    with pytest.raises(BundleError, match=r"no value for 'goal_angle' \(goal.angle, rad\)"):
        runtime.step({name: value for name, value in READINGS.items() if name != "goal_angle"})


def test_a_graph_that_returns_nan_is_an_error(tmp_path):
    def broken(observation):
        return jnp.where(observation[:2] > 2.9, jnp.nan, policy_standin.actor(observation))

    runtime = PolicyRuntime(policy_standin.export(tmp_path, act=lambda o: broken(o * 1e-3)))
    runtime.reset({"joint_state.position": [0.0, 0.0]})
    with pytest.raises(BundleError, match="returned a value that is not finite in 'joint_position_target'"):
        runtime.step({**READINGS, "goal_angle": [4000.0, 0.0]})


def test_a_graph_that_is_not_the_promised_one_is_refused(bundle):
    manifest = bundle.manifest.model_copy(update={"goal_slots": ()})
    with pytest.raises(BundleError, match="the graph's inputs are"):
        PolicyRuntime(type(bundle)(manifest, bundle.onnx_bytes, "", "", "", ""))
    with pytest.raises(BundleError, match="ONNX Runtime cannot load"):
        PolicyRuntime(type(bundle)(bundle.manifest, b"not onnx", "", "", "", ""))

"""Runs a bundle's graph on the robot's computer: ONNX Runtime, one thread, every input checked by name.

    runtime = PolicyRuntime(bundle)
    runtime.reset({"joint_state.position": q})
    targets = runtime.step({"joint_position": q, "joint_velocity": qd, "goal_position": goal})

The policy's memory lives here and starts from measured values, so that an arm does not lurch.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Iterable, Mapping

import numpy as np
import onnxruntime
from numpy.typing import ArrayLike, NDArray

from robolearn.errors import BundleError
from robolearn.policy.bundle import PolicyBundle
from robolearn.policy.slots import Slot

Values = dict[str, NDArray[np.float32]]

MEMORY_IN, MEMORY_OUT = "memory.", "next."
STEP_MAX_S = 10.0  # of the first step of a policy, a hundred times longer than any that serves an arm
MEMORY_MAX_BYTES = 1 << 30  # that all policies of a process may take together

onnxruntime.disable_telemetry_events()  # in case it was imported before robolearn: see policy/__init__.py


class PolicyRuntime:
    """One policy, ready to step. Not thread-safe: one control loop owns it."""

    def __init__(self, bundle: PolicyBundle):
        self.bundle = bundle
        self.manifest = bundle.manifest
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        _bound_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
        try:
            self._session = onnxruntime.InferenceSession(
                bundle.onnx_bytes, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises bare classes of its own
            raise BundleError(
                f"{bundle.manifest.name}: ONNX Runtime cannot load policy.onnx: {error}"
            ) from None
        self._inputs = (*self.manifest.slots, *self.manifest.goal_slots)
        self._output_names = [output.name for output in self._session.get_outputs()]
        self._check_graph()
        self._try()
        self._memory: Values = {}
        self._feed: Values = {}  # of the last step
        self.ood_score: float | None = None
        """How far the last step's observation is from those of the evaluation: above 1 beyond the threshold.

        None before the first step, and of a bundle without a score. It advises people; nothing here depends on it.
        """

    @property
    def memory(self) -> Values:
        """The memory by slot name, as the next step will read it."""
        return {name.removeprefix(MEMORY_IN): value.copy() for name, value in self._memory.items()}

    @property
    def inputs(self) -> NDArray[np.float32]:
        """Everything that the last step read: slots, goals and memory, each flattened, in the manifest's order.

        Empty before the first step.
        """
        memory = [MEMORY_IN + slot.name for slot in self.manifest.memory_slots]
        names = [slot.name for slot in self._inputs] + memory
        return np.concatenate(
            [self._feed[name].ravel() for name in names if name in self._feed] or [[]]
        ).astype(np.float32)

    def reset(self, measured: Mapping[str, ArrayLike]) -> None:
        """Initialise the memory from current measurements, by source such as `joint_state.position` [n] rad.

        Raises BundleError where a source that the memory starts from is missing.
        """
        memory: Values = {}
        for slot in self.manifest.memory_slots:
            if slot.source == "zeros":
                value = np.zeros(slot.shape, np.float32)
            elif slot.source in measured:
                value = self._checked(slot, measured[slot.source])
            else:
                raise BundleError(
                    f"{self.manifest.name}: memory '{slot.name}' starts from '{slot.source}', which was not given. "
                    f"Given: {', '.join(sorted(measured)) or 'nothing'}."
                )
            memory[MEMORY_IN + slot.name] = value
        self._memory, self._feed, self.ood_score = memory, {}, None

    def restore(self, memory: Mapping[str, ArrayLike]) -> None:
        """Set the memory by slot name, as `memory` returns it. Raises BundleError like `reset`."""
        self._memory = {
            MEMORY_IN + slot.name: self._checked(slot, memory[slot.name])
            for slot in self.manifest.memory_slots
        }

    def step(self, readings: Mapping[str, ArrayLike]) -> Values:
        """One control period: readings by slot name in, targets by output name out; updates the memory.

        Raises BundleError on a missing slot, a wrong shape or a value that is not finite, in or out; the memory
        then stays as it was.
        """
        if not self._memory and self.manifest.memory_slots:
            raise BundleError(
                f"{self.manifest.name}: reset the policy from measured values before its first step."
            )
        feed: Values = dict(self._memory)
        for slot in self._inputs:
            if slot.name not in readings:
                raise BundleError(
                    f"{self.manifest.name}: no value for '{slot.name}' ({slot.source}, {slot.unit}). "
                    f"Given: {', '.join(sorted(readings)) or 'nothing'}."
                )
            feed[slot.name] = self._checked(slot, readings[slot.name])
        arrays = [np.asarray(value, np.float32) for value in self._session.run(self._output_names, feed)]
        outputs = dict(zip(self._output_names, arrays, strict=True))
        self._feed = feed
        self.ood_score = self._score(outputs)
        for name, value in outputs.items():
            if not np.isfinite(value).all():
                raise BundleError(
                    f"{self.manifest.name}: the graph returned a value that is not finite in '{name}'."
                )
        self._memory = {
            MEMORY_IN + slot.name: outputs.pop(MEMORY_OUT + slot.name) for slot in self.manifest.memory_slots
        }
        return outputs

    def _score(self, outputs: Values) -> float | None:
        """The graph's score, taken out of its outputs; one that is no number is infinite, and keeps no target back."""
        if self.manifest.ood is None:
            return None
        value = float(outputs.pop(self.manifest.ood.output)[0])
        return math.inf if math.isnan(value) else value

    def rehearse(self) -> None:
        """Run the graph on the last step's inputs and discard the result, to keep the caches warm for the next step."""
        if self._feed:
            self._session.run(self._output_names, self._feed)

    def _zeros(self) -> Values:
        """A zero for every input and memory."""
        feed: Values = {slot.name: np.zeros(slot.shape, np.float32) for slot in self._inputs}
        return feed | {MEMORY_IN + s.name: np.zeros(s.shape, np.float32) for s in self.manifest.memory_slots}

    def _try(self) -> None:
        """Run the graph once: one that takes more memory or time than any policy is refused before an arm waits."""
        run = onnxruntime.RunOptions()
        ending = threading.Timer(STEP_MAX_S, setattr, (run, "terminate", True))
        ending.daemon = True
        ending.start()
        try:
            self._session.run(self._output_names, self._zeros(), run)
        except Exception as error:  # onnxruntime raises bare classes of its own
            slow = f" It did not end within {STEP_MAX_S:g} s." if run.terminate else ""
            text = " ".join(str(error).split())[:300]
            raise BundleError(
                f"{self.manifest.name}: policy.onnx fails on inputs of zeros: {text}.{slow} Export the policy again."
            ) from None
        finally:
            ending.cancel()

    def warm_up(self, steps: int = 50) -> None:
        """Run the graph on zeros, so that the first real step is as fast as the rest; clears the memory."""
        feed = self._zeros()
        for _ in range(steps):
            self._session.run(self._output_names, feed)
        self._memory, self._feed, self.ood_score = {}, {}, None

    def _checked(self, slot: Slot, value: ArrayLike) -> NDArray[np.float32]:
        array = np.asarray(value, np.float32)
        if array.shape != slot.shape:
            raise BundleError(
                f"{self.manifest.name}: '{slot.name}' has shape {list(array.shape)}, expected {list(slot.shape)}."
            )
        if not np.isfinite(array).all():
            raise BundleError(f"{self.manifest.name}: '{slot.name}' holds a value that is not finite.")
        return array

    def _check_graph(self) -> None:
        """The graph's own names and shapes are those that the manifest promises."""
        m = self.manifest
        memory = [(s.name, s.shape) for s in m.memory_slots]
        promised_in = {s.name: s.shape for s in self._inputs} | {MEMORY_IN + n: s for n, s in memory}
        promised_out = {s.name: s.shape for s in m.outputs} | {MEMORY_OUT + n: s for n, s in memory}
        promised_out |= {} if m.ood is None else {m.ood.output: (1,)}
        for what, promised, found in (
            ("inputs", promised_in, _signature(self._session.get_inputs())),
            ("outputs", promised_out, _signature(self._session.get_outputs())),
        ):
            if promised != found:
                raise BundleError(
                    f"{m.name}: the graph's {what} are {found}, but manifest.json promises {promised}. "
                    "Export the policy again."
                )


@functools.cache
def _bound_memory() -> None:
    """All graphs of this process share one allocator, which gives no more than MEMORY_MAX_BYTES."""
    kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    memory = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
    arena = onnxruntime.OrtArenaCfg({"max_mem": MEMORY_MAX_BYTES, "arena_extend_strategy": 1})
    onnxruntime.create_and_register_allocator(memory, arena)


def _signature(nodes: Iterable[onnxruntime.NodeArg]) -> dict[str, tuple[int, ...]]:
    return {node.name: tuple(node.shape) for node in nodes if node.type == "tensor(float)"}

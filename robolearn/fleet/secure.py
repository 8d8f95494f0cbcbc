"""Secure aggregation: the server learns the sum of the sites' updates and no single one. Needs flwr.

The protocol is SecAgg+ (Bell et al. 2020, doi:10.1145/3372297.3417885) by Flower's own `SecAggPlusWorkflow` and
`secaggplus_mod`, which stand beside Flower's older interface: a round is packed into that interface's records here.
Both ends agree on every number of it by federation.yaml.

Two things of Flower 1.42 are replaced. Its masks come from a generator whose seed is folded to 32 bits, which a server
can try out: here they are a ChaCha20 key stream of the whole seed. And a site that is lost before it has shared its
keys halted the round: here it is left out.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.common import Code, FitIns, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from flwr.compat.common import recorddict_compat as compat
from flwr.server import LegacyContext
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey

from robolearn.errors import RobolearnError
from robolearn.fleet.messages import asked_node, wire_bytes
from robolearn.fleet.rounds import Answer, Exchange, Request, Summed
from robolearn.fleet.settings import SECURE_SITES_MIN, Federation
from robolearn.fleet.site_policy import SiteRefuses
from robolearn.fleet.vector import Vector

QUANTA = 2**22  # steps between -clip_norm and clip_norm
MODULUS = 2**32  # of the masked numbers: room for the sum of 1,024 sites
_MASKED_BY = (
    "flwr.client.mod.secure_aggregation.secaggplus_mod",
    "flwr.server.workflow.secure_aggregation.secaggplus_workflow",
)


def masks(seed: bytes, num_range: int, dimensions_list: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """Uniform integers below num_range (2**32) of these shapes, int64: a ChaCha20 key stream (RFC 8439) of the seed."""
    if num_range != MODULUS:
        raise SiteRefuses(f"Masks below {num_range} were asked for, expected {MODULUS}.")
    key = hashlib.sha256(b"robolearn.secure_aggregation/1" + seed).digest()
    stream = Cipher(algorithms.ChaCha20(key, bytes(16)), None).encryptor()
    sizes = [math.prod(shape) for shape in dimensions_list]
    drawn = [np.frombuffer(stream.update(bytes(4 * size)), "<u4").astype(np.int64) for size in sizes]
    return [numbers.reshape(shape) for numbers, shape in zip(drawn, dimensions_list, strict=True)]


def use_own_masks() -> None:
    """Put `masks` in place of Flower's generator, at both ends."""
    for name in _MASKED_BY:
        module = importlib.import_module(name)
        if not callable(getattr(module, "pseudo_rand_gen", None)):
            raise SiteRefuses(f"This Flower has no {name}.pseudo_rand_gen. Install flwr==1.42.0.")
        module.pseudo_rand_gen = masks


def threshold(federation: Federation, sites: int) -> int:
    """How many sites must last the round: sites_min, and more than half, so that no two halves can be opened apart."""
    return max(2, federation.sites_min, sites // 2 + 1)


def bound(federation: Federation, size: int) -> float:
    """The norm that a site shortens its update to: below clip_norm by what rounding to QUANTA steps can add."""
    assert federation.clip_norm is not None
    return federation.clip_norm * (1.0 - 2.0 * math.sqrt(size) / QUANTA)


# The site's end


def answer(
    message: Message, context: Context, federation: Federation, train: Callable[[Vector, Request], Vector]
) -> Message:
    """One of the round's four messages. train: gives the site's update, called in the third.

    Raises SiteRefuses where the server asks for something else than was agreed.
    """
    from flwr.client.mod import secaggplus_mod

    use_own_masks()
    asked = message.content.config_records.get(RECORD_KEY_CONFIGS)
    if asked is None:
        raise SiteRefuses("The coordinator asks for an update without masks; federation.yaml says secure.")
    if asked.get(Key.STAGE) == Stage.SETUP:
        _require_setup(asked, federation)
    if asked.get(Key.STAGE) == Stage.UNMASK:
        both = set(_numbers(asked, Key.ACTIVE_NODE_ID_LIST)) & set(_numbers(asked, Key.DEAD_NODE_ID_LIST))
        if both:
            raise SiteRefuses(
                "The coordinator asks for both secrets of one site, which would open its update."
            )

    def masked(inner: Message, _: Context) -> Message:
        told = compat.recorddict_to_fitins(inner.content, keep_input=True)
        [vector] = parameters_to_ndarrays(told.parameters)
        update = train(vector, Request(**told.config))  # type: ignore[arg-type]
        if not np.isfinite(update).all():
            raise SiteRefuses("The site's own update is not finite. It was not sent.")
        result = FitRes(Status(Code.OK, ""), ndarrays_to_parameters([update]), 1, {})
        return Message(compat.fitres_to_recorddict(result, keep_input=True), reply_to=inner)

    return secaggplus_mod(message, context, masked)


def _require_setup(asked: Mapping[str, Any], federation: Federation) -> None:
    count = int(asked[Key.SAMPLE_NUMBER])
    agreed = {**_agreed(federation, count), Key.SAMPLE_NUMBER: max(count, SECURE_SITES_MIN)}
    differ = [
        f"{key} {asked.get(key)}, agreed {value}" for key, value in agreed.items() if asked.get(key) != value
    ]
    if differ:
        raise SiteRefuses(f"The coordinator's secure aggregation is not the agreed one: {'; '.join(differ)}.")


def _agreed(federation: Federation, sites: int) -> dict[str, Any]:
    return {
        Key.SHARE_NUMBER: sites,
        Key.THRESHOLD: threshold(federation, sites),
        Key.CLIPPING_RANGE: federation.clip_norm,
        Key.TARGET_RANGE: QUANTA,
        Key.MOD_RANGE: MODULUS,
        Key.MAX_WEIGHT: 1.0,
    }


def _numbers(asked: Mapping[str, Any], key: str) -> list[int]:
    return list(asked.get(key) or [])


# The server's end


class _Workflow(SecAggPlusWorkflow):
    """Flower's, but a site that is lost before it has shared its keys is left out instead of halting the round.

    Nobody has masked with such a site, so there is nothing of it to open.
    """

    def share_keys_stage(self, grid: Any, context: Any, state: Any) -> bool:
        if not super().share_keys_stage(grid, context, state):
            return False
        shared = set(state.active_node_ids)
        state.sampled_node_ids = shared
        near = state.nid_to_neighbours
        state.nid_to_neighbours = {node: near[node] & shared for node in shared}
        return self._check_threshold(state)


class _Node(NamedTuple):
    """What the workflow needs to know of a node."""

    node_id: int


@dataclass
class _Strategy:
    """What Flower's workflow asks of a strategy. results: what it was given at the end."""

    nodes: Sequence[int]
    told: FitIns
    results: list[tuple[_Node, FitRes]] = field(default_factory=list)

    def num_available(self) -> int:
        """Of a client manager; for Flower's log."""
        return len(self.nodes)

    def configure_fit(self, *_: Any, **__: Any) -> list[tuple[_Node, FitIns]]:
        """The same to everybody."""
        return [(_Node(node), self.told) for node in self.nodes]

    def aggregate_fit(self, _: int, results: Any, failures: Any) -> tuple[None, dict[str, Any]]:
        """Keep what came: of every site the same mean."""
        self.results = list(results)
        return None, {}


@dataclass
class _Wire:
    """The grid, with a count of bytes and of errors by node."""

    grid: Any
    sent: int = 0
    received: dict[int, int] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)

    def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> list[Message]:
        """As the grid's."""
        asked = list(messages)
        self.sent += sum(len(wire_bytes(one)) for one in asked)
        replies = list(self.grid.send_and_receive(asked, timeout=timeout))
        for one in replies:
            node = asked_node(one, asked)
            self.received[node] = self.received.get(node, 0) + len(wire_bytes(one))
            if one.has_error():
                self.errors[node] = str(one.error.reason)
        return replies


def ask_for_sum(
    grid: Any,
    context: Context,
    nodes: Mapping[int, str],
    federation: Federation,
    vector: Vector,
    request: Request,
) -> Exchange:
    """One round with masked updates. nodes: {node id: pseudonym} of the sites that are online.

    The exchange's answers hold no updates, only the errors; `summed` is None where the round could not be opened.
    """
    use_own_masks()
    wire, names, fault = _Wire(grid), dict(nodes), ""
    strategy = _Strategy(sorted(names), FitIns(ndarrays_to_parameters([vector]), request.to_json()))
    if len(names) >= SECURE_SITES_MIN:
        legacy = LegacyContext(context, strategy=strategy, client_manager=strategy)  # type: ignore[arg-type]
        legacy.state = RecordDict()
        legacy.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord(
            {WorkflowKey.CURRENT_ROUND: request.round}
        )
        legacy.state.array_records[MAIN_PARAMS_RECORD] = compat.parameters_to_arrayrecord(
            strategy.told.parameters, keep_input=True
        )
        needed = threshold(federation, len(names))
        workflow = _Workflow(
            1.0, needed, max_weight=1.0, clipping_range=federation.clip_norm or 0.0, quantization_range=QUANTA,
            modulus_range=MODULUS, timeout=federation.round_timeout_s,
        )  # fmt: skip
        try:
            workflow(wire, legacy)
        except RobolearnError:
            raise
        except Exception as error:  # Flower trusts the form of what a site sends
            strategy.results, text = [], f"{type(error).__name__}: {error}"
            fault = f"a site's answer does not fit the protocol ({text[:200]})"
    answers = [
        Answer(names[node], None, wire.errors.get(node, ""), size)
        for node, size in sorted(wire.received.items())
    ]
    exchange = Exchange(answers, wire.sent, fault=fault)
    if strategy.results:
        mean, *more = parameters_to_ndarrays(strategy.results[0][1].parameters)
        if more or mean.shape != vector.shape:
            exchange.fault = f"the sum has shape {mean.shape}, expected {vector.shape}"
            return exchange
        sites = sorted(names[node.node_id] for node, _ in strategy.results)
        exchange.summed = Summed(mean * len(sites), tuple(sites))
    return exchange

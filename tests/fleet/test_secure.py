"""Secure aggregation in one process: a grid that carries the messages, sites that answer them, and one that is lost.

Runs where Flower is installed: `make fleet`. With real processes: tests/fleet/test_secure_flower.py.
"""

import json

import numpy as np
import pytest

pytest.importorskip("flwr", reason="make fleet runs this")

from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.common import bytes_to_ndarray, ndarray_to_bytes
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from flwr.supercore.task_identity import TaskIdentity

from robolearn.fleet import secure, server
from robolearn.fleet.messages import UPDATE, content
from robolearn.fleet.rounds import Request, RoundFailed, Rounds, checked, run_rounds
from robolearn.fleet.settings import Federation
from robolearn.fleet.site_policy import SiteRefuses
from robolearn.fleet.vector import Layout, clipped

SIZE = 400
NODES = {11: "east", 22: "north", 33: "south", 44: "west"}
RANDOM = np.random.default_rng(5)
UPDATES = {name: RANDOM.normal(0.0, 0.1, SIZE).astype(np.float32) for name in NODES.values()}  # norm 2
TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = (
    1,
    1,
    1,
)  # Flower sets them in its own processes
STAGES = [Stage.SETUP, Stage.SHARE_KEYS, Stage.COLLECT_MASKED_VECTORS, Stage.UNMASK]


def federation(**changes):
    base = {
        "schema": "robolearn.federation/1", "name": "test", "task": "fr3/reach", "rounds": 1,
        "secure_aggregation": True, "clip_norm": 1.0,
    }  # fmt: skip
    return Federation.model_validate(base | changes)


def context():
    return Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config={})


def carried(message):
    """The message with settings of its own, as after a journey in bytes: Flower gives every site the same record."""
    records = RecordDict(dict(message.content))
    for name, record in message.content.config_records.items():
        records[name] = ConfigRecord(dict(record))
    copy = Message(records, dst_node_id=message.metadata.dst_node_id, message_type="train", group_id="1")
    copy.metadata.__dict__["_message_id"] = message.metadata.message_id
    return copy


def numbered(messages):
    """As Flower does when it sends."""
    for number, message in enumerate(messages):
        message.metadata.__dict__["_message_id"] = f"message {number}"
        yield message


def gone(message):
    """What Flower answers in place of a node that is gone: with its own number as the sender."""
    reply = Message(Error(code=1, reason="node is not there"), reply_to=message)
    reply.metadata.__dict__["_src_node_id"] = 1
    return reply


class Grid:
    """Carries messages to sites in this process. lost: {node: stage from which on it does not answer}."""

    def __init__(self, settings, lost=None, updates=None, tamper=None):
        self.settings, self.lost, self.updates = settings, lost or {}, updates or UPDATES
        self.tamper = tamper or (lambda message: None)
        self.contexts = {node: context() for node in NODES}
        self.gone, self.received = set(), []

    def train(self, node):
        def update(vector, request):
            return clipped(self.updates[NODES[node]], secure.bound(self.settings, SIZE))

        return update

    def send_and_receive(self, messages, *, timeout=None):
        replies = []
        for message in map(carried, numbered(messages)):
            node, stage = message.metadata.dst_node_id, message.content[RECORD_KEY_CONFIGS][Key.STAGE]
            if self.lost.get(node) == stage:
                self.gone.add(node)
            self.tamper(message)
            if node in self.gone:
                replies.append(gone(message))
                continue
            reply = secure.answer(message, self.contexts[node], self.settings, self.train(node))
            self.received.append((stage, reply))
            replies.append(reply)
        return replies


def ask(grid, settings, nodes=None, number=1):
    request = Request(number, 0, 4, "layout", settings.digest)
    vector = np.zeros(SIZE, np.float32)
    return secure.ask_for_sum(grid, context(), nodes or NODES, settings, vector, request)


def expected(names, settings):
    limit = secure.bound(settings, SIZE)
    return sum(clipped(UPDATES[name], limit).astype(np.float64) for name in names)


def test_the_server_gets_the_sum_of_the_clipped_updates():
    settings = federation()
    exchange = ask(Grid(settings), settings)
    assert exchange.summed.sites == ("east", "north", "south", "west")
    np.testing.assert_allclose(exchange.summed.total, expected(NODES.values(), settings), atol=1e-5)
    assert all(answer.update is None and answer.error == "" for answer in exchange.answers)


def test_what_the_strategy_gets_is_the_same_mean_for_every_site(monkeypatch):
    given = []
    keep = secure._Strategy.aggregate_fit
    monkeypatch.setattr(
        secure._Strategy, "aggregate_fit", lambda self, *a: (given.extend(a[1]), keep(self, *a))[1]
    )
    settings = federation()
    ask(Grid(settings), settings)
    assert len(given) == 4
    arrays = [secure.parameters_to_ndarrays(result.parameters) for _, result in given]
    assert all(len(one) == 1 for one in arrays)
    assert all(np.array_equal(one[0], arrays[0][0]) for one in arrays)
    np.testing.assert_allclose(arrays[0][0], expected(NODES.values(), settings) / 4, atol=1e-5)
    assert all(result.num_examples == 1 and result.metrics == {} for _, result in given)


def test_what_a_site_sends_is_no_more_like_its_update_than_like_anybodys():
    settings = federation()
    grid = Grid(settings)
    ask(grid, settings)
    masked = [
        bytes_to_ndarray(reply.content[RECORD_KEY_CONFIGS][Key.MASKED_PARAMETERS][1])
        for stage, reply in grid.received
        if stage == Stage.COLLECT_MASKED_VECTORS
    ]
    assert len(masked) == 4
    for numbers in masked:
        assert numbers.shape == (SIZE,)
        assert numbers.min() >= 0
        assert numbers.max() < 2**32
        assert abs(numbers.mean() / 2**32 - 0.5) < 5 / np.sqrt(12 * SIZE)  # uniform: five standard errors
        for update in UPDATES.values():
            assert abs(np.corrcoef(numbers, update)[0, 1]) < 5 / np.sqrt(SIZE)
    sent = b"".join(
        array.data
        for _, reply in grid.received
        for r in reply.content.array_records.values()
        for array in r.values()
    )
    assert sent == b""


@pytest.mark.parametrize("stage", STAGES)
def test_a_site_that_is_lost_in_any_stage_does_not_stop_the_round(stage):
    settings = federation()
    exchange = ask(Grid(settings, {33: stage}), settings)
    masked = stage == Stage.UNMASK  # it had sent its vector, and the others open it
    sites = ("east", "north", "south", "west") if masked else ("east", "north", "west")
    assert exchange.summed.sites == sites
    np.testing.assert_allclose(exchange.summed.total, expected(sites, settings), atol=1e-5)
    assert {one.site: one.error for one in exchange.answers if one.error} == {"south": "node is not there"}


def test_a_site_that_was_lost_in_one_round_is_back_in_the_next_and_another_is_lost():
    settings = federation()
    grid = Grid(settings, {22: Stage.COLLECT_MASKED_VECTORS})
    assert ask(grid, settings).summed.sites == ("east", "south", "west")
    grid.gone, grid.lost = set(), {33: Stage.COLLECT_MASKED_VECTORS}
    exchange = ask(grid, settings, number=2)
    assert exchange.summed.sites == ("east", "north", "west")
    np.testing.assert_allclose(
        exchange.summed.total, expected(["east", "north", "west"], settings), atol=1e-5
    )


def test_two_of_four_are_too_few_to_open_the_sum():
    settings = federation()
    exchange = ask(Grid(settings, {11: Stage.UNMASK, 33: Stage.UNMASK}), settings)
    assert exchange.summed is None


def test_a_sum_that_was_not_opened_fails_the_round(tmp_path):
    settings = federation()
    rounds = Rounds(tmp_path)
    rounds.begin(Layout.of({"w": np.zeros(SIZE, np.float32)}), np.zeros(SIZE, np.float32))
    grid = Grid(settings, {11: Stage.UNMASK, 33: Stage.UNMASK})
    with pytest.raises(RoundFailed, match="too few sites lasted to the end. east: node is not there"):
        run_rounds(
            rounds, settings, sorted(NODES.values()),
            lambda vector, request: secure.ask_for_sum(grid, context(), NODES, settings, vector, request),
        )  # fmt: skip
    assert rounds.last()[0] == 0


def _longer(records):
    records[Key.MASKED_PARAMETERS] = [
        ndarray_to_bytes(np.zeros(SIZE + 5, np.int64) if one.size == SIZE else one)
        for one in map(bytes_to_ndarray, records[Key.MASKED_PARAMETERS])
    ]


@pytest.mark.parametrize(
    ("stage", "spoil"),
    [
        (Stage.SETUP, lambda records: records.clear()),
        (Stage.SHARE_KEYS, lambda records: records.clear()),
        (Stage.COLLECT_MASKED_VECTORS, _longer),
        (
            Stage.COLLECT_MASKED_VECTORS,
            lambda records: records.update({Key.MASKED_PARAMETERS: [b"no array"]}),
        ),
        (Stage.COLLECT_MASKED_VECTORS, lambda records: records.update({Key.MASKED_PARAMETERS: []})),
        (
            Stage.UNMASK,
            lambda records: records.update({Key.SHARE_LIST: [b"x"] * len(records[Key.SHARE_LIST])}),
        ),
        (
            Stage.UNMASK,
            lambda records: records.update({Key.NODE_ID_LIST: [7] * len(records[Key.SHARE_LIST])}),
        ),
    ],
)
def test_an_answer_of_no_form_fails_the_round_in_words(tmp_path, stage, spoil):
    """Flower's workflow adds up what comes, and raised whatever came of that in the middle of the server."""
    settings = federation()

    class Hostile(Grid):
        def send_and_receive(self, messages, *, timeout=None):
            replies = super().send_and_receive(messages, timeout=timeout)
            if self.received[-1][0] == stage:
                spoil(replies[1].content.config_records[RECORD_KEY_CONFIGS])
            return replies

    rounds = Rounds(tmp_path)
    rounds.begin(Layout.of({"w": np.zeros(SIZE, np.float32)}), np.zeros(SIZE, np.float32))
    with pytest.raises(
        RoundFailed, match="Round 1: 0 sites gave .* (The sum was not opened|The sum of 4 updates)"
    ):
        run_rounds(
            rounds, settings, sorted(NODES.values()),
            lambda vector, request: secure.ask_for_sum(Hostile(settings), context(), NODES, settings, vector, request),
        )  # fmt: skip
    assert rounds.last()[0] == 0


def test_two_sites_are_not_asked():
    settings = federation()
    grid = Grid(settings)
    exchange = ask(grid, settings, {11: "east", 22: "north"})
    assert exchange.summed is None
    assert grid.received == []


def test_a_round_of_sums_is_recorded_and_averaged(tmp_path):
    settings = federation()
    rounds = Rounds(tmp_path)
    rounds.begin(Layout.of({"w": np.zeros(SIZE, np.float32)}), np.zeros(SIZE, np.float32))
    grid = Grid(settings, {33: Stage.COLLECT_MASKED_VECTORS})
    run_rounds(
        rounds, settings, sorted(NODES.values()),
        lambda vector, request: secure.ask_for_sum(grid, context(), NODES, settings, vector, request),
    )  # fmt: skip
    [record] = rounds.records()
    assert record["answered"] == ["east", "north", "west"]
    assert record["refused"] == {"south": "node is not there"}
    assert record["received_bytes"] > 3 * 8 * SIZE
    np.testing.assert_allclose(rounds.last()[1], expected(record["answered"], settings) / 3, atol=1e-5)


def test_the_ledger_counts_the_sum_over_all_registered_sites(tmp_path):
    pytest.importorskip("dp_accounting")
    privacy = {"noise_multiplier": 1e-6, "delta": 1e-3, "epsilon_max": 1e15}
    settings = federation(privacy=privacy)
    rounds = Rounds(tmp_path)
    rounds.begin(Layout.of({"w": np.zeros(SIZE, np.float32)}), np.zeros(SIZE, np.float32))
    from robolearn.fleet import privacy as ledger

    ledger_epsilon, ledger.epsilon = ledger.epsilon, lambda noise, count, delta: float(count)
    try:
        grid = Grid(settings, {33: Stage.SHARE_KEYS})
        run_rounds(
            rounds, settings, sorted(NODES.values()),
            lambda vector, request: secure.ask_for_sum(grid, context(), NODES, settings, vector, request),
        )  # fmt: skip
    finally:
        ledger.epsilon = ledger_epsilon
    np.testing.assert_allclose(rounds.last()[1], expected(["east", "north", "west"], settings) / 4, atol=2e-5)
    assert json.loads((tmp_path / "privacy.json").read_text())["rounds"] == 1


def test_a_site_that_does_not_clip_fails_the_round_and_is_not_named(tmp_path):
    settings = federation()
    rounds = Rounds(tmp_path)
    rounds.begin(Layout.of({"w": np.zeros(SIZE, np.float32)}), np.zeros(SIZE, np.float32))
    grid = Grid(settings)
    grid.train = lambda node: lambda vector, request: np.full(SIZE, 1.0, np.float32)
    with pytest.raises(RoundFailed, match="has norm 80, at most 4 if every site clips its own"):
        run_rounds(
            rounds, settings, sorted(NODES.values()),
            lambda vector, request: secure.ask_for_sum(grid, context(), NODES, settings, vector, request),
        )  # fmt: skip
    assert rounds.last()[0] == 0


def test_an_update_of_nan_is_not_sent():
    settings = federation()
    grid = Grid(settings, updates=UPDATES | {"west": np.full(SIZE, np.nan, np.float32)})
    with pytest.raises(SiteRefuses, match="own update is not finite"):
        ask(grid, settings)


@pytest.mark.parametrize(
    ("stage", "changes", "why"),
    [
        (Stage.SETUP, {Key.THRESHOLD: 2}, "threshold 2, agreed 3"),
        (Stage.SETUP, {Key.CLIPPING_RANGE: 8.0}, "clipping_range 8.0, agreed 1.0"),
        (
            Stage.SETUP,
            {Key.SAMPLE_NUMBER: 2, Key.SHARE_NUMBER: 2, Key.THRESHOLD: 2},
            "sample_num 2, agreed 3",
        ),
        (Stage.UNMASK, {Key.DEAD_NODE_ID_LIST: [33]}, "both secrets of one site"),
    ],
)
def test_a_server_that_departs_from_the_protocol_is_refused(stage, changes, why):
    def tamper(message):
        if message.content[RECORD_KEY_CONFIGS][Key.STAGE] == stage:
            for key, value in changes.items():
                message.content[RECORD_KEY_CONFIGS][key] = value

    settings = federation()
    with pytest.raises(SiteRefuses, match=why):
        ask(Grid(settings, tamper=tamper), settings)


def test_a_plain_request_is_refused():
    message = Message(
        RecordDict({"request": ConfigRecord({"round": 1})}), dst_node_id=11, message_type="train"
    )
    with pytest.raises(SiteRefuses, match="asks for an update without masks"):
        secure.answer(message, context(), federation(), lambda vector, request: vector)


def test_masks_depend_on_every_bit_of_the_seed_at_both_ends():
    import importlib

    shape = [(), (1000,), (20, 50)]
    folded = bytes(32), b"abcd" * 2 + bytes(24)  # the same 32 bits, if the words are joined by exclusive or
    secure.use_own_masks()
    for name in secure._MASKED_BY:
        draw = importlib.import_module(name).pseudo_rand_gen
        one, again, other = (draw(seed, 2**32, shape) for seed in (folded[0], folded[0], folded[1]))
        assert [numbers.shape for numbers in one] == shape
        assert all(np.array_equal(x, y) for x, y in zip(one, again, strict=True))
        assert (one[1] == other[1]).mean() < 0.01
        assert not np.array_equal(one[1], one[2].ravel())
        assert abs(one[1].mean() / 2**32 - 0.5) < 0.05


@pytest.mark.parametrize("changes", [{"clip_norm": None}, {"rule": "median"}])
def test_settings_that_the_server_could_not_keep_are_refused(changes):
    with pytest.raises(ValueError, match="secure_aggregation needs clip_norm and the rule 'mean'"):
        federation(**changes)


class PlainGrid:
    """Two sites that answer with a step of 1, and one that is gone."""

    def get_node_ids(self):
        return [11, 22, 33]

    def send_and_receive(self, messages, *, timeout=None):
        for message in numbered(messages):
            if message.metadata.dst_node_id == 33:
                yield gone(message)
            else:
                yield Message(content(UPDATE, np.ones(SIZE, np.float32)), reply_to=message)


def test_without_masks_too_a_node_that_is_gone_is_named_and_stops_nobody():
    settings = federation(secure_aggregation=False)
    ask_plain = server._asking(PlainGrid(), context(), NODES, settings)
    exchange = ask_plain(np.zeros(SIZE, np.float32), Request(1, 0, 4, "layout", settings.digest))
    accepted, refused = checked(exchange.answers, SIZE, settings.norm_max)
    assert sorted(accepted) == ["east", "north"]
    assert refused == {"south": "node is not there"}
    assert exchange.missing == ["west"]

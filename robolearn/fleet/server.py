"""The coordinator's end, in Flower's ServerApp: carries the rounds' messages, records the outcome. Needs flwr."""

# pyright: reportMissingImports=false
from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from flwr.app import Context, Message, MessageType
from flwr.serverapp import Grid, ServerApp

from robolearn.errors import RobolearnError
from robolearn.files.writing import replace_file
from robolearn.fleet.messages import UPDATE, VECTOR, array_in, asked_node, content, wire_bytes
from robolearn.fleet.rounds import Answer, Exchange, Request, Rounds, run_rounds
from robolearn.fleet.settings import FEDERATION_VARIABLE, NODES_FILE, Federation, Folder
from robolearn.fleet.vector import Vector

OUTCOME_FILE = "outcome.json"

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds that are missing; outcome.json says how it ended."""
    folder = Folder(os.environ[FEDERATION_VARIABLE])
    nodes = {int(node): name for node, name in json.loads((folder / NODES_FILE).read_text()).items()}
    outcome: dict[str, Any] = {"run": str(context.run_id), "outcome": "failed", "error": "stopped"}
    try:
        federation = folder.federation()
        ask = (_asking_secure if federation.secure_aggregation else _asking)(grid, context, nodes, federation)
        run_rounds(Rounds(folder.path), federation, sorted(nodes.values()), ask)
        outcome |= {"outcome": "done", "error": ""}
    except RobolearnError as error:
        outcome["error"] = str(error)
    finally:
        replace_file(folder / OUTCOME_FILE, json.dumps(outcome) + "\n")


def _asking_secure(grid: Grid, context: Context, nodes: Mapping[int, str], federation: Federation) -> Any:
    from robolearn.fleet.secure import ask_for_sum

    def ask(vector: Vector, request: Request) -> Exchange:
        online = {node: nodes[node] for node in grid.get_node_ids() if node in nodes}
        exchange = ask_for_sum(grid, context, online, federation, vector, request)
        there = set(exchange.summed.sites) if exchange.summed is not None else set()
        told = {answer.site for answer in exchange.answers if answer.error}
        exchange.missing = sorted(set(nodes.values()) - there - told)
        return exchange

    return ask


def _asking(grid: Grid, _: Context, nodes: Mapping[int, str], federation: Federation) -> Any:
    def ask(vector: Vector, request: Request) -> Exchange:
        online = sorted(node for node in grid.get_node_ids() if node in nodes)
        messages = [
            Message(
                content=content(VECTOR, vector, request),
                dst_node_id=node,
                message_type=MessageType.TRAIN,
                group_id=str(request.round),
            )
            for node in online
        ]
        sent = sum(len(wire_bytes(message)) for message in messages)
        answers = [
            _answer(nodes[asked_node(reply, messages)], reply)
            for reply in grid.send_and_receive(messages, timeout=federation.round_timeout_s)
        ]
        missing = set(nodes.values()) - {answer.site for answer in answers}
        return Exchange(answers, sent, sorted(missing))

    return ask


def _answer(site: str, reply: Message) -> Answer:
    """What a site answered; what is no update is an error with its reason."""
    size = len(wire_bytes(reply))
    if reply.has_error():
        return Answer(site, None, str(reply.error.reason), size)
    try:
        return Answer(site, array_in(reply, UPDATE), "", size)
    except (RobolearnError, ValueError, TypeError) as error:
        return Answer(site, None, str(error), size)

"""Who publishes what the monitor reads, by the graph: a second one is named, and a reason to stop."""

from types import SimpleNamespace

import pytest
from robolearn_ros.publishers import PublisherWatch

pytestmark = pytest.mark.ros

COMMANDS, PERSON = "/controller/commands", "/person"


class Graph:
    """A node that looks at a graph which is a dict."""

    def __init__(self, **publishers):
        self.publishers = {COMMANDS: ["safety_node"], PERSON: ["sensor"], **publishers}
        self.listeners = 1

    def get_name(self):
        return "safety_node"

    def get_publishers_info_by_topic(self, topic):
        return [SimpleNamespace(node_name=name) for name in self.publishers[topic]]

    def count_subscribers(self, topic):
        return self.listeners


def watch(graph, exclusive=True):
    made = PublisherWatch(graph, COMMANDS, {"person": PERSON}, exclusive=exclusive)
    made.look()
    return made


def test_one_publisher_each_is_as_it_should_be():
    seen = watch(Graph())
    assert seen.findings == {"controller": "", "person": ""}
    assert (seen.stops, seen.deaf) == ("", "")


@pytest.mark.parametrize("exclusive", [True, False])
def test_another_one_on_the_controllers_topic_always_stops(exclusive):
    graph = Graph()
    graph.publishers[COMMANDS] = ["safety_node", "stranger"]
    assert watch(graph, exclusive).stops == (
        f"1 other publisher(s) on {COMMANDS}: this monitor is not the only source of commands (stranger)"
    )


def test_a_stranger_of_the_same_name_counts_too():
    graph = Graph()
    graph.publishers[COMMANDS] = ["safety_node", "safety_node"]
    assert "1 other publisher(s)" in watch(graph).stops


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_second_publisher_of_an_input_stops_where_there_may_be_one_only(exclusive):
    graph = Graph()
    graph.publishers[PERSON] = ["sensor", "another"]
    seen = watch(graph, exclusive)
    text = f"2 publishers on {PERSON}, expected one (another, sensor)"
    assert seen.findings["person"] == text
    assert seen.stops == (text if exclusive else "")
    graph.publishers[PERSON] = ["sensor"]
    seen.look()
    assert seen.stops == ""


def test_whoever_floods_the_graph_does_not_flood_the_text():
    graph = Graph()
    graph.publishers[PERSON] = [f"n{i}" for i in range(300)]
    assert (
        watch(graph).stops
        == f"300 publishers on {PERSON}, expected one (n0, n1, n10, n100, n101 and 295 more)"
    )


def test_without_a_listener_the_controller_is_missed():
    graph = Graph()
    graph.listeners = 0
    assert watch(graph).deaf == f"no subscriber on {COMMANDS}: is the controller active?"

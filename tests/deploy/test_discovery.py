"""With whom the nodes speak: this machine only, unless a deployment names hosts and the interface to them."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from robolearn.config import config_dir
from robolearn.deploy import discovery
from robolearn.deploy.discovery import describe, discovery_environment, not_followed
from robolearn.errors import ConfigError

THIS_MACHINE = str(config_dir() / "ros2" / "this_machine.xml")
PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"


@pytest.fixture(autouse=True)
def computer(tmp_path, monkeypatch):
    """A computer with two networks and nothing about ROS 2 in its environment."""
    monkeypatch.setenv("ROBOLEARN_HOME", str(tmp_path))
    names = (discovery.RANGE, discovery.RMW, *discovery._PROFILE_VARIABLES, *discovery._WOULD_WIDEN)
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(
        discovery, "_interfaces", lambda: {"lo": ["127.0.0.1"], "eno1": ["10.0.0.5"], "wlan0": ["10.1.0.5"]}
    )


def texts(environment, name):
    root = ElementTree.parse(environment[PROFILE]).getroot()
    return [part.text for part in root.findall(f".//{{*}}{name}//{{*}}address")]


def test_the_default_binds_every_socket_to_the_loopback_address():
    environment = discovery_environment()
    assert environment == {
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT", "SKIP_DEFAULT_XML_FILE": "1",
        "FASTRTPS_DEFAULT_PROFILES_FILE": THIS_MACHINE, "FASTDDS_DEFAULT_PROFILES_FILE": THIS_MACHINE,
    }  # fmt: skip
    assert texts(environment, "interfaceWhiteList") == ["127.0.0.1"]
    assert texts(environment, "initialPeersList") == ["127.0.0.1"]
    root = ElementTree.parse(THIS_MACHINE).getroot()
    assert root.find(".//{*}useBuiltinTransports").text == "false"
    assert [t.text for t in root.findall(".//{*}transport_descriptor/{*}type")] == ["UDPv4"]


@pytest.mark.parametrize("interface", ["eno1", "10.0.0.5"])
def test_stated_hosts_are_reached_through_the_named_interface_only(interface):
    environment = discovery_environment("LOCALHOST", ["10.0.0.7", "127.0.0.3"], interface)
    assert texts(environment, "interfaceWhiteList") == ["127.0.0.1", "10.0.0.5"]
    assert texts(environment, "initialPeersList") == ["127.0.0.1", "10.0.0.7", "127.0.0.3"]
    assert (
        environment[PROFILE] == discovery_environment("LOCALHOST", ["10.0.0.7", "127.0.0.3"], "eno1")[PROFILE]
    )
    root = ElementTree.parse(environment[PROFILE]).getroot()
    assert root.find(".//{*}metatrafficUnicastLocatorList") is not None  # no multicast


def test_a_subnet_is_reached_by_multicast_on_the_named_interface_only():
    environment = discovery_environment("SUBNET", [], "eno1")
    assert texts(environment, "interfaceWhiteList") == ["127.0.0.1", "10.0.0.5"]
    root = ElementTree.parse(environment[PROFILE]).getroot()
    assert root.find(".//{*}metatrafficUnicastLocatorList") is None
    assert root.find(".//{*}initialPeersList") is None
    assert discovery_environment("SUBNET", [], "all") == {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}


@pytest.mark.parametrize(("given", "message"), [
    (("LOCALHOST", ["10.0.0.7"], ""), r"set, but interface is not. Set `interface` to one of: eno1 \(10"),
    (("LOCALHOST", ["10.0.0.7"], "all"), "static_peers is set, but interface is not"),
    (("LOCALHOST", [], "eno1"), "so it would not be used"),
    (("LOCALHOST", ["10.0.0.7"], "eno2"), "no network interface 'eno2' with an IPv4 address. It has: eno1"),
    (("LOCALHOST", ["not a host"], "eno1"), "'not a host' is neither an IPv4 address nor a host"),
    (("SUBNET", [], ""), "interface is not set. .* or to `all`, which allows every network of this computer"),
    (("SUBNET", ["10.0.0.7"], "eno1"), "static_peers belong to discovery_range LOCALHOST"),
    (("SYSTEM_DEFAULT", [], "eno1"), "remove interface"),
])  # fmt: skip
def test_nothing_is_widened_by_half_a_statement(given, message):
    with pytest.raises(ConfigError, match=message):
        discovery_environment(*given)


def test_the_environment_widens_nothing_and_what_is_not_followed_is_told(monkeypatch):
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    monkeypatch.setenv("ROS_STATIC_PEERS", "10.9.9.9")
    monkeypatch.setenv(PROFILE, "/mine.xml")
    environment = discovery_environment()
    assert environment[PROFILE] == THIS_MACHINE
    assert environment["ROS_STATIC_PEERS"] == ""
    assert not_followed(environment) == [
        "ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET", f"{PROFILE}=/mine.xml", "ROS_STATIC_PEERS=10.9.9.9",
    ]  # fmt: skip
    assert discovery_environment("SYSTEM_DEFAULT") == {}  # stated: the environment decides


def test_another_middleware_gets_what_ros_2_itself_offers(monkeypatch):
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    assert discovery_environment() == {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    assert discovery_environment("LOCALHOST", ["10.0.0.7", "10.0.0.8"], "eno1") == {
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_STATIC_PEERS": "10.0.0.7;10.0.0.8",
    }  # fmt: skip


@pytest.mark.parametrize(("given", "said"), [
    (("LOCALHOST", [], ""), "this machine only"),
    (("LOCALHOST", ["10.0.0.7"], "eno1"), "this machine, and 10.0.0.7 through eno1"),
    (("SUBNET", [], "eno1"), "every host that is reached through eno1"),
    (("SUBNET", [], "all"), "every host that is reached through all interfaces"),
    (("SYSTEM_DEFAULT", [], ""), "as the environment and your own middleware profile allow"),
])  # fmt: skip
def test_it_is_told_with_whom_the_nodes_speak(given, said):
    assert describe(*given).removesuffix(" (discovery_range SYSTEM_DEFAULT)") == said


def test_a_profile_that_somebody_changed_is_written_again():
    first = discovery_environment("LOCALHOST", ["10.0.0.7"], "eno1")[PROFILE]
    before = Path(first).read_text()
    Path(first).write_text(before + "<!-- changed -->")
    again = discovery_environment("LOCALHOST", ["10.0.0.7"], "eno1")[PROFILE]
    assert again == first
    assert Path(first).read_text() == before

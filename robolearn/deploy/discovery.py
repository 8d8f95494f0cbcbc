"""Which machines and interfaces the ROS 2 nodes of a deployment speak with: this machine only, unless it says more.

| discovery_range | static_peers | interface | the nodes speak with |
|---|---|---|---|
| LOCALHOST | | | this machine, on the loopback address |
| LOCALHOST | hosts | one interface | this machine and these hosts, on this interface |
| SUBNET | | one interface, or `all` | every host that this interface, or any, reaches by multicast |
| SYSTEM_DEFAULT | | | as the environment and the user's own profile allow |

For Fast DDS this is a profile with the addresses that sockets are bound to. `ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST`
alone would leave sockets open on every interface. Another middleware gets ROS 2's own variables, and no more.
"""

from __future__ import annotations

import hashlib
import os
import socket
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import psutil

from robolearn import keys
from robolearn.config import config_dir
from robolearn.errors import ConfigError
from robolearn.files.writing import replace_file

Range = Literal["LOCALHOST", "SUBNET", "SYSTEM_DEFAULT"]
RANGE, PEERS, RMW = "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_STATIC_PEERS", "RMW_IMPLEMENTATION"
FAST_DDS = "rmw_fastrtps_cpp"
ALL_INTERFACES = "all"
LOOPBACK = "127.0.0.1"
_PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
_WOULD_WIDEN = (PEERS, "ROS_LOCALHOST_ONLY", "ROS_DISCOVERY_SERVER")
_NAMESPACE = "http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"


def discovery_environment(
    discovery_range: Range = "LOCALHOST", static_peers: Sequence[str] = (), interface: str = ""
) -> dict[str, str]:
    """Environment variables of the nodes. Writes a Fast DDS profile where the packaged one does not do.

    static_peers: addresses or names of hosts.  interface: name or IPv4 address of one of this machine.
    Raises ConfigError for an interface or a host that there is not, or keys that contradict each other.
    """
    _check_together(discovery_range, static_peers, interface)
    if discovery_range == "SYSTEM_DEFAULT":
        return {}
    peers = [_resolved(peer) for peer in static_peers]
    addresses = [] if interface in ("", ALL_INTERFACES) else _addresses_of(interface)
    unset = {name: "" for name in _WOULD_WIDEN if name in os.environ}
    if os.environ.get(RMW, FAST_DDS) != FAST_DDS or interface == ALL_INTERFACES:
        stated = {PEERS: ";".join(peers)} if peers else {}
        return {**unset, RANGE: discovery_range, **stated}
    profile = (
        _written(_profile(peers, addresses, multicast=discovery_range == "SUBNET"))
        if addresses
        else config_dir() / "ros2" / "this_machine.xml"
    )
    return {
        **unset,
        RANGE: "SYSTEM_DEFAULT",  # the profile decides; with any other value rmw_fastrtps adds transports of its own
        **dict.fromkeys(_PROFILE_VARIABLES, str(profile)),
        "SKIP_DEFAULT_XML_FILE": "1",  # no profile that happens to lie in the working directory
    }


def describe(discovery_range: Range, static_peers: Sequence[str], interface: str) -> str:
    """One line for a person: with whom the nodes speak."""
    if discovery_range == "SYSTEM_DEFAULT":
        return "as the environment and your own middleware profile allow (discovery_range SYSTEM_DEFAULT)"
    if discovery_range == "SUBNET":
        return f"every host that is reached through {interface}" + (
            "" if interface != ALL_INTERFACES else " interfaces"
        )
    if not static_peers:
        return "this machine only"
    return f"this machine, and {', '.join(static_peers)} through {interface}"


def not_followed(changes: Mapping[str, str]) -> list[str]:
    """Variables of this process's environment that changes override, as `NAME=value`; only discovery is looked at."""
    names = (RANGE, *_PROFILE_VARIABLES, *_WOULD_WIDEN)
    return [
        f"{name}={os.environ[name]}"
        for name in names
        if name in changes and os.environ.get(name, changes[name]) != changes[name]
    ]


def _check_together(discovery_range: Range, static_peers: Sequence[str], interface: str) -> None:
    if discovery_range == "LOCALHOST" and static_peers and interface in ("", ALL_INTERFACES):
        raise ConfigError(
            f"static_peers is set, but interface is not. Set `interface` to one of: {_known_interfaces()}."
        )
    if discovery_range == "LOCALHOST" and interface and not static_peers:
        raise ConfigError(
            f"interface is '{interface}', but discovery_range is LOCALHOST and static_peers is empty, "
            "so it would not be used. Set static_peers, or remove interface."
        )
    if discovery_range == "SUBNET" and not interface:
        raise ConfigError(
            "discovery_range is SUBNET, but interface is not set. Set `interface` to one of: "
            f"{_known_interfaces()}; or to `{ALL_INTERFACES}`, which allows every network of this computer."
        )
    if discovery_range != "LOCALHOST" and static_peers:
        raise ConfigError(
            f"static_peers belong to discovery_range LOCALHOST, but it is {discovery_range}. Remove one of them."
        )
    if discovery_range == "SYSTEM_DEFAULT" and interface:
        raise ConfigError("discovery_range SYSTEM_DEFAULT follows the environment: remove interface.")


def _interfaces() -> dict[str, list[str]]:
    """IPv4 addresses by interface name."""
    found = {
        name: [address.address for address in addresses if address.family == socket.AF_INET]
        for name, addresses in psutil.net_if_addrs().items()
    }
    return {name: addresses for name, addresses in found.items() if addresses}


def _known_interfaces() -> str:
    return ", ".join(f"{name} ({', '.join(addresses)})" for name, addresses in sorted(_interfaces().items()))


def _addresses_of(interface: str) -> list[str]:
    known = _interfaces()
    for name, addresses in known.items():
        if interface == name:
            return addresses
        if interface in addresses:
            return [interface]
    raise ConfigError(
        f"This computer has no network interface '{interface}' with an IPv4 address. It has: {_known_interfaces()}."
    )


def _resolved(peer: str) -> str:
    try:
        return socket.gethostbyname(peer)
    except (OSError, UnicodeError):
        raise ConfigError(
            f"static_peers: '{peer}' is neither an IPv4 address nor a host name that this computer can resolve."
        ) from None


def _profile(peers: Sequence[str], addresses: Sequence[str], *, multicast: bool) -> bytes:
    """The packaged profile with more addresses and peers."""
    ElementTree.register_namespace("", _NAMESPACE)
    root = ElementTree.parse(config_dir() / "ros2" / "this_machine.xml").getroot()
    allowed = _part(root, "interfaceWhiteList")
    for address in addresses:
        if address != LOOPBACK:
            ElementTree.SubElement(allowed, _tag("address")).text = address
    initial = _part(root, "initialPeersList")
    for peer in peers:
        udp = ElementTree.SubElement(ElementTree.SubElement(initial, _tag("locator")), _tag("udpv4"))
        ElementTree.SubElement(udp, _tag("address")).text = peer
    if multicast:
        builtin = _part(root, "builtin")
        for name in ("metatrafficUnicastLocatorList", "initialPeersList"):
            builtin.remove(_part(root, name))
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _part(root: ElementTree.Element, name: str) -> ElementTree.Element:
    found = root.find(f".//{_tag(name)}")
    assert found is not None, name
    return found


def _tag(name: str) -> str:
    return f"{{{_NAMESPACE}}}{name}"


def _written(profile: bytes) -> Path:
    """The file with a profile, named by its content."""
    folder = keys.key_directory().parent / "ros2"
    file = folder / f"{hashlib.sha256(profile).hexdigest()[:16]}.xml"
    try:
        if not file.is_file() or file.read_bytes() != profile:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_file(file, profile)
    except OSError as error:
        raise ConfigError(f"Cannot write the Fast DDS profile {file}: {error.strerror}.") from error
    return file

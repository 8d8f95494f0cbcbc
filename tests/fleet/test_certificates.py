"""Certificates and keys of a federation, checked with OpenSSL's own verification through Python's ssl."""

import socket
import ssl
import stat
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from robolearn.errors import ConfigError
from robolearn.fleet.certificates import make_authority, make_node_key, make_server_certificate


def handshake(server_folder, ca, name):
    """Connect over TLS as a site does; raises ssl.SSLCertVerificationError."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(server_folder / "server.crt", server_folder / "server.key")
    asking = ssl.create_default_context(cafile=str(ca))
    left, right = socket.socketpair()

    def serve():
        try:
            serving.wrap_socket(left, server_side=True).close()
        except (ssl.SSLError, OSError):
            left.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with asking.wrap_socket(right, server_hostname=name) as connected:
            return connected.version()
    finally:
        right.close()
        thread.join()


@pytest.fixture
def made(tmp_path):
    make_authority(tmp_path, "test")
    make_server_certificate(tmp_path, "factory.example")
    return tmp_path


@pytest.mark.parametrize("name", ["factory.example", "localhost", "127.0.0.1"])
def test_a_site_trusts_the_server_by_its_names(made, name):
    assert handshake(made, made / "ca.crt", name) == "TLSv1.3"


def test_another_name_or_another_authority_is_not_trusted(made, tmp_path_factory):
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(made, made / "ca.crt", "other.example")
    other = tmp_path_factory.mktemp("other")
    make_authority(other, "test")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(made, other / "ca.crt", "localhost")


def test_private_halves_are_for_their_owner_alone(made):
    make_node_key(made, "north")
    for name in ("ca.key", "server.key", "node.key"):
        assert stat.S_IMODE((made / name).stat().st_mode) == 0o600


def test_a_nodes_key_is_a_p384_key_in_openssh_form(made):
    public = load_ssh_public_key(make_node_key(made, "north").read_bytes())
    private = load_ssh_private_key((made / "node.key").read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert private.curve.name == "secp384r1"
    assert private.public_key() == public


def test_a_nodes_key_is_not_replaced(made):
    make_node_key(made, "north")
    with pytest.raises(ConfigError, match=r"node\.key exists already"):
        make_node_key(made, "north")

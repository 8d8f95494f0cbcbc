"""Keys of a federation: an authority and the server's certificate for TLS, and one key for each site's node.

All are elliptic-curve keys on P-384, as the engine asks of node keys. Private halves are files of mode 0600.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from robolearn.errors import ConfigError
from robolearn.files.writing import replace_file

DAYS = 365
_EARLIER = timedelta(hours=1)  # a clock that is a little late still takes the certificate


def make_authority(folder: Path, name: str, days: int = DAYS) -> None:
    """ca.crt and ca.key: signs the server's certificate, and nothing else is trusted by the sites."""
    key = ec.generate_private_key(ec.SECP384R1())
    subject = _named(f"robolearn federation {name}")
    certificate = (
        _builder(subject, subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA384())
    )
    _write_private(folder / "ca.key", key, serialization.PrivateFormat.PKCS8)
    replace_file(folder / "ca.crt", certificate.public_bytes(serialization.Encoding.PEM))


def make_server_certificate(folder: Path, host: str, days: int = DAYS) -> None:
    """server.crt and server.key for a host name or address (and for localhost), signed by the folder's authority."""
    authority = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    signer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP384R1())
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    try:
        names.append(x509.IPAddress(ipaddress.ip_address(host)))
    except ValueError:
        names.append(x509.DNSName(host))
    distinct = list(dict.fromkeys(names))
    certificate = (
        _builder(_named(host), authority.subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(distinct), critical=False)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA384())
    )
    _write_private(folder / "server.key", key, serialization.PrivateFormat.PKCS8)
    replace_file(folder / "server.crt", certificate.public_bytes(serialization.Encoding.PEM))


def make_node_key(folder: Path, name: str) -> Path:
    """node.key and node.pub of a site, in OpenSSH's form; the public file, which the coordinator is given.

    Raises ConfigError where there is a key already: the coordinator knows that one.
    """
    private, public = folder / "node.key", folder / "node.pub"
    if private.exists():
        raise ConfigError(
            f"{private} exists already. Remove it, and give the coordinator the new {public.name}."
        )
    key = ec.generate_private_key(ec.SECP384R1())
    _write_private(private, key, serialization.PrivateFormat.OpenSSH)
    text = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    replace_file(public, text + f" {name}\n".encode())
    return public


def _write_private(path: Path, key: ec.EllipticCurvePrivateKey, form: serialization.PrivateFormat) -> None:
    data = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    replace_file(path, data, mode=0o600)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip

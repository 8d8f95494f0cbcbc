"""An SROS 2 keystore: a certificate authority, one enclave with key and signed permissions per process, governance.

The layout is that of `ros2 security`, which can read and extend it:

    public/    ca.cert.pem, identity_ca.cert.pem, permissions_ca.cert.pem
    private/   ca.key.pem (keep it off the robot), identity_ca.key.pem, permissions_ca.key.pem
    enclaves/  governance.xml, governance.p7s, and per enclave cert.pem, key.pem, permissions.xml, permissions.p7s
               and copies of the two CA certificates and of the governance

Formats: DDS Security 1.1 (OMG formal/18-04-01), 9.3 identities, 9.4.1 permissions CA, governance and permissions.
"""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from robolearn.errors import ConfigError

CA_NAME = "robolearn cell CA"
DAYS = 730  # long enough for a cell, short enough that a forgotten key ends; doctor says when it is near
SOON = timedelta(days=30)
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_SCHEMAS = "http://www.omg.org/spec/DDS-SECURITY/20170901"
_CA_CERTIFICATES = ("identity_ca.cert.pem", "permissions_ca.cert.pem")
ENCLAVE_FILES = (*_CA_CERTIFICATES, "governance.p7s", "cert.pem", "key.pem", "permissions.p7s")
_GOVERNANCE = (
    ("allow_unauthenticated_participants", "false"),
    ("enable_join_access_control", "true"),
    ("discovery_protection_kind", "ENCRYPT"),
    ("liveliness_protection_kind", "ENCRYPT"),
    ("rtps_protection_kind", "SIGN"),
)
_TOPIC_RULE = (
    ("topic_expression", "*"),
    ("enable_discovery_protection", "true"),
    ("enable_liveliness_protection", "true"),
    ("enable_read_access_control", "true"),
    ("enable_write_access_control", "true"),
    ("metadata_protection_kind", "ENCRYPT"),
    ("data_protection_kind", "ENCRYPT"),
)


@dataclass(frozen=True)
class Rights:
    """What one enclave may do. Topics and services by full ROS name; `*` stands for any text.

    denied, denied_services: topics on which it may not publish, and services that it may neither call nor answer,
        whatever else is allowed.
    """

    enclave: str
    meaning: str
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    serve: tuple[str, ...] = ()
    call: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    denied_services: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The enclave's last part: for the nodes of robolearn, the node's name."""
        return self.enclave.rpartition("/")[2]


def create_keystore(
    folder: str | Path, rights: Iterable[Rights], domain_id: int, *, days: int = DAYS, renew: bool = False
) -> Path:
    """Make a keystore in a new or empty folder; with renew, issue every enclave of an existing one anew.

    domain_id: ROS_DOMAIN_ID of the cell, the only domain in which these keys count.
    Raises ConfigError where the folder is not as it should be, or cannot be written.
    """
    root = Path(folder)
    if not 0 <= domain_id <= 232:
        raise ConfigError(f"The domain id is {domain_id}, expected 0 to 232.")
    try:
        if renew:
            certificate, key = _load_authority(root)
        else:
            if root.exists() and any(root.iterdir()):
                raise ConfigError(
                    f"{root} is not empty. Choose a new folder, or add --renew to reissue its keys."
                )
            certificate, key = _create_authority(root, days)
        enclaves = root / "enclaves"
        governance = _governance(domain_id)
        _write(enclaves / "governance.xml", governance)
        signed = _signed(governance, certificate, key)
        _write(enclaves / "governance.p7s", signed)
        for one in rights:
            _create_enclave(root, one, domain_id, signed, certificate, key, days)
    except OSError as error:
        raise ConfigError(
            f"Cannot write the keystore {root}: {error.strerror} ({error.filename})."
        ) from error
    return root


def check_keystore(folder: str | Path, names: Sequence[str], now: datetime | None = None) -> list[str]:
    """What is wrong with the enclaves of these nodes; empty where nothing is.

    Looks at files, modes, names, dates, and whether key, certificate and authority belong together. The signatures of
    permissions and governance are checked by the middleware when a node starts.
    """
    now = now or datetime.now(UTC)
    root = Path(folder)
    if not (root / "enclaves").is_dir():
        return [
            f"{root} is not a keystore: it has no folder `enclaves`. Make one with `robolearn security init`"
        ]
    problems: list[str] = []
    for name in names:
        enclave = root / "enclaves" / "robolearn" / name
        missing = [file for file in ENCLAVE_FILES if not (enclave / file).is_file()]
        if missing:
            problems.append(f"enclave /robolearn/{name} lacks {', '.join(missing)}")
            continue
        problems += [f"enclave /robolearn/{name}: {problem}" for problem in _problems(enclave, name, now)]
    return problems


def expires(folder: str | Path, name: str) -> datetime:
    """When the certificate of a node's enclave ends."""
    file = Path(folder) / "enclaves" / "robolearn" / name / "cert.pem"
    return x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc


def enclave_names(folder: str | Path) -> list[str]:
    """The enclaves of robolearn in a keystore."""
    return sorted(file.parent.name for file in (Path(folder) / "enclaves" / "robolearn").glob("*/cert.pem"))


def _problems(enclave: Path, name: str, now: datetime) -> list[str]:
    found = []
    mode = (enclave / "key.pem").stat().st_mode & 0o777
    if os.name == "posix" and mode & 0o077:
        found.append(f"key.pem is readable by other accounts (mode {mode:o}): chmod 600")
    try:
        certificate = x509.load_pem_x509_certificate((enclave / "cert.pem").read_bytes())
        authority = x509.load_pem_x509_certificate((enclave / "identity_ca.cert.pem").read_bytes())
        key = serialization.load_pem_private_key((enclave / "key.pem").read_bytes(), None)
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return [*found, "cert.pem, key.pem and identity_ca.cert.pem do not belong together"]
    if certificate.public_key() != key.public_key():
        found.append("key.pem does not belong to cert.pem")
    if certificate.subject.rfc4514_string() != f"CN=/robolearn/{name}":
        found.append(f"cert.pem is for {certificate.subject.rfc4514_string()}")
    for what, one in (("cert.pem", certificate), ("identity_ca.cert.pem", authority)):
        if not one.not_valid_before_utc <= now <= one.not_valid_after_utc:
            found.append(
                f"{what} is valid from {one.not_valid_before_utc:%Y-%m-%d} to {one.not_valid_after_utc:%Y-%m-%d} only"
            )
    return found


# -- the authority --


def _create_authority(root: Path, days: int) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, CA_NAME)])
    certificate = _certificate(name, key, name, key, days, authority=True)
    for folder in ("public", "private", "enclaves"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "private").chmod(0o700)
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    for file in ("ca.cert.pem", *_CA_CERTIFICATES):
        _write(root / "public" / file, pem)
    for file in ("ca.key.pem", "identity_ca.key.pem", "permissions_ca.key.pem"):
        _write(root / "private" / file, _private_pem(key), mode=0o600)
    return certificate, key


def _load_authority(root: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    file = root / "private" / "ca.key.pem"
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), None)
        certificate = x509.load_pem_x509_certificate((root / "public" / "ca.cert.pem").read_bytes())
    except (OSError, ValueError, TypeError):
        raise ConfigError(
            f"{root} cannot be renewed: {file} is not a readable key. Put the authority's key back for that long."
        ) from None
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return certificate, key


# -- one enclave --


def _create_enclave(
    root: Path, rights: Rights, domain_id: int, governance: bytes,
    authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey, days: int,
) -> None:  # fmt: skip
    folder = root / "enclaves" / rights.enclave.lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, rights.enclave)])
    certificate = _certificate(name, key, authority.subject, authority_key, days)
    permissions = _permissions(rights, domain_id, certificate)
    for file in _CA_CERTIFICATES:
        _write(folder / file, authority.public_bytes(serialization.Encoding.PEM))
    _write(folder / "governance.p7s", governance)
    _write(folder / "cert.pem", certificate.public_bytes(serialization.Encoding.PEM))
    _write(folder / "key.pem", _private_pem(key), mode=0o600)
    _write(folder / "permissions.xml", permissions)
    _write(folder / "permissions.p7s", _signed(permissions, authority, authority_key))


def _certificate(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, issuer_key: ec.EllipticCurvePrivateKey,
    days: int, *, authority: bool = False,
) -> x509.Certificate:  # fmt: skip
    now = datetime.now(UTC)
    basic = x509.BasicConstraints(ca=authority, path_length=1 if authority else None)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .public_key(key.public_key())
        .not_valid_before(now - timedelta(days=1))  # a robot's clock may be behind
        .not_valid_after(now + timedelta(days=days))
        .add_extension(basic, critical=authority)
    )
    return builder.sign(issuer_key, hashes.SHA256())


def _signed(content: bytes, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bytes:
    """S/MIME, multipart/signed, as DDS Security 9.4.1 asks for."""
    builder = pkcs7.PKCS7SignatureBuilder().set_data(content).add_signer(certificate, key, hashes.SHA256())
    options = [pkcs7.PKCS7Options.Text, pkcs7.PKCS7Options.DetachedSignature]
    return builder.sign(serialization.Encoding.SMIME, options)


# -- XML --


def _governance(domain_id: int) -> bytes:
    root = _document("omg_shared_ca_governance.xsd")
    rule = ElementTree.SubElement(ElementTree.SubElement(root, "domain_access_rules"), "domain_rule")
    _domains(rule, domain_id)
    _fill(rule, _GOVERNANCE)
    topics = ElementTree.SubElement(ElementTree.SubElement(rule, "topic_access_rules"), "topic_rule")
    _fill(topics, _TOPIC_RULE)
    return _text(root)


def _permissions(rights: Rights, domain_id: int, certificate: x509.Certificate) -> bytes:
    root = _document("omg_shared_ca_permissions.xsd")
    grant = ElementTree.SubElement(ElementTree.SubElement(root, "permissions"), "grant")
    grant.set("name", rights.enclave)
    ElementTree.SubElement(grant, "subject_name").text = f"CN={rights.enclave}"
    validity = ElementTree.SubElement(grant, "validity")
    for name, moment in (
        ("not_before", certificate.not_valid_before_utc),
        ("not_after", certificate.not_valid_after_utc),
    ):
        ElementTree.SubElement(validity, name).text = f"{moment:%Y-%m-%dT%H:%M:%S}"
    denied = [_topic(topic) for topic in rights.denied]
    denied += [side(service) for service in rights.denied_services for side in (_request, _reply)]
    if denied:
        _rule(grant, "deny_rule", domain_id, {"publish": denied})
    publish = ["ros_discovery_info", "rt/rosout", "rt/parameter_events"]
    subscribe = ["ros_discovery_info", "rt/parameter_events", "rt/clock"]
    publish += [_topic(topic) for topic in rights.publish]
    publish += [_reply(service) for service in rights.serve] + [_request(service) for service in rights.call]
    subscribe += [_topic(topic) for topic in rights.subscribe]
    subscribe += [_request(service) for service in rights.serve] + [
        _reply(service) for service in rights.call
    ]
    _rule(grant, "allow_rule", domain_id, {"publish": publish, "subscribe": subscribe})
    ElementTree.SubElement(grant, "default").text = "DENY"
    return _text(root)


def _topic(name: str) -> str:
    """A ROS topic as DDS knows it."""
    return "rt/*" if name == "*" else f"rt{name}"


def _request(service: str) -> str:
    return "rq/*" if service == "*" else f"rq{service}Request"


def _reply(service: str) -> str:
    return "rr/*" if service == "*" else f"rr{service}Reply"


def _rule(grant: ElementTree.Element, kind: str, domain_id: int, topics: dict[str, list[str]]) -> None:
    rule = ElementTree.SubElement(grant, kind)
    _domains(rule, domain_id)
    for action, names in topics.items():
        listed = ElementTree.SubElement(ElementTree.SubElement(rule, action), "topics")
        for name in dict.fromkeys(names):
            if not re.fullmatch(r"[\w/*.~-]+", name):
                raise ConfigError(f"'{name}' cannot stand in a permission: expected a topic's full name.")
            ElementTree.SubElement(listed, "topic").text = name


def _domains(rule: ElementTree.Element, domain_id: int) -> None:
    ElementTree.SubElement(ElementTree.SubElement(rule, "domains"), "id").text = str(domain_id)


def _fill(parent: ElementTree.Element, values: Iterable[tuple[str, str]]) -> None:
    for name, value in values:
        ElementTree.SubElement(parent, name).text = value


def _document(schema: str) -> ElementTree.Element:
    root = ElementTree.Element("dds")
    ElementTree.register_namespace("xsi", _XSI)
    root.set(f"{{{_XSI}}}noNamespaceSchemaLocation", f"{_SCHEMAS}/{schema}")
    return root


def _text(root: ElementTree.Element) -> bytes:
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


# -- files --


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(file: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file whole, and never with wider access than mode, not even for a moment."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
    partial.replace(file)

"""Settings as an operator writes them, for tests of what reads them."""

from __future__ import annotations

import base64
import datetime as dt
import functools
import json
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pomeriumd.errors import SettingsError
from pomeriumd.settings.check import check
from pomeriumd.settings.model import Settings
from pomeriumd.settings.node import Node, Scalar

COOKIE_SECRET = base64.b64encode(bytes(range(32))).decode()
SHARED_SECRET = base64.b64encode(bytes(range(32, 64))).decode()
ROUTE: dict[str, Any] = {"from": "https://wiki.example.com", "to": "http://127.0.0.1:8080"}


def pem_key(curve: ec.EllipticCurve | None = None, passphrase: bytes | None = None) -> bytes:
    """Return a new EC key."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    return ec.generate_private_key(curve or ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


@functools.cache
def pair(*names: str) -> tuple[bytes, bytes]:
    """Return a self-signed certificate for these names and addresses, and its key; PEM."""
    key = pem_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.com")])
    loaded = serialization.load_pem_private_key(key, None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    begin = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(loaded.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + dt.timedelta(days=365))
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general(name) for name in names]), critical=False
        )
    certificate = builder.sign(loaded, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM), key


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def minimal(**more: Any) -> dict[str, Any]:
    """Return the least that is good, and more; None takes a key out."""
    given = {
        "insecure_server": True,
        "cookie_secret": COOKIE_SECRET,
        "authenticate_service_url": "https://authenticate.example.com",
        "idp_provider": "google",
        "idp_client_id": "pomerium",
        "idp_client_secret": "client-secret-of-the-test",
        "state_dir": "/var/lib/pomerium",
        **more,
    }
    return {key: value for key, value in given.items() if value is not None}


def _with(given: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**given, **more}.items() if value is not None}


def inline(*names: str) -> dict[str, Any]:
    """Return a certificate of :func:`pair` as a settings file has it."""
    chain, key = pair(*(names or ("*.example.com",)))
    return {"certificate": chain.decode(), "certificate_key": key.decode()}


def proxy(**more: Any) -> dict[str, Any]:
    """Return the least that a proxy alone needs, and more; None takes a key out."""
    given = {
        "services": "proxy",
        "shared_secret": SHARED_SECRET,
        "authenticate_service_url": "https://authenticate.example.com",
        "authorize_service_url": "https://authorize.internal:5443",
        "state_dir": "/var/lib/pomerium",
        **inline(),
    }
    return _with(given, more)


def authenticate(**more: Any) -> dict[str, Any]:
    """Return the least that an authenticate alone needs, and more; None takes a key out."""
    given = minimal(
        services="authenticate", shared_secret=SHARED_SECRET, insecure_server=None, **inline()
    )
    return _with(given, more)


def authorize(**more: Any) -> dict[str, Any]:
    """Return the least that an authorize alone needs, and more; None takes a key out."""
    given = {
        "services": "authorize",
        "shared_secret": SHARED_SECRET,
        "authenticate_service_url": "https://authenticate.example.com",
        "idp_provider": "google",
        "state_dir": "/var/lib/pomerium",
        **inline(),
    }
    return _with(given, more)


def cluster(name: str, **more: Any) -> dict[str, Any]:
    """Return the least cluster that is good, with a provider of its own, and more."""
    given = {
        "name": name,
        "authenticate_service_url": f"https://authenticate.{name}.example.com",
        "idp_provider": "oidc",
        "idp_provider_url": f"https://id.{name}.example.com",
        "routes": [route(**{"from": f"https://wiki.{name}.example.com"})],
    }
    return _with(given, more)


def route(**more: Any) -> dict[str, Any]:
    """Return the least route that is good, and more; None takes a key out."""
    return {key: value for key, value in {**ROUTE, **more}.items() if value is not None}


def tree(value: Any) -> Node:
    """Return the tree of plain values, as the sources would make it; they know no lines."""
    if isinstance(value, dict):
        return Node({key: tree(child) for key, child in value.items()})
    if isinstance(value, list):
        return Node(tuple(tree(child) for child in value))
    leaf: Scalar = value
    return Node(leaf)


def settings(**more: Any) -> Settings:
    """Return the settings that the least good file says, and more."""
    return check(tree(minimal(**more)))


def problems(given: dict[str, Any]) -> list[str]:
    """Return what is wrong with settings, as the operator reads it."""
    try:
        check(tree(given))
    except SettingsError as error:
        return [str(problem) for problem in error.problems]
    return []


def yaml(given: dict[str, Any]) -> str:
    """Return settings as a file's text: JSON, which YAML takes."""
    return json.dumps(given, indent=1, ensure_ascii=False)

"""
``services: authorize`` as a stranger meets it: plain grpcio, as grpcurl does.

He learns the messages by reflection, since he has no file of ours; for that he has been given
a token, with which nothing that is tested here is called.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from pomeriumd.crypto.keys import KeyRing, Purpose, SharedKeys, ring
from pomeriumd.rpc.tokens import mint
from pomeriumd.session.session import Identity, Session
from pomeriumd.session.token import encode
from tests.support.certificates import authority, leaf
from tests.support.daemon import twistd
from tests.support.processes import free_port

pytestmark = pytest.mark.system

PATIENCE = 30.0
"""Seconds; a bound for a machine under load."""

SERVICE = "pomerium.authorize.v1.Authorize"
AUTHENTICATE = "https://authenticate.example.test"
PROVIDER = "https://id.example.com"
HOST = "app.example.test"

SECRET, ANOTHER = bytes(range(32)), bytes(range(32, 64))

ROUTE = {
    "from": f"https://{HOST}",
    "to": "http://127.0.0.1:1",
    "allowed_users": ["alice@example.com"],
}

Metadata = Sequence[tuple[str, str]]


class Brings(grpc.StreamStreamClientInterceptor):
    """Puts metadata on the calls of reflection: its client in grpcio has no place for any."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        """Call, with it."""
        return continuation(details._replace(metadata=self._metadata), requests)


def reflected(channel: grpc.Channel, metadata: Metadata) -> ProtoReflectionDescriptorDatabase:
    """Return what reflection tells to whoever brings this."""
    return ProtoReflectionDescriptorDatabase(grpc.intercept_channel(channel, Brings(metadata)))


@attrs.frozen
class Stranger:
    """Somebody with a channel, and what reflection told him."""

    channel: grpc.Channel
    pool: DescriptorPool

    def message(self, name: str, **values: Any) -> Any:
        """Return a message of theirs."""
        found = self.pool.FindMessageTypeByName(f"pomerium.authorize.v1.{name}")
        return GetMessageClass(found)(**values)

    def check(self, metadata: Metadata, **values: Any) -> Any:
        """Call Check."""
        answer = type(self.message("CheckResponse"))
        call: Any = self.channel.unary_unary(
            f"/{SERVICE}/Check",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        request = self.message("CheckRequest", **values)
        return call(request, metadata=metadata, timeout=PATIENCE)

    def watch(self, metadata: Metadata) -> Any:
        """Call Watch, and return the first that it says."""
        answer = type(self.message("WatchResponse"))
        call: Any = self.channel.unary_stream(
            f"/{SERVICE}/Watch",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        stream = call(self.message("WatchRequest"), metadata=metadata, timeout=PATIENCE)
        try:
            return next(stream)
        finally:
            stream.cancel()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the service listens."""
    place = tmp_path_factory.mktemp("authorize")
    own, grpc_port = free_port(), free_port()
    settings = {
        "services": "authorize",
        "address": f"127.0.0.1:{own}",
        "insecure_server": True,
        "grpc_address": f"127.0.0.1:{grpc_port}",
        "shared_secret": base64.b64encode(SECRET).decode(),
        "authenticate_service_url": AUTHENTICATE,
        "idp_provider": "oidc",
        "idp_provider_url": PROVIDER,
        "state_dir": str(place / "state"),
        "routes": [ROUTE],
    }
    with twistd(place, leaf("authorize.internal"), settings) as running:
        running.until("listens on")
        yield f"127.0.0.1:{grpc_port}"


@pytest.fixture
def stranger(address: str) -> Iterator[Stranger]:
    """Somebody who trusts the authority, and nothing else is known of."""
    credentials = grpc.ssl_channel_credentials(authority().pem)
    named = (("grpc.ssl_target_name_override", "authorize.internal"),)
    with grpc.secure_channel(address, credentials, options=named) as channel:
        grpc.channel_ready_future(channel).result(PATIENCE)
        yield Stranger(channel, DescriptorPool(reflected(channel, bearer(service_token()))))


def bearer(token: str) -> Metadata:
    """Return what a call brings along."""
    return (("authorization", f"bearer {token}"),)


def grpc_keys(secret: bytes) -> KeyRing:
    """Return the keys by which services know each other."""
    return ring([secret], Purpose.GRPC)


def service_token(secret: bytes = SECRET, age: float = 0) -> str:
    """Return what a proxy shows that holds this secret."""
    return mint(grpc_keys(secret), _now() - age)


def session_token(email: str = "alice@example.com", secret: bytes = SECRET) -> str:
    """Return the session of somebody who has signed in just now."""
    now = int(_now())
    session = Session(
        id="session-1",
        identity=Identity(issuer=PROVIDER, subject=email, email=email),
        issuer=AUTHENTICATE,
        audience=f"{HOST}:443",
        auth_time=now,
        checked=now,
        recheck=now + 600,
        seen=now,
        expires=now + 3600,
    )
    return encode(session, SharedKeys.derived([secret]).route_session)


def _now() -> float:
    return time.time()  # noqa: TID251  # the daemon looks at the clock, too


def test_health(stranger: Stranger) -> None:
    """Whoever asks for the health of the whole, or of the service, hears that it serves."""
    health = health_pb2_grpc.HealthStub(stranger.channel)
    for name in ("", SERVICE):
        answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_health_of_nothing(stranger: Stranger) -> None:
    """A service that is not there is not found."""
    health = health_pb2_grpc.HealthStub(stranger.channel)
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(health_pb2.HealthCheckRequest(service="no.such"), timeout=PATIENCE)
    assert code(caught.value) == grpc.StatusCode.NOT_FOUND


def test_reflection(stranger: Stranger) -> None:
    """Reflection tells the services, and both methods of ours."""
    database = reflected(stranger.channel, bearer(service_token()))
    assert {SERVICE, "grpc.health.v1.Health"} <= set(database.get_services())
    service = stranger.pool.FindServiceByName(SERVICE)
    assert {method.name for method in service.methods} == {"Check", "Watch"}


def test_reflection_is_for_services(stranger: Stranger) -> None:
    """Without a token reflection tells nothing."""
    with pytest.raises(grpc.RpcError) as caught:
        reflected(stranger.channel, ()).get_services()
    assert code(caught.value) == grpc.StatusCode.UNAUTHENTICATED


def code(error: grpc.RpcError) -> grpc.StatusCode:
    """Return how a call ended."""
    assert isinstance(error, grpc.Call)
    found: grpc.StatusCode = error.code()
    return found


BAD: dict[str, tuple[Metadata, str]] = {
    "none": ((), "missing"),
    "another scheme": ((("authorization", "basic YTpi"),), "missing"),
    "in another field": ((("x-token", service_token()),), "missing"),
    "nothing": (bearer(""), "kind"),
    "no token": (bearer("opensesame"), "kind"),
    "two": ((*bearer(service_token()), *bearer(service_token())), "missing"),
    "of a session": (bearer(session_token()), "kind"),
    "of another secret": (bearer(service_token(ANOTHER)), "secret"),
    "that was cut": (bearer(service_token()[:-2]), "secret"),
    "that is over": (bearer(service_token(age=3600)), "clock"),
    "that is to come": (bearer(service_token(age=-3600)), "clock"),
    "the secret itself": (bearer(base64.b64encode(SECRET).decode()), "kind"),
}
"""What opens nothing, and the word for what is wrong with it."""


@pytest.mark.parametrize("case", list(BAD))
def test_a_bad_token_opens_nothing(stranger: Stranger, case: str) -> None:
    """Check and Watch alike end as UNAUTHENTICATED, with a word that says why."""
    metadata, word = BAD[case]
    session = session_token()
    calls = (
        lambda: stranger.check(metadata, route="r", token=session),
        lambda: stranger.watch(metadata),
    )
    for call in calls:
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert code(caught.value) == grpc.StatusCode.UNAUTHENTICATED
        assert isinstance(caught.value, grpc.Call)
        assert dict(caught.value.trailing_metadata())["x-pomerium-refused"] == word


def test_a_good_token_is_told_of_no_route(stranger: Stranger) -> None:
    """With a token of the service, a route that is not known is an answer: a refusal."""
    answer = stranger.check(bearer(service_token()), route="0123456789abcdef")
    assert answer.outcome == 2  # OUTCOME_DENY


def test_a_good_token_hears_the_generation(stranger: Stranger) -> None:
    """With a token of the service, Watch tells the generation at once."""
    assert stranger.watch(bearer(service_token())).generation


def test_rubbish(stranger: Stranger) -> None:
    """Bytes that are no message are an error of whoever sent them, and the service serves on."""
    call: Any = stranger.channel.unary_unary(f"/{SERVICE}/Check")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\xff" * 64, metadata=bearer(service_token()), timeout=PATIENCE)
    assert code(caught.value) == grpc.StatusCode.INVALID_ARGUMENT
    test_health(stranger)


def test_without_tls(address: str) -> None:
    """Who speaks without TLS is not answered."""
    with grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
    assert code(caught.value) == grpc.StatusCode.UNAVAILABLE

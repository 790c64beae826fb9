"""Tests for pomeriumd.rpc.server and pomeriumd.rpc.methods: a real server, a plain client."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import attrs
import grpc
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access.decision import Allow
from pomeriumd.access.verdict import Question, Verdict
from pomeriumd.crypto.keys import Purpose, ring
from pomeriumd.crypto.tokens import sign
from pomeriumd.rpc import api, methods
from pomeriumd.rpc.methods import (
    HEALTH_CHECK,
    HEALTH_WATCH,
    REFLECT,
    UNKNOWN,
    Counts,
    Served,
    peer_host,
)
from pomeriumd.rpc.server import CannotBind, Server, Tls
from pomeriumd.rpc.tokens import REFUSED_FIELD, TIME_FIELD, Bearer, mint
from pomeriumd.session import token
from pomeriumd.settings.values import Address
from tests.support.certificates import Issued, authority, issue, leaf

ROOT, PREVIOUS, OTHER = (bytes([number]) * 32 for number in (7, 8, 9))
KEYS = ring([ROOT, PREVIOUS], Purpose.GRPC)
NOW = 1_790_000_000.0
LONG = 60.0
"""Seconds after which a test is stuck: nothing takes as long."""
QUESTION = Question(route="0123456789abcdef")
VERDICT = Verdict(decision=Allow(("user-ok",)), valid_for=60.0, generation="aaaa")
ALL_METHODS = (api.CHECK, api.WATCH, HEALTH_CHECK, HEALTH_WATCH, REFLECT)

SERVING, NOT_SERVING, NO_SERVICE = (
    health_pb2.HealthCheckResponse(status=status)
    for status in ("SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
)


def served(generation: str = "aaaa", **changes: Any) -> Served:
    """Return something that lets everybody in, under this generation."""
    verdict = attrs.evolve(VERDICT, generation=generation)
    whole: dict[str, Any] = {"answer": lambda _: verdict, "generation": generation, "keys": KEYS}
    return Served(**whole | changes)


class Caller:
    """A client of grpcio's own, and nothing of ours but the messages."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel: Any = channel
        self.metadata: Any = Bearer(KEYS).metadata(NOW)

    def check(self, data: bytes | None = None, **more: Any) -> Verdict:
        """Ask for a decision."""
        asked = api.write_question(QUESTION) if data is None else data
        call = self.channel.unary_unary(api.CHECK)
        return api.read_verdict(call(asked, **{"metadata": self.metadata, "timeout": LONG} | more))

    def watch(self) -> Any:
        """Follow the generations."""
        call = self.channel.unary_stream(api.WATCH, response_deserializer=api.read_generation)
        return call(api.WATCHING, metadata=self.metadata, timeout=LONG)

    def health(self, service: str = "") -> Any:
        """Ask for health, without a token."""
        call = self.channel.unary_unary(
            HEALTH_CHECK, response_deserializer=health_pb2.HealthCheckResponse.FromString
        )
        asked = health_pb2.HealthCheckRequest(service=service).SerializeToString()
        return call(asked, timeout=LONG)

    def follow_health(self, service: str = "") -> Any:
        """Follow health, without a token."""
        call = self.channel.unary_stream(
            HEALTH_WATCH, response_deserializer=health_pb2.HealthCheckResponse.FromString
        )
        asked = health_pb2.HealthCheckRequest(service=service).SerializeToString()
        return call(asked, timeout=LONG)

    def reflect(self, asked: Iterator[bytes], **more: Any) -> Any:
        """Ask what services there are."""
        call = self.channel.stream_stream(
            REFLECT, response_deserializer=reflection_pb2.ServerReflectionResponse.FromString
        )
        return call(asked, **{"metadata": self.metadata, "timeout": LONG} | more)


class ServerCase(SynchronousTestCase):
    """Has a server on loopback, and callers."""

    def setUp(self) -> None:
        """Nothing was reported, and the time is NOW."""
        self.now = NOW
        self.reported: list[tuple[LogLevel, str]] = []

    def report(self, level: LogLevel, format: str, **fields: object) -> None:  # noqa: A002
        """Keep a line of the log."""
        self.reported.append((level, format.format(**fields)))

    def server(self, tls: Tls | None = None, port: int = 0) -> Server:
        """Return a server that has its port."""
        server = Server(
            address=Address("127.0.0.1", port), tls=tls, now=lambda: self.now, report=self.report
        )
        server.bind()
        self.addCleanup(self.ended, server)
        return server

    def started(self, tls: Tls | None = None, answering: Served | None = None) -> Server:
        """Return a server that answers."""
        server = self.server(tls)
        server.start()
        server.serve(served() if answering is None else answering)
        return server

    def ended(self, server: Server) -> None:
        """Stop the server, and see its thread off."""
        server.stop(grace=0, notice=0).result(LONG)

    def caller(self, server: Server) -> Caller:
        """Return somebody who calls it in plaintext."""
        return self.calling(grpc.insecure_channel(f"127.0.0.1:{server.port}"))

    def calling(self, channel: grpc.Channel) -> Caller:
        """Return somebody who calls over this channel."""
        self.addCleanup(channel.close)
        return Caller(channel)

    def refused(self, code: grpc.StatusCode, call: Any, *arguments: Any, **more: Any) -> Any:
        """Assert that a call ends with this status, and return how it ended."""
        with self.assertRaises(grpc.RpcError) as caught:
            call(*arguments, **more)
        error: Any = caught.exception
        self.assertEqual(error.code(), code, error)
        return error


class CheckTests(ServerCase):
    """Check answers proxies, by what was handed over last."""

    def test_a_proxy_of_ours(self) -> None:
        """It gets what the policies said."""
        self.assertEqual(self.caller(self.started()).check(), VERDICT)

    def test_the_question_comes_as_it_was_asked(self) -> None:
        """Whoever answers sees all of it."""
        asked: queue.Queue[Question] = queue.Queue()

        def answer(question: Question) -> Verdict:
            asked.put(question)
            return VERDICT

        question = attrs.evolve(QUESTION, token="a.b.c", attributes={"method": "GET"})
        caller = self.caller(self.started(answering=served(answer=answer)))
        caller.check(api.write_question(question))
        self.assertEqual(asked.get(timeout=LONG), question)

    def test_before_there_are_policies(self) -> None:
        """Nobody is let in by nothing."""
        server = self.server()
        server.start()
        self.refused(grpc.StatusCode.UNAVAILABLE, self.caller(server).check)

    def test_new_policies(self) -> None:
        """The next call is answered by them."""
        server = self.started()
        caller = self.caller(server)
        watch = caller.watch()
        self.assertEqual((next(watch), caller.check().generation), ("aaaa", "aaaa"))
        server.serve(served("bbbb"))
        self.assertEqual((next(watch), caller.check().generation), ("bbbb", "bbbb"))

    def test_policies_that_fail(self) -> None:
        """An error of ours lets nobody in, is said once a minute, and is counted."""

        def answer(_: Question) -> Verdict:
            raise RuntimeError("a bug")

        server = self.started(answering=served(answer=answer))
        caller = self.caller(server)
        for _ in range(2):
            error = self.refused(grpc.StatusCode.INTERNAL, caller.check)
            self.assertNotIn("a bug", error.details())
        self.assertEqual(
            self.reported, [(LogLevel.critical, f"{api.CHECK} failed; nobody was let in")]
        )
        self.assertEqual(server.counts.failures, 2)

    def test_a_verdict_that_cannot_be_given(self) -> None:
        """Policies that answer nonsense let nobody in."""
        wrong = attrs.evolve(VERDICT, valid_for=float("nan"))
        caller = self.caller(self.started(answering=served(answer=lambda _: wrong)))
        self.refused(grpc.StatusCode.INTERNAL, caller.check)

    def test_garbage(self) -> None:
        """Bytes that are no question are refused as such."""
        caller = self.caller(self.started())
        error = self.refused(grpc.StatusCode.INVALID_ARGUMENT, caller.check, b"\xff")
        self.assertEqual(error.details(), "question cannot be read: no message of this kind")

    def test_too_much(self) -> None:
        """A message over the bound is not taken."""
        caller = self.caller(self.started())
        self.refused(
            grpc.StatusCode.RESOURCE_EXHAUSTED, caller.check, b"\x12" * (api.MESSAGE_SIZE + 1)
        )

    def test_too_much_that_was_compressed(self) -> None:
        """The bound is that of what would be read, not of what was sent."""
        caller = self.caller(self.started())
        large = api.CheckRequest(route="a" * 1_000_000).SerializeToString()
        self.refused(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            caller.check,
            large,
            compression=grpc.Compression.Gzip,
        )

    def test_a_method_that_is_none(self) -> None:
        """It is refused, and counted under one name, whatever it is called."""
        server = self.started()
        call = self.caller(server).channel.unary_unary(f"/{api.SERVICE}/Allow")
        self.refused(grpc.StatusCode.UNIMPLEMENTED, call, b"", timeout=LONG)
        self.assertEqual(server.counts.answered, {(UNKNOWN, "UNIMPLEMENTED"): 1})

    def test_it_is_counted(self) -> None:
        """By method and status."""
        server = self.started()
        caller = self.caller(server)
        caller.check()
        caller.check()
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, caller.check, b"\xff")
        self.assertEqual(
            server.counts.taken(),
            ({(api.CHECK, "OK"): 2, (api.CHECK, "INVALID_ARGUMENT"): 1}, {}, 0),
        )


class AdmissionTests(ServerCase):
    """Only a service token of ours opens a call."""

    def turned_away(self, metadata: Any, word: str) -> None:
        """Assert that no method but health takes this, and that it is said which is wrong."""
        server = self.started()
        caller = self.caller(server)
        caller.metadata = metadata
        for call in (caller.check, lambda: next(caller.watch()), self.reflected(caller)):
            error = self.refused(grpc.StatusCode.UNAUTHENTICATED, call)
            trailing = dict(error.trailing_metadata())
            self.assertEqual(trailing, {REFUSED_FIELD: word, TIME_FIELD: str(int(NOW))})
        self.assertEqual(server.counts.refused, {word: 3})
        self.assertEqual(len(self.reported), 1)
        level, text = self.reported[0]
        self.assertEqual(level, LogLevel.warn)
        self.assertIn(f"a call from 127.0.0.1 was refused ({word}): ", text)
        for _, value in metadata:
            self.assertNotIn(value, text)

    def reflected(self, caller: Caller) -> Any:
        """Return a call of reflection."""
        return lambda: next(caller.reflect(iter([b""])))

    def test_no_token(self) -> None:
        """A stranger."""
        self.turned_away((), "missing")

    def test_another_secret(self) -> None:
        """A proxy whose shared_secret is another one."""
        keys = ring([OTHER], Purpose.GRPC)
        self.turned_away((("authorization", f"bearer {mint(keys, NOW)}"),), "secret")

    def test_an_old_token(self) -> None:
        """A proxy whose clock is behind."""
        self.turned_away((("authorization", f"bearer {mint(KEYS, NOW - 100)}"),), "clock")

    def test_a_session_token(self) -> None:
        """Somebody who took the cookie of a session."""
        claims = {"iss": "proxy", "aud": "authorize", "iat": int(NOW), "exp": int(NOW) + 30}
        taken = sign(KEYS, claims, kind=token.KIND)
        self.turned_away((("authorization", f"bearer {taken}"),), "kind")

    def test_a_call_that_does_not_go_on(self) -> None:
        """Without a token it ends at once, or strangers could hold all calls that may be."""
        messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.addCleanup(messages.put, b"")
        channel = self.caller(self.started()).channel
        for method in (api.CHECK, api.WATCH):
            call = channel.stream_unary(method)
            self.refused(
                grpc.StatusCode.UNAUTHENTICATED, call, iter(messages.get, b""), timeout=LONG
            )

    def test_a_previous_secret(self) -> None:
        """A proxy that has come less far in a rotation is answered."""
        caller = self.caller(self.started())
        caller.metadata = Bearer(ring([PREVIOUS], Purpose.GRPC)).metadata(NOW)
        self.assertEqual(caller.check(), VERDICT)

    def test_a_secret_that_was_taken_away(self) -> None:
        """Once the previous secret is gone, its tokens open nothing, those that did neither."""
        server = self.started()
        caller = self.caller(server)
        caller.metadata = Bearer(ring([PREVIOUS], Purpose.GRPC)).metadata(NOW)
        watch = caller.watch()
        self.assertEqual((next(watch), caller.check()), ("aaaa", VERDICT))
        server.serve(served("bbbb", keys=ring([ROOT], Purpose.GRPC)))
        self.assertEqual(next(watch), "bbbb")
        self.refused(grpc.StatusCode.UNAUTHENTICATED, caller.check)

    def test_a_minute_later(self) -> None:
        """It is said again."""
        caller = self.caller(self.started())
        for self.now in (NOW, NOW + 1, NOW + 61):
            self.refused(grpc.StatusCode.UNAUTHENTICATED, caller.check, metadata=())
        self.assertEqual(len(self.reported), 2)

    def test_who_called(self) -> None:
        """A peer is its address, whatever its port."""
        for peer, host in (
            ("ipv4:10.0.0.1:5000", "10.0.0.1"),
            ("ipv6:%5B2001:db8::1%5D:5000", "2001:db8::1"),
            ("unix:/run/grpc", "unix:/run/grpc"),
            ("ipv4:", "ipv4:"),
        ):
            self.assertEqual(peer_host(peer), host)


class WatchTests(ServerCase):
    """Watch tells the generation, and each change."""

    def test_at_once(self) -> None:
        """The first message is the present one, and the server's time comes before it."""
        watch = self.caller(self.started()).watch()
        self.assertEqual(next(watch), "aaaa")
        self.assertEqual(dict(watch.initial_metadata()), {TIME_FIELD: str(int(NOW))})

    def test_all_who_watch(self) -> None:
        """Every stream hears of a change."""
        server = self.started()
        watches = [self.caller(server).watch() for _ in range(3)]
        self.assertEqual([next(watch) for watch in watches], ["aaaa"] * 3)
        self.assertEqual(server.watches, 3)
        server.serve(served("bbbb"))
        self.assertEqual([next(watch) for watch in watches], ["bbbb"] * 3)

    def test_again(self) -> None:
        """A generation that does not change is told again, so that silence means something."""
        self.patch(api, "BEAT", 0.001)
        watch = self.caller(self.started()).watch()
        self.assertEqual([next(watch) for _ in range(3)], ["aaaa"] * 3)

    def test_nothing_to_answer_by(self) -> None:
        """A server that has lost its policies says so, and ends the stream."""
        server = self.started()
        watch = self.caller(server).watch()
        next(watch)
        server.serve(None)
        self.refused(grpc.StatusCode.UNAVAILABLE, next, watch)

    def test_many(self) -> None:
        """Their number has a bound."""
        self.patch(methods, "WATCHES", 1)
        caller = self.caller(self.started())
        first = caller.watch()
        next(first)
        self.refused(grpc.StatusCode.RESOURCE_EXHAUSTED, next, caller.watch())
        self.assertTrue(first.is_active())


class HealthTests(ServerCase):
    """Health is what it is, for whoever asks."""

    def test_by_name(self) -> None:
        """The server and its service have the same; others are unknown."""
        caller = self.caller(self.started())
        self.assertEqual(caller.health(), SERVING)
        self.assertEqual(caller.health(api.SERVICE), SERVING)
        self.refused(grpc.StatusCode.NOT_FOUND, caller.health, "pomerium.authorize.v2.Authorize")
        self.assertEqual(next(caller.follow_health("another")), NO_SERVICE)

    def test_before_there_are_policies(self) -> None:
        """Not serving, and serving from the first generation on."""
        server = self.server()
        server.start()
        caller = self.caller(server)
        health = caller.follow_health(api.SERVICE)
        self.assertEqual((next(health), caller.health()), (NOT_SERVING, NOT_SERVING))
        server.serve(served())
        self.assertEqual((next(health), caller.health()), (SERVING, SERVING))

    def test_withdrawn(self) -> None:
        """Whoever listens goes elsewhere, and whoever does not is answered still."""
        server = self.started()
        caller = self.caller(server)
        health = caller.follow_health()
        self.assertEqual(next(health), SERVING)
        server.withdraw()
        self.assertEqual((next(health), caller.health()), (NOT_SERVING, NOT_SERVING))
        self.assertEqual(caller.check(), VERDICT)

    def test_nothing_to_answer_by(self) -> None:
        """After a fatal error it is not serving."""
        server = self.started()
        health = self.caller(server).follow_health()
        self.assertEqual(next(health), SERVING)
        server.serve(None)
        self.assertEqual(next(health), NOT_SERVING)

    def test_garbage(self) -> None:
        """Bytes that are no message are refused as such."""
        call = self.caller(self.started()).channel.unary_unary(HEALTH_CHECK)
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, call, b"\xff", timeout=LONG)

    def test_a_question_that_does_not_come(self) -> None:
        """Who needs no token has a few seconds to say what they want."""
        self.patch(methods, "PATIENCE", 0.001)
        messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.addCleanup(messages.put, b"")
        channel = self.caller(self.started()).channel
        for method in (HEALTH_CHECK, HEALTH_WATCH):
            call = channel.stream_unary(method)
            self.refused(
                grpc.StatusCode.DEADLINE_EXCEEDED, call, iter(messages.get, b""), timeout=LONG
            )

    def test_many(self) -> None:
        """Their number has a bound, since they need no token; it is not that of the others."""
        self.patch(methods, "WITHOUT_TOKEN", 1)
        caller = self.caller(self.started())
        first = caller.follow_health()
        next(first)
        self.refused(grpc.StatusCode.RESOURCE_EXHAUSTED, next, caller.follow_health())
        self.refused(grpc.StatusCode.RESOURCE_EXHAUSTED, caller.health)
        self.assertTrue(first.is_active())
        self.assertEqual(caller.check(), VERDICT)


class ReflectionTests(ServerCase):
    """A tool with a token can ask what there is."""

    def test_the_services(self) -> None:
        """All three are listed, and nothing else."""
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        answer = next(self.caller(self.started()).reflect(iter([asked.SerializeToString()])))
        self.assertEqual(
            {service.name for service in answer.list_services_response.service},
            {method.split("/")[1] for method in ALL_METHODS},
        )

    def test_the_messages(self) -> None:
        """The file of our service is given as it is."""
        asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=api.SERVICE)
        answer = next(self.caller(self.started()).reflect(iter([asked.SerializeToString()])))
        (data,) = answer.file_descriptor_response.file_descriptor_proto
        file = descriptor_pb2.FileDescriptorProto.FromString(data)
        self.assertEqual([method.name for method in file.service[0].method], ["Check", "Watch"])

    def test_garbage(self) -> None:
        """Bytes that are no message are refused as such."""
        self.refused(
            grpc.StatusCode.INVALID_ARGUMENT,
            next,
            self.caller(self.started()).reflect(iter([b"\xff"])),
        )


class StopTests(ServerCase):
    """A server ends without harm to whoever is being answered."""

    def test_in_order(self) -> None:
        """Health, then the streams that would not end, then the port; calls end in peace."""
        server = self.started()
        caller = self.caller(server)
        watch, health = caller.watch(), caller.follow_health()
        questions: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        asked = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
        under_way = caller.reflect(iter(questions.get, b"end"))
        questions.put(asked)
        self.assertEqual((next(watch), next(health)), ("aaaa", SERVING))
        next(under_way)

        ended = server.stop(grace=LONG, notice=0)
        self.assertEqual(list(health), [NOT_SERVING])
        self.assertEqual(list(watch), [])
        questions.put(asked)
        next(under_way)
        self.assertFalse(server.ended.done())
        questions.put(b"end")
        self.assertEqual(list(under_way), [])
        ended.result(LONG)
        self.refused(grpc.StatusCode.UNAVAILABLE, self.caller(server).check)

    def test_twice(self) -> None:
        """A second stop is the first one."""
        server = self.started()
        first = server.stop(grace=0, notice=0)
        self.assertIs(server.stop(grace=0, notice=0), first)
        first.result(LONG)

    def test_before_it_was_started(self) -> None:
        """The port is free again."""
        server = self.server()
        server.stop(grace=0, notice=0).result(LONG)
        self.assertEqual(self.server(port=server.port).port, server.port)

    def test_before_it_was_bound(self) -> None:
        """There is nothing to do."""
        server = Server(
            address=Address("127.0.0.1", 0), tls=None, now=lambda: NOW, report=self.report
        )
        server.stop(grace=0).result(0)


class BindTests(ServerCase):
    """A port that cannot be had is said at once, and why."""

    def test_a_second_instance(self) -> None:
        """It does not share the port silently."""
        port = self.server().port
        with self.assertRaises(CannotBind) as caught:
            self.server(port=port)
        self.assertEqual(
            str(caught.exception),
            f"grpc_address: cannot listen on 127.0.0.1:{port}: Address already in use; another"
            " program has it: stop that one, or set another address",
        )

    def test_an_address_of_another_machine(self) -> None:
        """What the system says is handed on."""
        server = Server(
            address=Address("192.0.2.1", 443), tls=None, now=lambda: NOW, report=self.report
        )
        with self.assertRaises(CannotBind) as caught:
            server.bind()
        self.assertIn("Cannot assign requested address", str(caught.exception))

    def test_a_certificate_that_is_none(self) -> None:
        """It is not the address that is wrong then."""
        with self.assertRaises(CannotBind) as caught:
            self.server(Tls(key=b"none", chain=b"none"))
        self.assertIn("can its certificate and key be used?", str(caught.exception))


class TlsTests(ServerCase):
    """Over TLS, both sides show who they are as they are told to."""

    def over_tls(self, server: Server, root: Issued, shown: Issued | None = None) -> Caller:
        """Return a caller that trusts this root, and shows a certificate of its own or none."""
        credentials = grpc.ssl_channel_credentials(
            root.pem,
            None if shown is None else shown.key_pem,
            None if shown is None else shown.pem,
        )
        options = [("grpc.ssl_target_name_override", "authorize.internal")]
        return self.calling(
            grpc.secure_channel(f"127.0.0.1:{server.port}", credentials, options=options)
        )

    def test_a_certificate_is_swapped(self) -> None:
        """New connections see the new one, and those that there are live on."""
        old, new = leaf("authorize.internal"), issue(authority=True, title="another")
        server = self.started(Tls(key=old.key_pem, chain=old.pem))
        before = self.over_tls(server, authority())
        self.assertEqual(before.check(), VERDICT)

        other = issue("authorize.internal", by=new)
        server.show(Tls(key=other.key_pem, chain=other.pem))
        self.assertEqual(self.over_tls(server, new).check(), VERDICT)
        self.refused(grpc.StatusCode.UNAVAILABLE, self.over_tls(server, authority()).check)
        self.assertEqual(before.check(), VERDICT)

    def test_client_certificates(self) -> None:
        """Whoever shows none, or one of another authority, is not answered."""
        own, clients = leaf("authorize.internal"), issue(authority=True, title="clients")
        server = self.started(Tls(key=own.key_pem, chain=own.pem, client_ca=clients.pem))
        shown = issue("proxy.internal", by=clients)
        self.assertEqual(self.over_tls(server, authority(), shown).check(), VERDICT)
        stranger = leaf("proxy.internal")
        self.refused(
            grpc.StatusCode.UNAVAILABLE, self.over_tls(server, authority(), stranger).check
        )
        self.refused(grpc.StatusCode.UNAVAILABLE, self.over_tls(server, authority()).check)

    def test_a_certificate_alone_is_no_token(self) -> None:
        """Both are asked for."""
        own, clients = leaf("authorize.internal"), issue(authority=True, title="clients")
        server = self.started(Tls(key=own.key_pem, chain=own.pem, client_ca=clients.pem))
        caller = self.over_tls(server, authority(), issue("proxy.internal", by=clients))
        self.refused(grpc.StatusCode.UNAUTHENTICATED, caller.check, metadata=())

    def test_what_needs_a_restart(self) -> None:
        """To ask for client certificates is settled when the port is bound."""
        own = leaf("authorize.internal")
        tls = Tls(key=own.key_pem, chain=own.pem)
        with self.assertRaises(ValueError):
            self.server(tls).show(attrs.evolve(tls, client_ca=authority().pem))
        with self.assertRaises(ValueError):
            self.server().show(tls)

    def test_plaintext_to_a_server_with_tls(self) -> None:
        """It gets no answer."""
        own = leaf("authorize.internal")
        server = self.started(Tls(key=own.key_pem, chain=own.pem))
        self.refused(grpc.StatusCode.UNAVAILABLE, self.caller(server).check)

    def test_no_key_shows(self) -> None:
        """Neither repr has it."""
        own = leaf("authorize.internal")
        tls = Tls(key=own.key_pem, chain=own.pem)
        self.assertNotIn("PRIVATE", repr(tls) + repr(self.server(tls)))


class CountsTests(SynchronousTestCase):
    """What is counted is read on another thread."""

    def test_a_copy(self) -> None:
        """What was taken does not change."""
        counts = Counts()
        taken = counts.taken()
        counts.answered[api.CHECK, "OK"] += 1
        self.assertEqual(taken, ({}, {}, 0))

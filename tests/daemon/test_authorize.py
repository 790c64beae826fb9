"""What a process takes from its settings for asking elsewhere, and for answering."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.access.verdict import Question
from pomeriumd.crypto.keys import Purpose, ring
from pomeriumd.daemon.authorize_client import AuthorizeClient, asked
from pomeriumd.daemon.authorize_server import AuthorizeServer
from pomeriumd.daemon.listeners import CannotBind
from pomeriumd.errors import Undecided
from pomeriumd.settings.model import Address, Origin, Secret, Settings
from pomeriumd.settings.roles import AUTHENTICATE, AUTHORIZE, PROXY, ROLES
from tests.support.certificates import leaf
from tests.support.settings import SHARED, make_settings, route

URL = Origin("https", "authorize.internal", 5443)


def proxy(**more: Any) -> Settings:
    """Return the settings of a proxy that asks elsewhere."""
    given: dict[str, Any] = {"services": (PROXY,), "authorize_service_urls": (URL,)}
    return make_settings(route(), **(given | more))


class AskedTests(SynchronousTestCase):
    """asked() says whom a process asks, and how."""

    def test_only_a_proxy_without_authorize_asks(self) -> None:
        """Whoever decides by itself asks nobody, whatever the settings name."""
        for services in (ROLES, (PROXY, AUTHORIZE), (AUTHENTICATE,), (AUTHORIZE,)):
            self.assertIsNone(asked(proxy(services=services), [SHARED]), services)
        self.assertIsNotNone(asked(proxy(services=(PROXY, AUTHENTICATE)), [SHARED]))

    def test_previous_secrets_are_taken_and_never_used(self) -> None:
        """The first key makes tokens; all of them are of this purpose."""
        options = asked(proxy(), [SHARED, bytes(32)])
        assert options is not None
        self.assertEqual(options.keys, ring([SHARED, bytes(32)], Purpose.GRPC))

    def test_how_it_is_protected(self) -> None:
        """TLS unless the URL says otherwise; roots, name and our certificate as they are set."""
        pair = leaf("proxy.example.com").pair()
        options = asked(
            proxy(
                certificate_authority=b"PEM",
                override_certificate_name="other.internal",
                grpc_client_certificate=pair.chain,
                grpc_client_certificate_key=Secret(pair.key.reveal()),
            ),
            [SHARED],
        )
        assert options is not None
        security = options.security
        self.assertFalse(security.plain)
        self.assertEqual(security.authorities, b"PEM")
        self.assertEqual(security.certificate_name, "other.internal")
        assert security.shown is not None
        self.assertEqual(security.shown.chain, pair.chain)
        plain = asked(proxy(authorize_service_urls=(Origin("http", "127.0.0.1", 5443),)), [SHARED])
        assert plain is not None
        self.assertTrue(plain.security.plain)


class NotBegunTests(SynchronousTestCase):
    """Before the process may have threads there is nothing of grpc in it."""

    def test_nobody_is_asked(self) -> None:
        """What is asked too early is undecided, and nothing is known to hold."""
        client = AuthorizeClient(Clock(), lambda: 0.0)
        client.take(asked(proxy(), [SHARED]))
        self.assertRaises(Undecided, client.check, Question(route="r"))
        self.assertIsNone(client.holds("one", "g"))
        self.assertEqual((client.problems, client.replicas, client.calls), ((), (), {}))


class BindTests(SynchronousTestCase):
    """AuthorizeServer.bind() has the port, or says why not."""

    def test_a_port_that_is_taken(self) -> None:
        """The error names the setting and the address, and so does the health page."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = Address("127.0.0.1", taken.getsockname()[1])
            server = AuthorizeServer(Clock(), lambda: 0.0)
            settings = make_settings(
                services=(AUTHORIZE,), grpc_address=address, grpc_insecure=True
            )
            error = self.assertRaises(CannotBind, server.bind, settings)
        self.assertIn(f"grpc_address: cannot listen on {address.text}", str(error))
        self.assertFalse(server.bound)
        (problem,) = server.problems
        self.assertIn(address.text, str(problem))

    def test_nothing_to_bind(self) -> None:
        """Without ``grpc_address`` there is no port, and nothing is wrong."""
        server = AuthorizeServer(Clock(), lambda: 0.0)
        server.bind(make_settings())
        self.assertEqual((server.bound, server.problems, server.answered), (False, (), {}))


class LateTests(SynchronousTestCase):
    """grpc comes when it is needed: a process that has it must not fork."""

    def test_building_a_generation_does_not_import_it(self) -> None:
        """What ``makeService`` imports, before twistd goes into the background."""
        code = (
            "import sys; import pomeriumd.daemon.tree, pomeriumd.daemon.reader;"
            "sys.exit('grpc' in sys.modules)"
        )
        self.assertEqual(subprocess.run([sys.executable, "-c", code], check=False).returncode, 0)

"""Tests of what each role needs: pomeriumd.settings.roles and role_rules."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import SettingsError
from pomeriumd.settings.check import check
from pomeriumd.settings.model import Address, Origin, Settings
from pomeriumd.settings.roles import NEEDS, ROLES, missing, needed, spoken, together
from pomeriumd.settings.values import EVERYWHERE_4
from tests.support.settings_files import (
    authenticate,
    authorize,
    cluster,
    inline,
    minimal,
    pair,
    problems,
    proxy,
    route,
    tree,
)

FILES = {"proxy": proxy, "authenticate": authenticate, "authorize": authorize}
"""For each role the least file."""

NO_CERTIFICATE = dict.fromkeys(inline())
"""What takes the certificate out of one."""

addresses = st.builds(
    Address, st.sampled_from(["", "::", EVERYWHERE_4, "10.0.0.1", "::1"]), st.integers(0, 2)
)
some_roles = st.sets(st.sampled_from(ROLES), min_size=1)


def of(given: dict[str, Any]) -> Settings:
    """Return the settings that a file says."""
    return check(tree(given))


class ServicesTests(SynchronousTestCase):
    """What services can say."""

    @given(some_roles.flatmap(lambda roles: st.permutations(sorted(roles))))
    def test_a_list(self, roles: list[str]) -> None:
        """A list of roles is these roles, in one order whichever it has."""
        file = minimal(
            services=roles,
            shared_secret=proxy()["shared_secret"],
            authorize_service_url="https://authorize.internal",
            grpc_insecure=None if roles == ["proxy"] else False,
            grpc_address="127.0.0.1:5443",
        )
        found = of(file)
        self.assertEqual(set(found.services), set(roles))
        self.assertEqual([role for role in ROLES if found.runs(role)], list(found.services))
        self.assertEqual(found.decides_here, {"proxy", "authorize"} <= set(roles))

    def test_all(self) -> None:
        """One word for the three, which is also the default; and its name in metrics."""
        for more in ({}, {"services": "all"}, {"services": ["all"]}, {"services": [*ROLES]}):
            found = of(minimal(**more))
            self.assertEqual((found.services, found.service), (ROLES, "all"))
        self.assertEqual(of(authorize()).service, "authorize")

    def test_what_is_none(self) -> None:
        """No role, one twice, and all beside one of them are refused, at their places."""
        for found, wanted in (
            ([], "services: want at least one role, got an empty list"),
            (["proxy", "proxy"], "services: proxy is there twice"),
            (["proxy", "all"], "services: want all by itself; it holds the others"),
            (["proxy", ["authorize"]], _unlike("services[1]", "a list")),
            ({"proxy": True}, _unlike("services", "a map")),
            ("cache", "services: not yet: 'cache'; want all, proxy, authenticate or authorize"),
        ):
            self.assertEqual(problems(minimal(services=found)), [wanted])

    @given(st.lists(st.sampled_from(ROLES), unique=True, min_size=1))
    def test_said_in_a_sentence(self, roles: list[str]) -> None:
        """Roles are said in their order, whatever order they come in."""
        self.assertEqual(spoken(roles), spoken(together(tuple(roles))))
        self.assertEqual(
            spoken(roles).replace(" and ", ", ").split(", "),
            [name for name in ROLES if name in roles],
        )


def _unlike(place: str, what: str) -> str:
    return f"{place}: want `all`, a role, or a list of roles, got {what}"


class NeedsTests(SynchronousTestCase):
    """A key that a role needs is asked for under the role's name."""

    def test_each_with_its_keys(self) -> None:
        """Each role with what it needs, and nothing else, is good."""
        for role, file in FILES.items():
            self.assertEqual(problems(file()), [], role)
            spelled = {need.key for need in NEEDS[role]} - {"certificates"} | {"services"}
            self.assertEqual(set(file()) - {*inline(), "state_dir"}, spelled)

    def test_each_without_one(self) -> None:
        """Each role without one of its keys: one problem, with the key and the role."""
        for role, file in FILES.items():
            for need in NEEDS[role]:
                gone = NO_CERTIFICATE if need.key == "certificates" else {need.key: None}
                (problem,) = problems(file(**gone))
                self.assertRegex(problem, rf"^{need.key}: missing; {role} needs (it|them)\b")

    def test_all_in_one(self) -> None:
        """All in one process names every role that needs the key."""
        (problem,) = problems(minimal(idp_provider=None))
        self.assertTrue(
            problem.startswith("idp_provider: missing; authenticate and authorize need it: want")
        )

    @given(some_roles, st.data())
    def test_what_it_does_not_need_may_be_there(self, roles: set[str], data: st.DataObject) -> None:
        """A file that is good for all roles is good for any of them."""
        every = {**proxy(), **authenticate(), **authorize(), "grpc_address": ":5443"}
        one = data.draw(st.sampled_from(sorted(roles)))
        self.assertEqual(problems({**every, "services": sorted(roles)}), [])
        self.assertEqual(problems({**every, "services": one}), [])

    @given(
        some_roles, some_roles, st.sets(st.sampled_from([n.key for r in NEEDS for n in NEEDS[r]]))
    )
    def test_more_roles_need_no_less(self, few: set[str], more: set[str], given: set[str]) -> None:
        """What some roles miss, they and others miss too, but for what those bring along."""
        both = {*few, *more}
        brought = set()
        if both == set(ROLES):
            brought.add("shared_secret")  # which is then made
        if "authorize" in both:
            brought.add("authorize_service_url")  # nobody is asked then
        lone = {key for key, _ in missing(few, given)}
        self.assertLessEqual(lone - brought, {key for key, _ in missing(both, given)})

    def test_a_list_of_authorizes(self) -> None:
        """The list does for the one; the one goes in front of it, and none is there twice."""
        one, two = "https://a.internal", "https://b.internal:5443"
        a, b = Origin("https", "a.internal", 443), Origin("https", "b.internal", 5443)
        found = of(proxy(authorize_service_url=None, authorize_service_urls=[one, two]))
        self.assertEqual(found.authorize_service_urls, (a, b))
        found = of(proxy(authorize_service_url=two, authorize_service_urls=[one, two]))
        self.assertEqual(found.authorize_service_urls, (b, a))
        (problem,) = problems(proxy(authorize_service_url=None, authorize_service_urls=[]))
        self.assertTrue(problem.startswith("authorize_service_url: missing; proxy needs it"))

    def test_a_value_that_cannot_be_read_is_not_missing(self) -> None:
        """What is there and wrong is said once."""
        self.assertEqual(
            problems(proxy(shared_secret="x")),
            ["shared_secret: is not base64; `head -c32 /dev/urandom | base64` makes one"],
        )

    def test_needed(self) -> None:
        """Where settings were made by hand, what a role needs is asked for by its key."""
        self.assertEqual(needed("x", "idp_client_id"), "x")
        with self.assertRaises(SettingsError) as caught:
            needed(None, "idp_client_id")
        self.assertIn("idp_client_id: missing", str(caught.exception))


class ListeningTests(SynchronousTestCase):
    """Where authorize listens, and what makes room for it."""

    def where(self, given: dict[str, Any]) -> tuple[str, str, list[str]]:
        """Return address and grpc_address, and what was warned of."""
        found = of(given)
        grpc = "" if found.grpc_address is None else found.grpc_address.text
        return found.address.text, grpc, [str(warning) for warning in found.warnings]

    def test_by_default(self) -> None:
        """Alone it has 443 and says where its health went; beside browsers' roles it has not."""
        self.assertEqual(
            self.where(authorize()),
            (
                ":5443",
                ":443",
                [
                    (
                        "address: moved from :443 to :5443, as grpc_address has :443; it has /ping "
                        "and /healthz only; write 'address: :5443' to say the same"
                    )
                ],
            ),
        )
        both = authenticate(services=["authenticate", "authorize"])
        self.assertEqual(self.where(both), (":443", ":5443", []))
        self.assertEqual(self.where(minimal()), (":443", "", []))
        self.assertEqual(self.where(proxy(grpc_address=":1")), (":443", "", []))

    def test_what_is_moved(self) -> None:
        """One that is written is moved too, on its host; where they do not meet, none is."""
        address, grpc, warnings = self.where(authorize(address="10.0.0.1:443"))
        self.assertEqual((address, grpc, len(warnings)), ("10.0.0.1:5443", ":443", 1))
        self.assertEqual(self.where(authorize(address=":8443")), (":8443", ":443", []))
        self.assertEqual(
            self.where(authorize(address="10.0.0.1:443", grpc_address="10.0.0.2:443")),
            ("10.0.0.1:443", "10.0.0.2:443", []),
        )

    def test_the_move_is_no_setting(self) -> None:
        """Settings that say where it moved to are equal to those that moved it."""
        self.assertEqual(of(authorize()), of(authorize(address=":5443", grpc_address=":443")))

    def test_two_that_were_written(self) -> None:
        """Neither is moved where both were written, or where browsers know the one."""
        self.assertEqual(
            problems(authorize(address=":443", grpc_address="127.0.0.1:443")),
            [
                (
                    "address: grpc_address is 127.0.0.1:443 already; want another port, for "
                    "instance ':5443'"
                )
            ],
        )
        for more in (
            {"services": ["authenticate", "authorize"], "address": ":5443"},
            {"address": ":5443", "grpc_address": "0.0.0.0:5443"},
        ):
            self.assertEqual(
                problems({**authenticate(services="all"), **more}),
                [
                    (
                        "grpc_address: address is :5443 already; want another port, for instance "
                        "':5444'"
                    )
                ],
            )

    def test_metrics(self) -> None:
        """Metrics have a port of their own, beside both."""
        for address, taken in ((":443", "grpc_address is :443"), (":5443", "address is :5443")):
            self.assertEqual(
                problems(authorize(metrics_address=address)),
                [f"metrics_address: {taken} already; want another port for metrics"],
            )

    @given(addresses, addresses)
    def test_collisions(self, one: Address, other: Address) -> None:
        """Two addresses collide in either order; on two ports never, on any free port never."""
        self.assertEqual(one.collides(other), other.collides(one))
        self.assertEqual(one.collides(one), bool(one.port))
        if one.host in ("", "::") and one.port:
            self.assertTrue(one.collides(Address(other.host, one.port)))
        if one.host == EVERYWHERE_4:
            self.assertFalse(one.collides(Address("::1", one.port)))
        if one.port != other.port:
            self.assertFalse(one.collides(other))


class PlainTests(SynchronousTestCase):
    """gRPC without TLS is for loopback, or knowingly."""

    def test_authorize_listens(self) -> None:
        """Without certificates it is refused but on loopback, or where it is permitted."""
        missing_ones = (
            "certificates: missing; authorize needs them for gRPC: want at least one {cert, key}, "
            "a grpc_address on loopback, or 'grpc_insecure: true' where nobody else can listen in"
        )
        bare = authorize(**NO_CERTIFICATE)
        self.assertEqual(problems(bare), [missing_ones])
        for address in (":5443", "10.0.0.1:5443", "0.0.0.0:5443", "authorize.internal:5443"):
            self.assertEqual(problems({**bare, "grpc_address": address}), [missing_ones])
            self.assertEqual(problems({**bare, "grpc_address": address, "grpc_insecure": True}), [])
        for address in ("127.0.0.1:5443", "[::1]:5443", "localhost:5443"):
            self.assertEqual(problems({**bare, "grpc_address": address}), [])
        self.assertEqual(problems(minimal(grpc_address=":5443")), [missing_ones])

    def test_what_has_tls(self) -> None:
        """Certificates are for both listeners, each of which can be without."""
        for more, https, grpc in (
            ({}, True, True),
            ({"grpc_insecure": True}, True, False),
            ({"insecure_server": True}, False, True),
            ({**NO_CERTIFICATE, "grpc_insecure": True}, False, False),
        ):
            found = of(authorize(**more))
            self.assertEqual((found.https, found.grpc_tls), (https, grpc))
        self.assertEqual(
            problems(authorize(insecure_server=True, grpc_insecure=True)),
            ["insecure_server: with it the certificates are not used; want one or the other"],
        )

    def test_a_proxy_asks(self) -> None:
        """http:// is refused but on loopback, or where it is permitted: each at its place."""
        plain = (
            "want https://, got 'http://a.internal'; decisions could be forged on the way. "
            "'grpc_insecure: true' permits it"
        )
        for more in ({}, {"authorize_service_urls": ["https://b", "http://localhost:5443"]}):
            self.assertEqual(
                problems(proxy(authorize_service_url="http://a.internal", **more)),
                [f"authorize_service_url: {plain}"],
            )
        self.assertEqual(
            problems(proxy(authorize_service_urls=["https://b", "http://a.internal"])),
            [f"authorize_service_urls[1]: {plain}"],
        )
        for url in ("http://a.internal", "http://127.0.0.1:5443"):
            self.assertEqual(problems(proxy(authorize_service_url=url, grpc_insecure=True)), [])
        self.assertEqual(problems(proxy(authorize_service_url="http://[::1]:5443")), [])

    def test_tls_that_was_switched_off(self) -> None:
        """grpc_insecure with https:// is refused: Pomerium took TLS off then."""
        self.assertEqual(
            problems(proxy(grpc_insecure=True)),
            [
                (
                    "authorize_service_url: 'https://authorize.internal:5443' is gRPC with TLS, "
                    "and grpc_insecure is set; want http://, or grpc_insecure taken out"
                )
            ],
        )

    def test_nobody_is_asked_where_it_is_decided(self) -> None:
        """With authorize in the process, the URL says no more than a name."""
        both = proxy(services=["proxy", "authorize"], idp_provider="google")
        for file in (minimal(), authenticate(services="all"), both):
            for url in ("http://a.internal", "https://authorize.internal"):
                given = {**file, "authorize_service_url": url, "grpc_insecure": True}
                self.assertEqual(problems(given), [])

    def test_tls_settings_without_tls(self) -> None:
        """What would be verified by TLS is refused where there is none."""
        chain, key = (octets.decode() for octets in pair())
        for name, value in (
            ("certificate_authority", chain),
            ("override_certificate_name", "a"),
            ("grpc_client_certificate", chain),
        ):
            more = {"grpc_client_certificate_key": key} if "client" in name else {}
            self.assertEqual(
                problems(proxy(authorize_service_url="http://[::1]", **{name: value}, **more)),
                [f"{name}: means nothing: authorize is reached over http://"],
            )
        self.assertEqual(
            problems(authorize(grpc_insecure=True, grpc_client_ca=chain)),
            ["grpc_client_ca: nobody would be asked: gRPC is without TLS; want certificates"],
        )
        self.assertEqual(problems(authorize(grpc_client_ca=chain)), [])

    def test_half_a_client_pair(self) -> None:
        """Half a client certificate is named by the missing half."""
        chain, _ = pair()
        self.assertEqual(
            problems(proxy(grpc_client_certificate=chain.decode())),
            [
                (
                    "grpc_client_certificate_key: missing; half of a pair does not do, and "
                    "grpc_client_certificate is there"
                )
            ],
        )

    def test_time_for_another(self) -> None:
        """An attempt is shorter than the whole, at whichever of the two was written."""
        for more, at, small, large in (
            ({"grpc_attempt_timeout": "10s"}, "grpc_attempt_timeout", "10s", "10s"),
            ({"grpc_client_timeout": "200ms"}, "grpc_client_timeout", "250ms", "200ms"),
        ):
            self.assertEqual(
                problems(proxy(**more)),
                [
                    (
                        f"{at}: want grpc_attempt_timeout ({small}) shorter than "
                        f"grpc_client_timeout ({large}), so that there is time for another replica"
                    )
                ],
            )


class RestTests(SynchronousTestCase):
    """Rules that were for a process with all roles, where it has one."""

    def test_a_proxy_has_no_provider(self) -> None:
        """Half a provider is none of a proxy's business."""
        self.assertEqual(problems(proxy(idp_provider="oidc")), [])
        self.assertEqual(
            problems(authorize(idp_provider="oidc")),
            ["idp_provider_url: missing; oidc has no issuer common to all"],
        )

    def test_authorize_has_no_cookies(self) -> None:
        """Secure cookies over http are for those who set them to find."""
        plain = [route(**{"from": "http://wiki.example.com"})]
        self.assertEqual(problems(authorize(policy=plain)), [])
        (problem,) = problems(proxy(policy=plain))
        self.assertTrue(problem.startswith("policy[0].from: with http:// the browser keeps"))

    def test_clusters_alone_do(self) -> None:
        """With clusters, an authorize needs neither sign-in nor provider of its own."""
        bare = authorize(authenticate_service_url=None, idp_provider=None)
        self.assertEqual(
            [problem.partition(": want")[0] for problem in problems(bare)],
            [
                "authenticate_service_url: missing; authorize needs it, or clusters",
                "idp_provider: missing; authorize needs it, or clusters",
            ],
        )
        self.assertEqual(problems({**bare, "clusters": [cluster("a")]}), [])
        self.assertEqual(len(problems({**bare, "clusters": []})), 2)

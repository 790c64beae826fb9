"""Tests for what a provider may say about itself."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import ProviderError
from pomeriumd.oidc.kinds import KINDS
from pomeriumd.oidc.metadata import (
    Metadata,
    discovery_url,
    issuer_problem,
    read_metadata,
)

ISSUER = "https://idp.example.com/tenant"
TENANT_ID = "9188040d-6c67-4c5b-b112-36a304b66dad"


def document(**changes: Any) -> dict[str, Any]:
    """Return good metadata, changed; None takes a member out."""
    members = {
        "issuer": ISSUER,
        "authorization_endpoint": "https://idp.example.com/authorize",
        "token_endpoint": "https://idp.example.com/token",
        "jwks_uri": "https://keys.example.net/jwks",
        **changes,
    }
    return {name: value for name, value in members.items() if value is not None}


def read(given: dict[str, Any], issuer: str = ISSUER, kind: str = "oidc") -> Metadata:
    """Read ``given`` as the metadata of ``issuer``."""
    return read_metadata(given, issuer=issuer, kind=KINDS[kind], algorithms=("RS256", "ES256"))


class ReadTests(SynchronousTestCase):
    """read_metadata() keeps what we use, of the right issuer only."""

    def refused(self, given: dict[str, Any], issuer: str = ISSUER, kind: str = "oidc") -> str:
        """Return the text of the refusal."""
        with self.assertRaises(ProviderError) as caught:
            read(given, issuer, kind)
        return str(caught.exception)

    def test_reads_all_members(self) -> None:
        """Everything that we use is there, with the defaults of the standard."""
        least = read(document())
        self.assertEqual(least.token_endpoint_auth_methods, ("client_secret_basic",))
        self.assertIsNone(least.userinfo_endpoint)
        self.assertIs(least.names_itself, False)
        most = read(
            document(
                userinfo_endpoint="https://idp.example.com/me",
                end_session_endpoint="https://idp.example.com/bye?x=1",
                revocation_endpoint="https://idp.example.com/revoke",
                token_endpoint_auth_methods_supported=["client_secret_post", 7],
                authorization_response_iss_parameter_supported=True,
            )
        )
        self.assertEqual(most.token_endpoint_auth_methods, ("client_secret_post",))
        self.assertEqual(most.end_session_endpoint, "https://idp.example.com/bye?x=1")
        self.assertIs(most.names_itself, True)

    def test_issuer_must_be_the_same_text(self) -> None:
        """Not one slash, case or port may differ."""
        for other in (
            "https://idp.example.com/tenant/",
            "https://idp.example.com/Tenant",
            "https://idp.example.com:443/tenant",
            "https://evil.example.com/tenant",
            "http://idp.example.com/tenant",
            f"{ISSUER}{{tenantid}}",
        ):
            self.assertEqual(
                self.refused(document(issuer=other)),
                f"metadata: issuer is {other!r}, want 'https://idp.example.com/tenant'",
            )
        for none in (None, 7, [ISSUER], ""):
            self.refused({**document(), "issuer": none})

    def test_endpoints_stay_outside_our_network(self) -> None:
        """No endpoint is plain http, an address in any spelling, or a bare name (O18)."""
        for url in (
            "http://idp.example.com/token",
            "https://127.0.0.1/token",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0x7f000001/",
            "https://169.254.169.254/latest",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://localhost/",
            "https://x.localhost/",
            "https://metadata/",
            "https://10.0.0.1.:443/",
            "https://\u0131nternal.example/",
            "https://user@idp.example.com/",
            "https://idp.example.com\\@evil.example/",
            "https://idp.example.com/#part",
            "https://idp.example.com:0/",
            "https://idp.example.com:x/",
            "https:///token",
            "//idp.example.com/token",
            "file:///etc/passwd",
            "gopher://idp.example.com/",
            "https://idp.example.com/a b",
            "https://idp.example.com/\r\nx",
            "https://idp.example.com/" + "a" * 2_048,
            "",
            7,
            ["https://idp.example.com/token"],
        ):
            for name in ("token_endpoint", "jwks_uri", "userinfo_endpoint"):
                text = self.refused(document(**{name: url}))
                self.assertTrue(text.startswith(f"metadata: {name} is "), text)
                self.assertLess(len(text), 400)

    def test_endpoints_may_be_on_the_issuers_host_or_full_names(self) -> None:
        """Google's hosts, a port, and an issuer that is a bare name itself are fine."""
        read(document(token_endpoint="https://oauth2.googleapis.com/token"))
        read(document(token_endpoint="https://idp.example.com:8443/token"))
        for issuer in ("https://10.1.2.3:8443", "https://keycloak"):
            names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
            ends = dict.fromkeys(names, f"{issuer}/x")
            read({"issuer": issuer, **ends}, issuer)

    def test_a_loopback_issuer_stays_on_loopback(self) -> None:
        """An http issuer's endpoints are on this machine, in http or https."""
        issuer = "http://127.0.0.1:9400"
        ends = dict.fromkeys(
            ("authorization_endpoint", "token_endpoint", "jwks_uri"), "http://127.0.0.1:9400/x"
        )
        read({"issuer": issuer, **ends}, issuer)
        read({"issuer": issuer, **ends, "jwks_uri": "http://localhost:1/x"}, issuer)
        self.refused({"issuer": issuer, **ends, "jwks_uri": "http://idp.example.com/"}, issuer)

    def test_missing_endpoints_are_named(self) -> None:
        """Without one of the three needed ones nobody can sign in."""
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            self.assertEqual(self.refused(document(**{name: None})), f"metadata: {name} is missing")

    def test_nowhere_to_begin(self) -> None:
        """Nor to end: a document that no sign-in can use does not take a good one's place."""
        for name in ("state", "client_id", "nonce", "code_challenge_method"):
            for query in (f"{name}=x", f"a=b&{name}", f"{name}="):
                self.assertEqual(
                    self.refused(document(authorization_endpoint=f"{ISSUER}/a?{query}")),
                    f"metadata: authorization_endpoint has {name} in its own URL",
                )
        read(document(authorization_endpoint=f"{ISSUER}/a?p=b2c"))
        for methods in (["private_key_jwt"], [], ["none", 7]):
            self.assertEqual(
                self.refused(document(token_endpoint_auth_methods_supported=methods)),
                "metadata: client authentication is none of "
                "client_secret_basic, client_secret_post",
            )

    def test_algorithms_without_overlap_are_an_operators_matter(self) -> None:
        """Better said here than at each sign-in."""
        self.assertEqual(
            self.refused(document(id_token_signing_alg_values_supported=["HS256", "none"])),
            "metadata: ID tokens are signed by ['HS256', 'none'], "
            "idp_signing_algorithms takes RS256, ES256",
        )
        read(document(id_token_signing_alg_values_supported=["HS256", "ES256"]))

    @given(
        st.dictionaries(
            st.sampled_from(sorted(document(userinfo_endpoint=ISSUER))),
            st.none() | st.integers() | st.text() | st.lists(st.text()),
        )
    )
    def test_garbage_is_a_provider_error(self, changes: dict[str, Any]) -> None:
        """No other exception comes out, whatever a member is."""
        try:
            read({**document(), **changes})
        except ProviderError:
            return


class TenantTests(SynchronousTestCase):
    """Microsoft's endpoints for many tenants name a template, and nothing else may."""

    TEMPLATE = "https://login.microsoftonline.com/{tenantid}/v2.0"
    COMMON = "https://login.microsoftonline.com/common/v2.0"

    def metadata(self, **changes: Any) -> Metadata:
        """Return the metadata of the common endpoint."""
        return read(document(issuer=self.TEMPLATE, **changes), self.COMMON, "azure")

    def test_one_tenant_at_a_time_is_the_issuer(self) -> None:
        """The template stands for one tenant's id, and only an id."""
        metadata = self.metadata()
        self.assertTrue(metadata.is_issuer(f"https://login.microsoftonline.com/{TENANT_ID}/v2.0"))
        for tenant in ("", "common", "{tenantid}", f"{TENANT_ID}/x", f"x{TENANT_ID}", "a/../b"):
            self.assertFalse(
                metadata.is_issuer(f"https://login.microsoftonline.com/{tenant}/v2.0"), tenant
            )
        self.assertFalse(metadata.is_issuer("https://evil.example/v2.0"))
        self.assertFalse(metadata.is_issuer(""))

    def test_one_tenants_endpoint_names_itself(self) -> None:
        """Who configures one tenant gets that tenant, not the template."""
        issuer = f"https://login.microsoftonline.com/{TENANT_ID}/v2.0"
        self.assertTrue(read(document(issuer=issuer), issuer, "azure").is_issuer(issuer))
        with self.assertRaises(ProviderError):
            read(document(issuer=self.TEMPLATE), issuer, "azure")

    def test_no_other_kind_has_templates(self) -> None:
        """A generic provider that names a template is refused."""
        with self.assertRaises(ProviderError):
            read(document(issuer=self.TEMPLATE), self.COMMON, "oidc")


class IssuerTests(SynchronousTestCase):
    """An issuer of the settings is https, or plain on this machine."""

    def test_good_issuers(self) -> None:
        """Paths, ports and trailing slashes are as the provider has them."""
        for issuer in (
            "https://idp.example.com",
            "https://idp.example.com:8443/realms/x/",
            "http://127.0.0.1:9400",
            "http://127.9.9.9",
            "http://[::1]:80",
            "http://localhost:9400/x",
        ):
            self.assertIsNone(issuer_problem(issuer), issuer)

    def test_bad_issuers(self) -> None:
        """Each is refused with what was wanted."""
        for issuer, text in (
            (
                "http://idp.example.com",
                "want https:// (http:// on a loopback address only), got 'http://idp.example.com'",
            ),
            ("idp.example.com", "want a URL, got 'idp.example.com'"),
            ("", "want a URL, got ''"),
            (
                "https://u@idp.example.com",
                "want scheme, host and path only, got 'https://u@idp.example.com'",
            ),
            (
                "https://idp.example.com?x",
                "want scheme, host and path only, got 'https://idp.example.com?x'",
            ),
        ):
            self.assertEqual(issuer_problem(issuer), text)
        for issuer in (
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "http://128.0.0.1",
            "http://[::2]",
            "ftp://127.0.0.1",
            "https://a/{x}",
        ):
            self.assertIsNotNone(issuer_problem(issuer), issuer)

    def test_discovery_url_has_one_slash(self) -> None:
        """A slash at the issuer's end is not doubled."""
        for issuer in ("https://a/b", "https://a/b/"):
            self.assertEqual(discovery_url(issuer), "https://a/b/.well-known/openid-configuration")

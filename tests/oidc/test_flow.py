"""Tests for the URLs, bodies and answers of the code flow."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote_plus, urlsplit

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.errors import LoginFailed, ProviderError
from pomeriumd.oidc.flow import (
    MAX_HINT,
    Credentials,
    Form,
    Refusal,
    authorization_url,
    challenge,
    check_response_issuer,
    code_form,
    logout_url,
    read_refusal,
    read_tokens,
    refresh_form,
    revoke_form,
)
from pomeriumd.oidc.metadata import Metadata

METADATA = Metadata(
    issuer="https://idp",
    authorization_endpoint="https://idp/authorize",
    token_endpoint="https://idp/token",
    jwks_uri="https://idp/jwks",
    userinfo_endpoint=None,
    revocation_endpoint="https://idp/revoke",
    end_session_endpoint="https://idp/bye",
    token_endpoint_auth_methods=("client_secret_basic",),
    revocation_endpoint_auth_methods=("client_secret_basic",),
    names_itself=False,
)
WHO = Credentials("client", b"s3cret")
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
BACK = "https://auth.example.com/oauth2/callback"


def metadata(**changes: Any) -> Metadata:
    """Return good metadata, changed."""
    return attrs.evolve(METADATA, **changes)


def body(form: Form | None) -> dict[str, str]:
    """Return the parameters that a form sends."""
    assert form is not None
    return dict(parse_qsl(form.body.decode("ascii"), strict_parsing=True))


class AuthorizationTests(SynchronousTestCase):
    """The authorization request has everything that protects it, always."""

    def url(self, given: Metadata = METADATA, **changes: Any) -> str:
        """Return the URL for a sign-in, changed."""
        return authorization_url(
            given,
            **{
                "client_id": "client",
                "redirect_uri": BACK,
                "scopes": ("openid", "email"),
                "state": "st&te",
                "nonce": "n=1",
                "verifier": VERIFIER,
                **changes,
            },
        )

    def test_challenge_is_that_of_the_rfc(self) -> None:
        """The example of RFC 7636 appendix B."""
        self.assertEqual(challenge(VERIFIER), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")

    def test_verifiers_that_are_none(self) -> None:
        """Too short, too long, other characters, none: this sign-in is not ours (O5)."""
        for verifier in ("", "a" * 42, "a" * 129, "a" * 42 + "+", "a" * 43 + "\n", "é" * 43):
            with self.assertRaises(LoginFailed) as caught:
                challenge(verifier)
            self.assertEqual(caught.exception.check, "pkce")

    def test_has_each_parameter_once(self) -> None:
        """PKCE, state and nonce are there, and the verifier is not."""
        url = self.url(more=(("prompt", "login"), ("prompt", "none")))
        self.assertEqual(
            parse_qs(urlsplit(url).query, strict_parsing=True),
            {
                "response_type": ["code"],
                "client_id": ["client"],
                "redirect_uri": [BACK],
                "scope": ["openid email"],
                "state": ["st&te"],
                "nonce": ["n=1"],
                "code_challenge": [challenge(VERIFIER)],
                "code_challenge_method": ["S256"],
                "prompt": ["none"],
            },
        )
        self.assertNotIn(VERIFIER, url)

    def test_keeps_the_endpoints_own_query(self) -> None:
        """Azure B2C names its policy there."""
        for end in ("?p=x", "?p=x&"):
            url = self.url(metadata(authorization_endpoint=f"https://idp/a{end}"))
            self.assertTrue(url.startswith("https://idp/a?p=x&response_type=code&"), url)
        url = self.url(metadata(authorization_endpoint="https://idp/a?"))
        self.assertTrue(url.startswith("https://idp/a?response_type=code&"), url)

    def test_an_endpoint_cannot_double_a_parameter(self) -> None:
        """Which of two client_ids counts would be the provider's guess."""
        with self.assertRaises(ProviderError) as caught:
            self.url(metadata(authorization_endpoint="https://idp/a?client_id=evil"))
        self.assertEqual(
            str(caught.exception), "metadata: an endpoint has client_id in its own URL"
        )

    def test_state_and_nonce_are_never_empty(self) -> None:
        """A caller that forgot one is a bug, not a weaker sign-in."""
        for state, nonce in (("", "n"), ("s", "")):
            with self.assertRaises(ValueError):
                self.url(state=state, nonce=nonce)

    @given(st.text(min_size=1), st.text(min_size=1))
    def test_any_state_and_nonce_arrive_as_they_are(self, state: str, nonce: str) -> None:
        """Encoding loses and adds nothing."""
        if not (state + nonce).isprintable():  # surrogates cannot be sent
            return
        sent = dict(parse_qsl(urlsplit(self.url(state=state, nonce=nonce)).query))
        self.assertEqual((sent["state"], sent["nonce"]), (state, nonce))


class ResponseIssuerTests(SynchronousTestCase):
    """An authorization response of another provider does not get our code redeemed (O1)."""

    def test_required_when_promised_checked_when_there(self) -> None:
        """Missing is fine only where the provider never names itself."""
        check_response_issuer(METADATA, None)
        for named in (False, True):
            check_response_issuer(metadata(names_itself=named), "https://idp")
            for other in ("https://evil", "https://idp/", ""):
                with self.assertRaises(LoginFailed) as caught:
                    check_response_issuer(metadata(names_itself=named), other)
                self.assertEqual(caught.exception.check, "issuer-parameter")
                self.assertEqual(
                    str(caught.exception), f"iss parameter: is {other!r}, want 'https://idp'"
                )
        with self.assertRaises(LoginFailed) as caught:
            check_response_issuer(metadata(names_itself=True), None)
        self.assertEqual(str(caught.exception), "iss parameter: missing, the provider promised one")


class FormTests(SynchronousTestCase):
    """The forms are those of the RFCs, and show our secret in the advertised way."""

    def code(self, given: Metadata = METADATA, code: str = "c0de", who: Credentials = WHO) -> Form:
        """Return the form that exchanges a code."""
        return code_form(given, who, code=code, verifier=VERIFIER, redirect_uri=BACK)

    def test_exchanges_a_code(self) -> None:
        """Code, verifier and the redirect address, with the secret in the header."""
        form = self.code()
        self.assertEqual(
            body(form),
            {
                "grant_type": "authorization_code",
                "code": "c0de",
                "redirect_uri": BACK,
                "code_verifier": VERIFIER,
            },
        )
        self.assertEqual(form.authorization, b"Basic " + base64.b64encode(b"client:s3cret"))

    def test_secret_in_the_body_where_only_that_is_taken(self) -> None:
        """client_secret_post only when basic is not advertised."""
        form = self.code(metadata(token_endpoint_auth_methods=("client_secret_post",)))
        self.assertIsNone(form.authorization)
        self.assertEqual(body(form)["client_id"], "client")
        self.assertEqual(body(form)["client_secret"], "s3cret")
        both = ("client_secret_post", "client_secret_basic")
        form = self.code(metadata(token_endpoint_auth_methods=both))
        self.assertIsNotNone(form.authorization)
        self.assertNotIn("client_secret", body(form))

    def test_other_client_authentication_is_not_ours(self) -> None:
        """A provider that takes only keys or certificates is an operator's matter."""
        for methods in ((), ("private_key_jwt", "none"), ("tls_client_auth",)):
            with self.assertRaises(ProviderError) as caught:
                self.code(metadata(token_endpoint_auth_methods=methods))
            self.assertEqual(
                str(caught.exception),
                "metadata: client authentication is none of "
                "client_secret_basic, client_secret_post",
            )

    @given(st.text(st.characters(codec="utf-8"), min_size=1), st.binary(min_size=1, max_size=30))
    def test_basic_has_one_colon(self, client_id: str, secret: bytes) -> None:
        """Whatever is in id and secret, they come apart again (RFC 6749 section 2.3.1)."""
        form = self.code(who=Credentials(client_id, secret))
        assert form.authorization is not None
        pair = base64.b64decode(form.authorization.removeprefix(b"Basic ")).decode("ascii")
        left, right = pair.split(":")
        self.assertEqual(unquote_plus(left), client_id)
        self.assertEqual(unquote_plus(right, encoding="latin-1").encode("latin-1"), secret)

    def test_codes_that_are_none(self) -> None:
        """Empty, endless, or with what no code has."""
        for code in ("", "a" * 8_193, "a b", "a\n", "é", "\x00"):
            with self.assertRaises(LoginFailed) as caught:
                self.code(code=code)
            self.assertEqual(caught.exception.check, "code")

    def test_refreshes_and_revokes(self) -> None:
        """One token each, to its endpoint; revocation only where there is one."""
        form = refresh_form(METADATA, WHO, "r&1")
        self.assertEqual(body(form), {"grant_type": "refresh_token", "refresh_token": "r&1"})
        self.assertEqual(form.url, "https://idp/token")
        revoke = revoke_form(METADATA, WHO, "r&1", "refresh_token")
        self.assertEqual(body(revoke), {"token": "r&1", "token_type_hint": "refresh_token"})
        assert revoke is not None
        self.assertEqual(revoke.url, "https://idp/revoke")
        self.assertIsNone(
            revoke_form(metadata(revocation_endpoint=None), WHO, "r", "refresh_token")
        )

    def test_reprs_hold_no_secret(self) -> None:
        """Neither credentials, forms nor tokens show what is in them."""
        tokens = read_tokens({"access_token": "A-TOKEN", "token_type": "Bearer", "id_token": "I.T"})
        shown = repr((WHO, self.code(), tokens))
        for secret in ("s3cret", "c0de", VERIFIER, "A-TOKEN", "I.T", "Basic"):
            self.assertNotIn(secret, shown)


class LogoutTests(SynchronousTestCase):
    """Logout at the provider is asked for where it is advertised."""

    def url(self, given: Metadata = METADATA, id_token: str | None = "i.d.t") -> str | None:
        """Return the logout URL."""
        return logout_url(
            given, client_id="client", id_token=id_token, redirect_uri="https://a/", state="s"
        )

    def test_names_client_session_and_way_back(self) -> None:
        """All that lets the provider act without asking."""
        self.assertEqual(
            self.url(),
            "https://idp/bye?client_id=client&post_logout_redirect_uri=https%3A%2F%2Fa%2F"
            "&state=s&id_token_hint=i.d.t",
        )

    def test_without_a_hint(self) -> None:
        """A token that is missing or would not fit a URL is left out."""
        for id_token in (None, "x" * (MAX_HINT + 1)):
            url = self.url(id_token=id_token)
            assert url is not None
            self.assertNotIn("id_token_hint", url)

    def test_nothing_advertised(self) -> None:
        """No URL is made up."""
        self.assertIsNone(self.url(metadata(end_session_endpoint=None)))


class AnswerTests(SynchronousTestCase):
    """Token answers are read with bounds, and errors without a stranger's control text."""

    def test_reads_tokens(self) -> None:
        """Any case of Bearer; an empty refresh token is none; unknown members are ignored."""
        tokens = read_tokens(
            {"access_token": "a", "token_type": "bEARER", "refresh_token": "", "expires_in": -1}
        )
        self.assertEqual(
            (tokens.access_token, tokens.id_token, tokens.refresh_token), ("a", None, None)
        )

    def test_what_is_no_token_answer(self) -> None:
        """Each member is what it must be, or the provider is lying."""
        good = {"access_token": "a", "token_type": "Bearer"}
        for changes, text in (
            ({"token_type": "mac"}, "token answer: token_type is not Bearer"),
            ({"token_type": None}, "token answer: token_type is not Bearer"),
            ({"access_token": None}, "token answer: access_token is missing"),
        ):
            with self.assertRaises(ProviderError) as caught:
                read_tokens({**good, **changes})
            self.assertEqual(str(caught.exception), text)
        for name in ("access_token", "id_token", "refresh_token"):
            for value in (7, ["a"], "a b", "a\r\nX: y", "é", "a" * 65_537, True):
                with self.assertRaises(ProviderError) as caught:
                    read_tokens({**good, name: value})
                self.assertEqual(
                    str(caught.exception),
                    f"token answer: {name} is not 1 to 65536 visible ASCII characters",
                )

    def test_error_words_are_bounded(self) -> None:
        """Control characters end them; what is no text is none."""
        self.assertEqual(
            read_refusal({"error": "invalid_grant", "error_description": "too late\nx"}),
            Refusal("invalid_grant", "too late"),
        )
        self.assertEqual(read_refusal({"error": ["x"]}), Refusal("", ""))
        self.assertEqual(read_refusal({"error": "\x1b[31m"}), Refusal("", ""))
        self.assertEqual(len(read_refusal({"error": "x" * 999}).error), 200)

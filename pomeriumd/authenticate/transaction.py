"""
One sign-in at the provider: what is kept of it while the person is there.

``state`` is the id of a sealed cookie; verifier and nonce never leave it. Only the browser
that began a sign-in can end it, and it ends at the target with which it began.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from pomeriumd.crypto import base64url
from pomeriumd.errors import LoginFailed
from pomeriumd.session.sign_in import SignInRequest

_ERROR = re.compile(r"[a-z_]{1,64}")
"""An error code of RFC 6749 or OpenID Connect."""

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")

DESCRIPTION_SIZE = 300
"""Characters of the provider's own words that are shown."""

_ADVICE = {
    "access_denied": "You, or the identity provider's rules, declined this sign-in.",
    "login_required": "The identity provider wants you to sign in there first.",
    "interaction_required": "The identity provider wants something of you first.",
    "consent_required": "The identity provider wants your consent first.",
    "server_error": "The identity provider has a problem. Please try again shortly.",
    "temporarily_unavailable": "The identity provider is busy. Please try again shortly.",
}
_OPERATORS = (
    "The identity provider does not accept how this service is set up there."
    " Please tell whoever runs this service."
)


@attrs.frozen(kw_only=True)
class Transaction:
    """A sign-in under way at the provider."""

    verifier: str = attrs.field(repr=False)
    nonce: str = attrs.field(repr=False)
    issuer: str
    """The provider that was asked."""
    asked: SignInRequest

    @classmethod
    def begun(cls, issuer: str, asked: SignInRequest, chance: bytes) -> Transaction:
        """
        Return a new one.

        Args:
            issuer: of the provider that will be asked.
            asked: what the route host wants to know.
            chance: 64 unpredictable bytes.
        """
        return cls(
            verifier=base64url.encode(chance[:32]),
            nonce=base64url.encode(chance[32:64]),
            issuer=issuer,
            asked=asked,
        )

    def content(self) -> dict[str, object]:
        """Return what the sealed cookie holds."""
        return {
            "verifier": self.verifier,
            "nonce": self.nonce,
            "issuer": self.issuer,
            "redirect": self.asked.redirect,
            "login": self.asked.login,
        }

    @classmethod
    def kept(cls, content: Mapping[str, Any]) -> Transaction:
        """Return what :meth:`content` gave; it was under our seal all the time."""
        return cls(
            verifier=content["verifier"],
            nonce=content["nonce"],
            issuer=content["issuer"],
            asked=SignInRequest(redirect=content["redirect"], login=content["login"]),
        )

    def code(self, given: Mapping[str, str], issuer: str) -> str:
        """
        Return the code that the provider sent.

        Args:
            given: the callback's parameters; that ``state`` is ours is known already.
            issuer: of the provider that is configured now.

        Raises:
            LoginFailed: it sent an error, no code, or another provider was asked.
        """
        if issuer != self.issuer:
            raise LoginFailed(
                "sign-in began at another provider than the one in the settings",
                "issuer-changed",
                "The identity provider was changed while you were signing in. Please start again.",
            )
        if "error" in given:
            raise refusal(given["error"], given.get("error_description", ""))
        if not given.get("code"):
            raise LoginFailed(
                "callback without a code",
                "code-missing",
                "The identity provider's answer is incomplete. Please start again.",
            )
        return given["code"]


def refusal(error: str, description: str) -> LoginFailed:
    """
    Return the error for a provider that said no.

    Args:
        error: its code, as it came.
        description: its own words, as they came: of use to whoever runs the service (the
            codes of Entra ID stand there), and shown only to a browser whose sign-in it is.
    """
    if _ERROR.fullmatch(error) is None:
        error = "unreadable"
    words = _UNPRINTABLE.sub(" ", description).strip()[:DESCRIPTION_SIZE]
    said = f' It said: "{words}"' if words else ""
    advice = _ADVICE.get(error, _OPERATORS)
    return LoginFailed(
        f"provider answered with error {error}",
        "provider-error",
        f"{advice} Its error is {error}.{said}",
    )


def lost(pairs: Iterable[tuple[bytes, bytes]]) -> LoginFailed:
    """Return the error for a callback whose transaction this browser does not have."""
    if not any(True for _ in pairs):
        return LoginFailed(
            "callback without any cookie",
            "state-cookie",
            "This browser sent no cookie at all. Either it does not keep cookies for this"
            " address, or the sign-in was begun in another browser or a private window."
            " Allow cookies, then open the application again from its own address.",
        )
    return LoginFailed(
        "callback without its state cookie",
        "state-cookie",
        "The cookie that was set when this sign-in began did not come back. Either it took"
        " more than 60 minutes, or it was begun in another browser, or it has ended already"
        " and this page was loaded again. Open the application again from its own address.",
    )

"""
Every check of a provider's answer that can fail here, by its stable word.

The word stands on the page, in the log and in the manual's troubleshooting table; the
sentences are what the user reads. Pure.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from pomeriumd.errors import LoginFailed

_OPERATOR = "If it happens again, please tell whoever runs this service."

EXPLANATIONS: Final = MappingProxyType(
    {
        "clock": (
            "The clocks of this service and of the identity provider seem to differ. "
            "Please tell whoever runs this service."
        ),
        "code": (
            "The sign-in took too long, or its last page was loaded twice. Please start again."
        ),
        "id-token-access-token": (
            f"The identity provider's answer does not fit together. Please try again. {_OPERATOR}"
        ),
        "id-token-algorithm": (
            "The identity provider signs in a way that this service is not set up for. "
            "Please tell whoever runs this service."
        ),
        "id-token-audience": (
            "The identity provider's answer was made for another application. "
            f"Please try again. {_OPERATOR}"
        ),
        "id-token-format": (
            f"The identity provider's answer could not be read. Please try again. {_OPERATOR}"
        ),
        "id-token-issuer": (
            "The answer comes from another identity provider than the one that was asked. "
            f"Please start again. {_OPERATOR}"
        ),
        "id-token-key": (
            "The identity provider signed with a key that it does not publish (yet). "
            f"Please try again in a minute. {_OPERATOR}"
        ),
        "id-token-nonce": (
            "The identity provider's answer belongs to another sign-in. Please start again."
        ),
        "id-token-signature": (
            f"The identity provider's signature is not valid. Please try again. {_OPERATOR}"
        ),
        "id-token-subject": (
            "The identity provider's answer is about another account, or about none. "
            f"Please start again. {_OPERATOR}"
        ),
        "id-token-time": (
            "The identity provider's answer holds a time that cannot be. "
            "Please tell whoever runs this service."
        ),
        "issuer-parameter": (
            "The answer comes from another identity provider than the one that was asked. "
            f"Please start again. {_OPERATOR}"
        ),
        "pkce": "This sign-in was not started here. Please start again.",
        "userinfo-subject": (
            "The identity provider gave two different answers about who you are. "
            f"Please try again. {_OPERATOR}"
        ),
    }
)
"""What the user reads, by check."""


def refusal(check: str, text: str) -> LoginFailed:
    """
    Build the error for one failed check.

    Args:
        check: a word of EXPLANATIONS.
        text: for the log: a fragment, without any token.
    """
    return LoginFailed(text, check, EXPLANATIONS[check])

"""
The account at an authority: made once, known again by what lies in ``autocert_dir``.

Source: RFC 8555 section 7.3.
"""

from __future__ import annotations

import json
from typing import Any

import attrs
from acme.jws import JWS
from josepy.jwa import HS256
from josepy.jwk import JWKOct

from pomeriumd.acme.problems import REFUSED, AcmeError
from pomeriumd.acme.wire import Wire

STRANGER = "accountDoesNotExist"
"""The authority does not know the account: it has forgotten it, or the URL is another one's."""


@attrs.frozen(kw_only=True)
class Registration:
    """What an account is made out to."""

    email: str | None
    eab_key_id: str | None
    eab_mac_key: bytes | None = attrs.field(repr=False)

    @property
    def contact(self) -> list[str]:
        """Return it as the authority wants it."""
        return [] if self.email is None else [f"mailto:{self.email}"]


async def registered(wire: Wire, registration: Registration) -> str:
    """
    Return the URL of the account of the wire's key; it is made if there is none.

    Whoever runs an ACME client agrees to the terms of the authority that they name, as with
    Pomerium.

    Raises:
        AcmeError: the authority wants none such, or cannot be asked.
    """
    directory = await wire.directory()
    meta = directory.get("meta")
    wants_binding = isinstance(meta, dict) and bool(meta.get("externalAccountRequired"))
    if wants_binding and registration.eab_mac_key is None:
        raise AcmeError(
            "the authority takes accounts of its customers only: set autocert_eab_key_id and "
            "autocert_eab_mac_key to what it has given you",
            REFUSED,
            whole=True,
        )
    url = directory["newAccount"]
    payload: dict[str, Any] = {"termsOfServiceAgreed": True, "contact": registration.contact}
    if registration.eab_mac_key is not None:
        payload["externalAccountBinding"] = _binding(wire, url, registration)
    try:
        reply = await wire.post(url, payload, fresh=True)
    except AcmeError as error:
        error.whole = True
        raise
    return reply.location()


async def contacted(wire: Wire, registration: Registration) -> None:
    """Tell the authority another address of the account's owner."""
    await wire.post(wire.kid, {"contact": registration.contact})


def _binding(wire: Wire, url: str, registration: Registration) -> dict[str, Any]:
    """Return the proof that the account is a customer's. RFC 8555 section 7.3.4."""
    signed = JWS.sign(
        wire.key.public_key().json_dumps().encode("ascii"),
        key=JWKOct(key=registration.eab_mac_key),
        alg=HS256,
        nonce=None,
        url=url,
        kid=registration.eab_key_id,
    )
    found: dict[str, Any] = json.loads(signed.json_dumps())
    return found

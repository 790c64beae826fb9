"""
Which request field names a client may not send on: they would speak in our name.

An upstream behind a proxy believes some fields because only its proxy can set them. So
whatever we set, whatever another proxy would set in our place, and whatever tells the
upstream to serve another path or method than the one that was decided, ends here, on every
route, public ones too.

A name that is not made of letters, digits and hyphens alone ends here as well. CGI and
what copied it (WSGI, PHP, FastCGI, old httpd) turn ``_``, and some of them ``.`` or
every other sign, into what ``-`` becomes, and then ``X_Pomerium_Jwt.Assertion`` is read as
ours. No registered field needs such a name.
"""

from __future__ import annotations

import re

FAMILIES = (
    # What we set, or will.
    b"x-pomerium",
    b"x-forwarded",
    # Another path, host or method than the one that was decided (nginx, IIS, Envoy, Zend).
    b"x-original",
    b"x-accel",
    b"x-envoy",
    # Who is asking, in the words of other access proxies: an application that was set up
    # for one of them believes these. (Authelia and httpd; Kubernetes; oauth2-proxy;
    # authentik; Grafana; Vouch; Google, Azure, AWS and Tailscale; mod_auth_openidc;
    # httpd and nginx for client certificates.)
    b"remote",
    b"x-remote",
    b"x-auth-request",
    b"x-authentik",
    b"x-authenticated",
    b"x-webauth",
    b"x-vouch",
    b"x-goog-iap",
    b"x-goog-authenticated-user",
    b"x-ms-client-principal",
    b"x-amzn-oidc",
    b"tailscale-user",
    b"oidc-claim",
    b"ssl-client",
    b"x-ssl-client",
)
"""Names that end here, each alone and with anything behind a further hyphen."""

NAMES = frozenset(
    {
        # Set by us.
        b"x-request-id",
        # Where the client is (RFC 7239, nginx, Akamai, Cloudflare, Fastly and others).
        b"forwarded",
        b"x-real-ip",
        b"x-client-ip",
        b"client-ip",
        b"true-client-ip",
        b"cf-connecting-ip",
        b"cf-connecting-ipv6",
        b"cf-pseudo-ipv4",
        b"fastly-client-ip",
        b"x-cluster-client-ip",
        b"x-originating-ip",
        b"x-proxyuser-ip",
        # How it came (IIS, old Rails).
        b"front-end-https",
        b"x-scheme",
        b"x-url-scheme",
        # Another path, host or method than the one that was decided.
        b"x-rewrite-url",
        b"x-host",
        b"x-http-host-override",
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
        # Becomes HTTP_PROXY in a CGI program, which then sends its own requests there.
        b"proxy",
        # The client's certificate: RFC 9440 section 3 has us sanitize both.
        b"client-cert",
        b"client-cert-chain",
        b"x-client-cert",
        b"x-client-dn",
        b"x-client-verify",
        # Who is asking. Not all of x-auth-*: -token and -key are credentials that
        # clients of some APIs send themselves.
        b"cf-access-authenticated-user-email",
        b"x-auth-email",
        b"x-auth-group",
        b"x-auth-groups",
        b"x-auth-name",
        b"x-auth-user",
        b"x-auth-username",
        b"x-user",
    }
)
"""Single names that end here."""

VERDICTS_MOST = 4096
"""Names remembered: some 400 KiB when an attacker fills it, room for every real name."""
REMEMBERED_SIZE = 64
"""The longest name remembered, in bytes; real ones are half as long."""

_plain = re.compile(rb"[a-z0-9-]+").fullmatch
_family = re.compile(b"(?:" + b"|".join(map(re.escape, FAMILIES)) + b")(?:-.*)?").fullmatch


class _Verdicts(dict[bytes, bool]):
    """What was found for each name seen so far; forgets all when it is full."""

    def __missing__(self, name: bytes) -> bool:
        lower = name.lower()
        verdict = lower in NAMES or _plain(lower) is None or _family(lower) is not None
        if len(name) <= REMEMBERED_SIZE:
            # Forgetting all, not the oldest: an attack of made-up names then costs the
            # known ones one look at the rules each, and costs nothing when there is none.
            if len(self) >= VERDICTS_MOST:
                self.clear()
            self[name] = verdict
        return verdict


VERDICTS = _Verdicts()
"""For loops over fields, where a call would cost more than the look-up."""


def ends_here(name: bytes) -> bool:
    """
    Say whether a request field of a client must not reach an upstream.

    Args:
        name: in lower case, as the parsers give it (another case is judged the same).
    """
    return VERDICTS[name]

"""The kinds of values that settings have: a type, how it is read, what the manual calls it."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

from pomeriumd.settings import addresses, fields, patterns, pem, placeholders, roles
from pomeriumd.settings.reads import Reads, ReadsPairs, ReadsSome
from pomeriumd.settings.values import Address, Origin, Secret, UpstreamURL

Network = IPv4Network | IPv6Network

HOUR = 3600.0
DAY = 24 * HOUR

Flag = Annotated[bool, Reads(fields.flag, "true or false")]
Renegotiation = Annotated[
    bool,
    Reads(
        fields.never(
            "who renegotiates could be given another's request to answer (CVE-2009-3555), and TLS "
            "1.3 has no such thing; have the application ask for our certificate in the first "
            "handshake"
        ),
        "false",
    ),
]
Text = Annotated[str, Reads(fields.text, "text")]
Word = Annotated[str, Reads(fields.word, "text without spaces")]
User = Annotated[str, Reads(fields.user, "e-mail address or user id")]
Domain = Annotated[str, Reads(fields.domain, "domain")]
CookieName = Annotated[str, Reads(fields.cookie_name, "name")]
Path = Annotated[str, Reads(fields.path, "path")]
Regex = Annotated[str, Reads(patterns.path_regex, "regular expression")]
Directory = Annotated[str, Reads(fields.directory, "directory")]
Program = Annotated[str, Reads(fields.directory, "path of a program")]
MailAddress = Annotated[str, Reads(fields.mail_address, "e-mail address")]
CertificateName = Annotated[str, Reads(fields.certificate_name, "domain, or `*.` and a domain")]
Challenge = Annotated[
    str,
    Reads(
        fields.one_of("tls-alpn-01", "http-01", "dns-01"), "`tls-alpn-01`, `http-01` or `dns-01`"
    ),
]
MacKey = Annotated[Secret, Reads(fields.mac_key, "base64url", secret=True, file=True)]
SocketPath = Annotated[str, Reads(fields.socket_path, "path")]
Algorithm = Annotated[str, Reads(fields.algorithm, "algorithm")]

Services = Annotated[
    tuple[str, ...], ReadsSome(roles.role, roles.together, "`all`, a role, or a list of roles")
]
ClusterName = Annotated[str, Reads(fields.cluster_name, "name")]
SameSite = Annotated[str, Reads(fields.same_site, "`lax` or `none`")]
LogLevel = Annotated[str, Reads(fields.one_of("debug", "info", "warn", "error"), "level")]
ProviderKind = Annotated[
    str,
    Reads(
        fields.one_of(
            *("oidc", "google", "okta", "onelogin", "auth0"),
            *("cognito", "gitlab", "ping", "azure"),
            not_yet=("github", "apple", "hosted"),
        ),
        "kind of provider",
    ),
]

Wait = Annotated[float, Reads(fields.duration(0.1, DAY), "duration")]
WaitOrForever = Annotated[float, Reads(fields.duration(0.1, DAY, zero=True), "duration, or 0s")]
Age = Annotated[float, Reads(fields.duration(60, 365 * DAY), "duration")]
Recheck = Annotated[float, Reads(fields.duration(1, 365 * DAY), "duration")]
Attempt = Annotated[float, Reads(fields.duration(0.01, 60), "duration")]
Interval = Annotated[float, Reads(fields.duration(1, DAY), "duration")]
KeptFor = Annotated[float, Reads(fields.duration(1, HOUR, zero=True), "duration, or 0s")]
Workers = Annotated[int, Reads(fields.count(1, 64), "number")]
Connections = Annotated[int, Reads(fields.count(1, 1_000_000), "number")]

ListenAddress = Annotated[Address, Reads(addresses.listen_address, "host:port")]
RouteOrigin = Annotated[Origin, Reads(addresses.route_origin, "URL without a path")]
ServiceOrigin = Annotated[Origin, Reads(addresses.service_origin, "URL without a path")]
Upstream = Annotated[UpstreamURL, Reads(addresses.upstream, "URL", only_one="upstream")]
Issuer = Annotated[str, Reads(addresses.issuer, "URL")]
HostName = Annotated[str, Reads(addresses.name_or_address, "host name")]
NetworkBlock = Annotated[Network, Reads(addresses.network, "address or CIDR")]

RootSecret = Annotated[
    Secret, Reads(fields.root_secret, "base64 of 32 bytes", secret=True, file=True)
]
SecretText = Annotated[Secret, Reads(fields.secret_text, "text", secret=True, file=True)]
Certificates = Annotated[bytes, Reads(pem.certificates, "PEM, or base64 of it", file=True)]
RevocationLists = Annotated[bytes, Reads(pem.revocation_lists, "PEM, or base64 of it", file=True)]
Enforcement = Annotated[
    str,
    Reads(fields.one_of("policy_with_default_deny", "policy", "reject_connection"), "word"),
]
Depth = Annotated[int, Reads(fields.count(0, 100), "number")]
SubjectAltNames = Annotated[
    tuple[tuple[str, str], ...],
    ReadsPairs(
        fields.one_of("dns", "email", "ip_address", "uri", "user_principal_name"),
        patterns.name_regex,
        "map of regular expressions",
    ),
]
AsksFor = Annotated[str, Reads(fields.one_of("require", "request", "none"), "word")]
ClientCertificate = Annotated[str, Reads(pem.certificate_hash, "SHA-256 hash")]
PrivateKey = Annotated[
    Secret, Reads(pem.private_key, "PEM, or base64 of it", secret=True, file=True)
]
SigningKeyPEM = Annotated[
    Secret, Reads(pem.signing_key, "PEM, or base64 of it", secret=True, file=True)
]

Parameters = Annotated[
    tuple[tuple[str, str], ...],
    ReadsPairs(fields.word, fields.text, "map of texts"),
]
ResponseHeaders = Annotated[
    tuple[tuple[str, str], ...],
    ReadsPairs(
        fields.response_header_name, fields.response_header_value, "map of texts", switch="disable"
    ),
]
RequestHeaders = Annotated[
    tuple[tuple[str, str], ...],
    ReadsPairs(
        fields.request_header_name,
        placeholders.request_header_value,
        "map of texts",
        secret=True,
        file=True,
    ),
]

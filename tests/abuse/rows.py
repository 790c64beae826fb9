"""
Every way in which a proxy of this kind has been attacked, by its id.

The ids are those of the catalogue of advisories that this project keeps. A row says what
is tried; what the safe outcome is, its family of variants says.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
class Section:
    """One chapter of the catalogue, and the module that holds its families."""

    number: str
    module: str
    rows: Mapping[str, str]
    """Title by id."""


SECTIONS = (
    Section(
        "4.1",
        "test_paths",
        {
            "P1": "dot segments that the rule and the upstream resolve differently",
            "P2": "letters that need no escape, written as escapes",
            "P3": "escaped delimiters that one decoder cuts at and another does not",
            "P4": "a fragment in a request target",
            "P5": "a query that looks like a public path",
            "P6": "a prefix that ends in the middle of a segment, or a rewritten path",
            "P7": "capitals that only one of two matchers folds",
            "P8": "a host in capitals, with a trailing dot, or among many",
            "P9": "a Host field with more than a host in it",
            "P10": "a request that would match another route if it were looked up again",
            "P11": "a target that does not begin with a slash",
            "P12": "a pattern that is not anchored, or a dot that stands for any character",
            "P13": "a name that ends like a listed one",
            "P14": "characters that Unicode folds into ASCII",
            "P15": "odd methods, methods in disguise, HEAD in place of GET",
            "P16": "whoever says he is the health check",
            "P17": "an IPv4 address dressed as IPv6",
            "P18": "early data from an address that nobody has verified",
            "P19": "a rule that cannot be loaded or evaluated",
        },
    ),
    Section(
        "4.2",
        "test_fields",
        {
            "H1": "a field that names another path than the target",
            "H2": "forwarded fields of a stranger",
            "H3": "a forwarded address that is no address",
            "H4": "identity names with an underscore, a dot or another case",
            "H5": "identity fields where nobody was asked who it is",
            "H6": "a Connection field that lists what the proxy adds",
            "H7": "one name of the settings in two spellings",
            "H8": "the same field twice, of which two readers take different ones",
            "H9": "line breaks and other controls in values and in claims",
            "H10": "the words in which proxies talk among themselves, from a client",
            "H11": "requests to the upstream that did not come through the proxy",
            "H12": "credentials that go where they were not meant for",
            "H13": "a broken session that passes for a good one",
            "H14": "fields that make an inner step wait or swell",
        },
    ),
    Section(
        "4.3",
        "test_redirects",
        {
            "R1": "a return address that browsers read as another site",
            "R2": "the other places that redirect",
            "R3": "a scheme that runs scripts",
            "R4": "markup in a page about a redirect or an unknown host",
            "R5": "a page that posts itself and holds what is protected",
        },
    ),
    Section(
        "4.4",
        "test_provider",
        {
            "O1": "an answer of one provider to a login begun at another",
            "O2": "a token that names its own algorithm or key",
            "O3": "a refreshed token of somebody else",
            "O4": "a nonce that is missing or used before",
            "O5": "a code without its verifier or its login",
            "O6": "a token for another audience or of another issuer",
            "O7": "an answer remembered under too short a key",
            "O8": "an address with two at signs",
            "O9": "an address that was never verified",
            "O10": "a rule about something the provider does not say",
            "O11": "rights that were taken away and live on in a session",
            "O12": "an account that was closed and still gets tokens",
            "O13": "a logout token that is replayed or not one",
            "O14": "a logout of somebody else's session",
            "O15": "parameters of a callback that come twice",
            "O16": "a link that chooses what is asked of the provider",
            "O17": "signatures that cover another part of an XML document",
            "O18": "addresses that a token or a discovery document supplies",
            "O19": "documents that swell, nest or make us fetch again",
            "O20": "times that are no whole numbers of this century",
            "O21": "a step of the login that is skipped",
            "O22": "tokens of the provider on a page",
        },
    ),
    Section(
        "4.5",
        "test_sessions",
        {
            "S1": "a session that was planted before the login",
            "S2": "a session that outlives the logout",
            "S3": "parameters between services that nobody signed",
            "S4": "cookies in pieces whose count is a lie",
            "S5": "ids and keys that can be guessed",
            "S6": "one person under several spellings",
            "S7": "times that tell who exists",
            "S8": "codes that can be tried or used again",
            "S9": "two logins that are taken for one",
            "S10": "a token of one kind where another is wanted",
            "S11": "a cookie that a neighbour put beside ours",
            "S12": "a cookie that every host of a domain reads",
        },
    ),
    Section(
        "4.6",
        "test_framing",
        {
            "F1": "a body whose size is said twice, or not as digits",
            "F2": "a transfer coding that is nearly chunked",
            "F3": "chunks that two readers measure differently",
            "F4": "field lines that two readers take apart differently",
            "F5": "requests that come before the answer to the first",
            "F6": "an answer that comes before the request is complete",
            "F7": "HTTP/2 that becomes HTTP/1.1",
            "F8": "floods of small HTTP/2 frames",
            "F9": "whoever takes his time over a head, a body or a handshake",
            "F10": "sizes that fill the memory or keep the processor busy",
            "F11": "a tunnel before or without the decision",
        },
    ),
    Section(
        "4.7",
        "test_tls",
        {
            "T1": "a handshake for one host and a request for another",
            "T2": "names in another case, or by wildcard, that get the default options",
            "T3": "a client hello in pieces",
            "T4": "an authority that cannot be read",
            "T5": "a client certificate that was revoked",
            "T6": "another certificate while a connection is being set up",
            "T7": "two certificates for one name, and a reload",
        },
    ),
    Section(
        "4.8",
        "test_surface",
        {
            "A1": "a page of another site that talks to a local interface",
            "A2": "tricks with paths against an interface for operators",
            "A3": "inner pages on the public port",
            "A4": "secrets in logs, errors and dumps",
            "A5": "templates and files that a client chooses",
            "A6": "values that become part of a rule's text",
            "A7": "rights that grow through an interface with few of them",
            "A8": "files and services that another user can replace",
            "A9": "credentials inside credentials",
            "A10": "a release that runs what a stranger wrote",
        },
    ),
)

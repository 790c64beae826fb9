"""
The head that an upstream gets, and the fields of its answer that the client gets.

One pass for every route, public ones too: what the client may not say comes off, then we
say it. Nothing here knows a connection; framing is the HTTP engine's, who somebody is was
decided before.

Order of what goes out: Host; the client's end-to-end fields; where the request came from;
who asks; what the route sets. A name of the last three is never the client's.

Source: RFC 9110 section 7.6; abuse cases H2 and H4 to H8.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import attrs

from pomeriumd.access.client_certificate import ClientCertificate
from pomeriumd.access.names import VERDICTS
from pomeriumd.errors import Problem, SettingsError
from pomeriumd.http.cookies import without
from pomeriumd.http.events import Field, Request
from pomeriumd.http.fields import ENDS_HERE, FieldLines, field_lines
from pomeriumd.http.notes import Notes
from pomeriumd.session.cookies import is_ours
from pomeriumd.settings.model import RouteSettings
from pomeriumd.settings.placeholders import Part, Placeholder, parts
from pomeriumd.settings.reads import Unfit

OURS = b"x-pomerium-"
"""What names begin with that only we may set, in either direction."""

CAME = {
    b"x-forwarded-for": b"%(client)b",
    b"x-forwarded-proto": b"%(scheme)b",
    b"x-forwarded-host": b"%(host)b",
    b"x-forwarded-port": b"%(port)d",
    b"x-request-id": b"%(id)b",
}
"""Fields of ours that a route may set otherwise: they say where a request came from, and
nothing about who asks."""

NO_FIELDS = FieldLines(b"")

_SPECIAL = frozenset({b"authorization", b"cookie"})
"""Names whose value decides: a part of it may be our credential."""

_our_credential = re.compile(rb"[ \t]*(?i:pomerium(?![^ \t])|bearer[ \t]+pomerium-)").match


@attrs.frozen(eq=False)
class Outbound:
    """
    Makes the heads of one route's requests; built once in a generation.

    Raises:
        SettingsError: the route sets a field that is not its to set, or one twice.
    """

    _route: RouteSettings
    _mark: object = attrs.field(init=False, factory=object, repr=False)
    """What notes are kept under: they outlive this, and must not hold it."""
    _headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    """``headers`` of the settings. Not the settings themselves: a stream that lasts holds this
    and must not hold all routes of its time."""
    _cookie_name: str
    _drops: frozenset[bytes] = frozenset()
    """Fields of answers, lower case, that do not go on whatever the application says in them."""
    _set: dict[bytes, Field] = attrs.field(init=False, repr=False)
    """What the route sets, by folded name."""
    _gone: frozenset[bytes] = attrs.field(init=False, repr=False)
    """Names that come off besides those that end here anyway."""
    _set_lines: FieldLines = attrs.field(init=False, repr=False)
    _filled: tuple[tuple[bytes, tuple[Part, ...]], ...] = attrs.field(init=False, repr=False)
    """What the route sets with placeholders in it: name and parts."""
    _came: bytes = attrs.field(init=False, repr=False)
    """Where the request came from, to be filled in."""
    _authority: Field = attrs.field(init=False, repr=False)
    _base: bytes = attrs.field(init=False, repr=False)
    _answers: tuple[Field, ...] = attrs.field(init=False, repr=False)
    _answers_gone: frozenset[bytes] = attrs.field(init=False, repr=False)
    """Alt-Svc is among them: it would send browsers past us, to a port of the upstream."""
    _our_cookie: Callable[[bytes], bool] = attrs.field(init=False, repr=False)

    @_set.default
    def _fields_set(self) -> dict[bytes, Field]:
        fields: dict[bytes, Field] = {}
        place = f"{self._route.place}.set_request_headers"
        for name, value in self._route.set_request_headers:
            folded = _folded(name)
            if folded in ENDS_HERE or (folded + b"-").startswith(OURS):
                raise SettingsError([Problem(place, f"{name} is not a route's to set")])
            if folded in fields:
                raise SettingsError([Problem(place, f"{name} is set twice")])
            fields[folded] = (name.lower().encode("ascii"), value.encode("ascii"))
        return fields

    @_set_lines.default
    def _fields_set_lines(self) -> FieldLines:
        return field_lines(
            (name, "".join(its).encode("ascii"))  # type: ignore[arg-type]  # texts alone
            for name, its in self._parts()
            if not _open(its)
        )

    @_filled.default
    def _fields_filled(self) -> tuple[tuple[bytes, tuple[Part, ...]], ...]:
        return tuple((name, its) for name, its in self._parts() if _open(its))

    def _parts(self) -> list[tuple[bytes, tuple[Part, ...]]]:
        try:
            return [(name, parts(value.decode("ascii"))) for name, value in self._set.values()]
        except Unfit as error:
            place = f"{self._route.place}.set_request_headers"
            raise SettingsError([Problem(place, str(error))]) from None

    @_came.default
    def _fields_came(self) -> bytes:
        return b"".join(b"%b: %b\r\n" % f for f in CAME.items() if f[0] not in self._set)

    @_gone.default
    def _names_gone(self) -> frozenset[bytes]:
        return ENDS_HERE | frozenset(self._set)

    @_authority.default
    def _upstream_host(self) -> Field:
        return (b"host", self._route.to.authority.encode("ascii"))

    @_base.default
    def _upstream_base(self) -> bytes:
        return self._route.to.path.rstrip("/").encode("ascii")

    @_answers.default
    def _fields_answered(self) -> tuple[Field, ...]:
        return tuple(
            (name.lower().encode("ascii"), value.encode("ascii")) for name, value in self._headers
        )

    @_answers_gone.default
    def _answers_names_gone(self) -> frozenset[bytes]:
        return ENDS_HERE | {b"alt-svc"} | {name for name, _ in self._answers} | self._drops

    @_our_cookie.default
    def _our_cookie_test(self) -> Callable[[bytes], bool]:
        return is_ours(self._cookie_name)

    def head(
        self,
        request: Request,
        notes: Notes,
        *,
        client: str,
        scheme: bytes,
        request_id: str,
        identity: FieldLines = NO_FIELDS,
        certificate: ClientCertificate | None = None,
    ) -> tuple[bytes, FieldLines]:
        """
        Return target and fields of the request to the upstream.

        Args:
            request: as it passed the gate.
            notes: of its fields.
            client: what X-Forwarded-For says: the client, or the whole chain where a
                trusted proxy in front vouches for it. The client's own is not read.
            scheme: that the client spoke.
            request_id: ours.
            identity: who asks, from ``IdentityHeaders``; empty to say nothing.
            certificate: that the client showed and that counts; fills the placeholders.

        Returns:
            The target: path of ``to``, canonical path, untouched query. The fields: Host
            first, names in lower case, nothing of framing or of this hop.
        """
        _, host, port, path, query, *_ = request
        if port is None:
            named, port = host, 443 if scheme == b"https" else 80
        else:
            named = b"%b:%d" % (host, port)
        own = notes.get(self._mark)
        if own is None:
            own = notes.keep(self._mark, self._own(request.fields, named))
        # Nothing here can break a line: an address, words of ours, and a host that passed
        # its grammar.
        came = self._came % {
            b"client": client.encode("ascii"),
            b"scheme": scheme,
            b"host": named,
            b"port": port,
            b"id": request_id.encode("ascii"),
        }
        # An asterisk is the server as a whole, and no path that could stand behind another.
        target = self._base + path if path != b"*" else path
        if query is not None:
            target = b"%b?%b" % (target, query)
        filled = self._filled and self._facts(certificate)
        return target, FieldLines(
            b"%b%b%b%b%b" % (own, came, identity, self._set_lines, filled or b"")
        )

    def _facts(self, certificate: ClientCertificate | None) -> FieldLines:
        """Return the fields that tell of a certificate; with none, they stand there empty."""

        def text(part: Part) -> bytes:
            if isinstance(part, str):
                return part.encode("ascii")
            return b"" if certificate is None else certificate.fact(part.name)

        return field_lines((name, b"".join(map(text, its))) for name, its in self._filled)

    def _own(self, fields: list[Field], host: bytes) -> FieldLines:
        """Return Host, and what the client says and may say; of its head and nothing else."""
        named = (b"host", host) if self._route.preserve_host_header else self._authority
        return field_lines([named, *self._end_to_end(fields)])

    def trailers(self, trailers: Iterable[Field]) -> tuple[Field, ...]:
        """
        Return the trailers of a request that go on.

        Many applications merge them into the head: what may not stand there may not
        follow it either, and credentials have no business behind a body.
        """
        return tuple(field for field in self._end_to_end(trailers) if field[0] not in _SPECIAL)

    def response_fields(
        self, fields: Iterable[Field], extra: tuple[Field, ...] = ()
    ) -> list[Field]:
        """
        Return the fields of an answer as the client gets them.

        Args:
            fields: the upstream's, names in lower case.
            extra: ours for this answer, put at the end.

        Returns:
            The upstream's without those that speak in our name, then ``headers`` of the
            settings in place of the upstream's of those names, then ``extra``.
        """
        gone = self._answers_gone
        kept = [
            field
            for field in fields
            if field[0] not in gone
            and field[0][:11] != OURS
            and (field[0] != b"set-cookie" or not self._tosses(field[1]))
        ]
        kept += self._answers
        kept += extra
        return kept

    def _end_to_end(self, fields: Iterable[Field]) -> list[Field]:
        """Take off what the client may not send on, and our credentials."""
        gone = self._gone
        kept = []
        cookies = False
        for field in fields:
            name = field[0]
            if name in gone or VERDICTS[name]:
                continue
            if name in _SPECIAL:
                if name == b"cookie":
                    cookies = True
                elif _our_credential(field[1]) is not None:
                    continue
            kept.append(field)
        if b"authorization" in gone:
            # The route brings a credential: a client that could say as whom to use it
            # (Kubernetes) would get all that the credential may do.
            kept = [field for field in kept if not field[0].startswith(b"impersonate-")]
        return without(kept, self._our_cookie) if cookies else kept

    def _tosses(self, value: bytes) -> bool:
        """
        Say whether a Set-Cookie would put something under a name of ours.

        A browser sends a cookie without a name as its bare value, so the value ``=a=b``
        comes back as the cookie ``a``.
        """
        pair = value.partition(b";")[0].lstrip(b" \t\v\f=")
        return self._our_cookie(pair.partition(b"=")[0].rstrip())


def _open(its: tuple[Part, ...]) -> bool:
    return any(isinstance(part, Placeholder) for part in its)


def _folded(name: str) -> bytes:
    """Return a name as a backend sees it that folds every sign into one."""
    return re.sub(rb"[^a-z0-9]", b"-", name.lower().encode("ascii"))

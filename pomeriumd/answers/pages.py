"""
Every page of our own, each as HTML or, where ``Accept`` asks for it, as JSON.

No script, no inline style, nothing from elsewhere: the policy of each page forbids it,
and the templates are ours alone (no name of one ever comes from a request). A page shows
neither the error's own text nor an upstream, a path, a token or the session's id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType

import attrs
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from pomeriumd.answers.answer import Answer
from pomeriumd.answers.assets import Asset
from pomeriumd.answers.call import Call
from pomeriumd.answers.policy import (
    INTERCEPTED,
    NO_REFERRER,
    NO_STORE,
    NOSNIFF,
    OWN_REFERRER,
    content_security_policy,
)
from pomeriumd.answers.render import Shown, render
from pomeriumd.answers.safe import link, printable, short
from pomeriumd.answers.times import moment, span
from pomeriumd.errors import Unauthenticated
from pomeriumd.http.events import Field
from pomeriumd.http.negotiate import wants_json
from pomeriumd.session.session import Session
from pomeriumd.session.standing import SessionLimits

HOME = "/.pomerium/"
"""Where a person sees their session."""

SIGN_OUT = "/.pomerium/sign_out"
"""GET shows the button, POST acts."""

STYLESHEET = "/.pomerium/assets/style.css"
"""To be served on every host, signed in or not, and where no route is."""

ICON = "/.pomerium/assets/icon.svg"
"""To be served beside the stylesheet."""

CSRF_FIELD = "pomerium_csrf"
"""Name of the hidden field of our forms."""

GROUPS = 200
"""Groups shown at most; a directory may put a person into thousands."""

FOLD = 12
"""Groups above which the list opens only when asked to: the button stays in sight."""

HOST_LIMIT = 253
"""Characters of a DNS name."""


class Pages:
    """All pages; built once, then only read."""

    def __init__(self) -> None:
        self._style = Asset("style.css", b"text/css; charset=utf-8")
        self._icon = Asset("icon.svg", b"image/svg+xml")
        self._templates = _templates(self._style.query, self._icon.query)

    def error(
        self,
        error: BaseException,
        call: Call,
        *,
        sign_in_url: str | None = None,
        who: str | None = None,
        again: str | None = None,
        allow: str | None = None,
    ) -> Answer:
        """
        Return the answer to any error, its status that of the class; 500 if it is not ours.

        Args:
            error: its text is never shown.
            call: the request.
            sign_in_url: where a person signs in and comes back from; shown with 401 only.
            who: as whom the person is signed in; shown with a denial only.
            again: where a failed sign-in begins anew. This and ``sign_in_url`` are left out
                unless they are http(s) or a path.
            allow: for 405: the methods that this address takes, e.g. ``GET, HEAD``.
        """
        shown = render(error)
        extra = _extra_fields(shown, call, allow)
        again = link(again)
        sign_in_url = link(sign_in_url) if shown.status == Unauthenticated.status else None
        if wants_json(call.request):
            body = _error_body(shown, call, sign_in_url)
            answer = _json(shown.status, body, extra)
            return attrs.evolve(answer, error=type(error).__name__)
        if again is None and shown.again and call.request.method in (b"GET", b"HEAD"):
            # An empty reference is the page's own address, which is never written out:
            # its query may hold what must not be copied around.
            again = ""
        answer = self._html(
            "error",
            shown.status,
            call,
            extra=extra,
            shown=shown,
            sign_in_url=sign_in_url,
            again=again,
            who=short(who) if shown.denied and who is not None else None,
        )
        return attrs.evolve(answer, error=type(error).__name__)

    def who(
        self,
        call: Call,
        session: Session,
        *,
        csrf: str,
        limits: SessionLimits,
        now: float,
        form_to: Sequence[str] = (),
    ) -> Answer:
        """
        Return the page of one's own session, with the button to sign out.

        Args:
            call: the request.
            session: verified already; neither its id nor any token is shown.
            csrf: value of the form's hidden field; it is not in the JSON.
            limits: as they are set now.
            now: seconds since the epoch.
            form_to: see ``sign_out``.
        """
        ends = min(session.expires, session.auth_time + int(limits.expire))
        if wants_json(call.request):
            return _json(200, _who_body(session, call, ends))
        person = session.identity
        return self._html(
            "who",
            200,
            call,
            referrer=OWN_REFERRER,
            form_to=form_to,
            csrf=csrf,
            shown_as=short(person.shown),
            name=None if person.name is None else short(person.name),
            email=None if person.email is None else short(person.email),
            subject=short(person.subject),
            provider=short(person.issuer),
            groups=[short(group) for group in person.groups[:GROUPS]],
            fold=FOLD,
            more_groups=max(0, len(person.groups) - GROUPS),
            site=_host_of(session),
            signed_in=moment(session.auth_time, now),
            checked=moment(session.checked, now),
            recheck=moment(session.recheck, now) if session.recheck > now else None,
            expires=moment(ends, now),
            idle=span(limits.idle),
        )

    def sign_out(
        self,
        call: Call,
        *,
        csrf: str,
        action: str = SIGN_OUT,
        who: str | None = None,
        recheck_minutes: int | None = None,
        form_to: Sequence[str] = (),
    ) -> Answer:
        """
        Return the page with the sign-out button; asking for it signs nobody out.

        Args:
            call: the request.
            csrf: value of the form's hidden field, and ``csrf`` in the JSON.
            action: where the form goes; what is no link becomes ``SIGN_OUT``.
            who: as whom the person is signed in, if anybody is.
            recheck_minutes: for how long at most another host's session may go on,
                ``session_recheck_max``.
            form_to: origins that the form's answer may redirect to. Chromium holds every
                redirect after a form against ``form-action``, and shows nothing then: name
                all of them, or answer the form with ``onward``.
        """
        target = link(action) or SIGN_OUT
        shown_as = None if who is None else short(who)
        if wants_json(call.request):
            body = {"signed_in_as": shown_as, "action": target, "method": "POST"}
            names = {"csrf_field": CSRF_FIELD, "csrf": csrf}
            return _json(200, {**body, **names, "request_id": call.request_id})
        return self._html(
            "sign_out",
            200,
            call,
            referrer=OWN_REFERRER,
            form_to=(*form_to, target),
            csrf=csrf,
            action=target,
            who=shown_as,
            recheck_minutes=recheck_minutes,
        )

    def signed_out(
        self,
        call: Call,
        *,
        recheck_minutes: int | None = None,
        provider_logout: bool,
        home: str | None = None,
    ) -> Answer:
        """
        Return the page after a sign-out.

        Args:
            call: the request.
            recheck_minutes: see ``sign_out``.
            provider_logout: whether the provider ended its own session, too.
            home: where to go and sign in again.
        """
        if wants_json(call.request):
            body = {"signed_out": True, "provider_logout": provider_logout}
            rest = {"recheck_minutes": recheck_minutes, "request_id": call.request_id}
            return _json(200, {**body, **rest})
        return self._html(
            "signed_out",
            200,
            call,
            recheck_minutes=recheck_minutes,
            provider_logout=provider_logout,
            home=link(home),
        )

    def onward(self, call: Call, to: str) -> Answer:
        """
        Return the answer to a form that sends the person on, to an origin not known before.

        It is a page with ``Refresh`` and a plain link, because a redirect after a form would
        be held against that form's ``form-action`` (see ``sign_out``). What is no link
        leads to ``HOME``.
        """
        target = link(to) or HOME
        if wants_json(call.request):
            return _json(200, {"continue_at": target, "request_id": call.request_id})
        refresh = (b"refresh", b"0; url=" + target.encode("ascii"))
        return self._html("onward", 200, call, extra=(refresh,), to=target)

    def plain(self, status: int, text: str) -> Answer:
        """Return plain text, for ``/ping``, ``/healthz``, ``/robots.txt`` and their like."""
        fields = ((b"content-type", b"text/plain; charset=utf-8"), NOSNIFF, NO_STORE, INTERCEPTED)
        return Answer(status, fields, text.encode("utf-8", "replace"))

    def stylesheet(self, call: Call | None = None) -> Answer:
        """Return the stylesheet; given the call, it may be kept only as the right version."""
        return self._style.answer(call)

    def icon(self, call: Call | None = None) -> Answer:
        """Return the icon; see ``stylesheet``."""
        return self._icon.answer(call)

    def _html(
        self,
        template: str,
        status: int,
        call: Call,
        *,
        referrer: Field = NO_REFERRER,
        form_to: Sequence[str] = (),
        extra: tuple[Field, ...] = (),
        **shown: object,
    ) -> Answer:
        page = self._templates[template].render(
            host=short(call.request.host.decode("ascii", "replace"), HOST_LIMIT),
            request_id=call.request_id,
            **shown,
        )
        fields = (
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-security-policy", content_security_policy(form_to)),
            referrer,
            NOSNIFF,
            NO_STORE,
            INTERCEPTED,
            *extra,
        )
        return Answer(status, fields, page.encode("utf-8"))


@cache
def _templates(style: str, icon: str) -> Mapping[str, Template]:
    """Return every template, compiled once in a process: a reload need not wait for it."""
    # `finalize` sees every value that a template writes, before it is escaped.
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=PackageLoader("pomeriumd.answers"),
        finalize=printable,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        stylesheet_url=f"{STYLESHEET}?{style}",
        icon_url=f"{ICON}?{icon}",
        home_url=HOME,
        sign_out_url=SIGN_OUT,
        csrf_field=CSRF_FIELD,
    )
    # What templates include, too: left to the first page that needs it, it would be read when
    # there may be no descriptor left, or after the process has changed its root.
    return MappingProxyType(
        {
            name.removesuffix(".html"): environment.get_template(name)
            for name in environment.list_templates(["html"])
        }
    )


def _extra_fields(shown: Shown, call: Call, allow: str | None) -> tuple[Field, ...]:
    """Return the fields that a status asks for (RFC 9110 sections 10.2, 11.6, 15.5)."""
    fields: list[Field] = []
    if shown.status == Unauthenticated.status:
        # A scheme of our own: for Basic a browser would open its own password box.
        host = call.request.host
        realm = host if link(f"http://{host.decode('ascii', 'replace')}") else b""
        fields.append((b"www-authenticate", b'Pomerium realm="' + realm + b'"'))
    if shown.retry_after is not None:
        fields.append((b"retry-after", b"%d" % shown.retry_after))
    if allow is not None:
        fields.append((b"allow", allow.encode("ascii")))
    return tuple(fields)


def _error_body(shown: Shown, call: Call, sign_in_url: str | None) -> dict[str, object]:
    body: dict[str, object] = {
        "error": shown.public,
        "status": shown.status,
        "request_id": call.request_id,
        "reasons": list(shown.reasons),
        "sign_in_url": sign_in_url,
    }
    if shown.check is not None:
        body |= {"check": shown.check, "explain": shown.explain}
    if shown.retry_after is not None:
        body["retry_after"] = shown.retry_after
    return body


def _who_body(session: Session, call: Call, ends: int) -> dict[str, object]:
    # Each member is named: one added to Session must not show up here by itself.
    person = session.identity
    return {
        "user": person.subject,
        "email": person.email,
        "name": person.name,
        "groups": list(person.groups),
        "provider": person.issuer,
        "host": _host_of(session),
        "signed_in": session.auth_time,
        "checked": session.checked,
        "recheck": session.recheck,
        "expires": ends,
        "request_id": call.request_id,
    }


def _json(status: int, body: Mapping[str, object], extra: tuple[Field, ...] = ()) -> Answer:
    fields = (
        (b"content-type", b"application/json"),
        NO_REFERRER,
        NOSNIFF,
        NO_STORE,
        INTERCEPTED,
        *extra,
    )
    return Answer(status, fields, json.dumps(body).encode("ascii"))


def _host_of(session: Session) -> str:
    return short(session.audience.removesuffix(":443"), HOST_LIMIT)

"""
Every key that a settings file may hold, taken from the model's annotations.

The checker, the environment and the manual all read this one list, so none can drift.
"""

from __future__ import annotations

import typing
from types import NoneType, UnionType
from typing import Annotated, Any, get_args, get_origin

import attrs

from pomeriumd.settings.cluster import ClusterSettings
from pomeriumd.settings.kinds import Certificates, PrivateKey, RevocationLists, ServiceOrigin
from pomeriumd.settings.model import DownstreamMTLS, RouteSettings, Settings
from pomeriumd.settings.reads import Doc, Mark

FILE = "_file"
"""What is put behind a key to name a file that holds its value."""


@attrs.frozen(kw_only=True)
class Key:
    """One key: how it is written, what it takes, and where its value goes."""

    name: str
    attribute: str
    """Of the model; empty for a key that feeds another one's attribute."""
    type: Any
    """As cattrs is given it: the annotation without its Doc."""
    doc: Doc
    default: Any = attrs.NOTHING
    marks: Mark | None = None
    many: bool = False
    """Whether it takes a list."""

    @property
    def required(self) -> bool:
        """Return whether the settings cannot do without it."""
        return self.default is attrs.NOTHING

    @property
    def file_form(self) -> str:
        """Return the key that names a file in its place; empty if there is none."""
        return self.name + FILE if self.marks is not None and self.marks.file else ""

    @property
    def secret(self) -> bool:
        """Return whether its value is never shown."""
        return self.marks is not None and self.marks.secret

    @property
    def wanted(self) -> str:
        """Return what is said of it where it is missing."""
        kind = self.marks.kind if self.marks else "value"
        if kind.startswith("base64"):
            return "want base64 of 32 bytes"
        return f"want {kind}" + (f", for instance {self.doc.example}" if self.doc.example else "")


def _marks(annotation: Any) -> tuple[Mark | None, bool]:
    """Return how a type is read, and whether it is a list of such."""
    for mark in getattr(annotation, "__metadata__", ()):
        if isinstance(mark, Mark):
            return mark, False
    if get_origin(annotation) is Annotated:
        return _marks(get_args(annotation)[0])
    if get_origin(annotation) in (UnionType, typing.Union):
        return _marks(next(part for part in get_args(annotation) if part is not NoneType))
    if get_origin(annotation) is tuple:
        return _marks(get_args(annotation)[0])[0], True
    return None, False


def _of(cls: type) -> tuple[Key, ...]:
    hints = typing.get_type_hints(cls, include_extras=True)
    keys = []
    for attribute in attrs.fields(cls):
        annotation = hints[attribute.name]
        doc = next((m for m in getattr(annotation, "__metadata__", ()) if isinstance(m, Doc)), None)
        if doc is None:
            continue
        marks, many = _marks(annotation)
        keys.append(
            Key(
                name=attribute.name.rstrip("_"),
                attribute=attribute.name,
                type=annotation,
                doc=doc,
                default=attribute.default,
                marks=marks,
                many=many,
            )
        )
    return tuple(keys)


def _feeding(name: str, annotation: Any, doc: Doc) -> Key:
    """Return a key whose value becomes a part of another key's attribute."""
    marks, many = _marks(annotation)
    return Key(
        name=name, attribute="", type=annotation, doc=doc, default=None, marks=marks, many=many
    )


CERTIFICATE = _feeding(
    "certificate",
    Certificates,
    Doc("The first server certificate, with what leads to its root."),
)
CERTIFICATE_KEY = _feeding("certificate_key", PrivateKey, Doc("The key to `certificate`."))
AUTHORIZE_URL = _feeding(
    "authorize_service_url",
    ServiceOrigin,
    Doc(
        "The first of `authorize_service_urls`. Where authorize is given it too, it shows proxies "
        "the certificate that covers its host.",
        example="https://authorize.internal:5443",
    ),
)
CLIENT_CA = _feeding(
    "client_ca",
    Certificates,
    Doc("`ca` of `downstream_mtls`, under its older name."),
)
CLIENT_CRL = _feeding(
    "client_crl",
    RevocationLists,
    Doc("`crl` of `downstream_mtls`, under its older name."),
)
POLICY = Key(
    name="policy",
    attribute="",
    type=tuple[RouteSettings, ...],
    doc=Doc("The routes, in order; see below."),
    default=(),
    many=True,
)

GLOBAL_KEYS = {
    key.name: key
    for key in (
        *_of(Settings),
        *(CERTIFICATE, CERTIFICATE_KEY, CLIENT_CA, CLIENT_CRL, AUTHORIZE_URL, POLICY),
    )
}
MTLS_KEYS = {key.name: key for key in _of(DownstreamMTLS)}
ROUTE_KEYS = {key.name: key for key in _of(RouteSettings)}
CLUSTER_KEYS = {key.name: key for key in (*_of(ClusterSettings), POLICY)}

ROUTE_LISTS = ("policy", "routes")
"""Keys that hold routes, of the process or of a cluster, in the order in which they count."""

LISTS_OF_MAPS = frozenset({"certificates", "clusters", "downstream_mtls", *ROUTE_LISTS})
"""Keys of which :mod:`pomeriumd.settings.check` reads the items one by one; a map is one item."""


def file_forms(keys: dict[str, Key]) -> dict[str, Key]:
    """Return the keys that have a ``KEY_file`` form, by that form."""
    return {key.file_form: key for key in keys.values() if key.file_form}


def spellings(keys: dict[str, Key]) -> frozenset[str]:
    """Return every spelling that a file may use."""
    return frozenset(keys) | frozenset(file_forms(keys))

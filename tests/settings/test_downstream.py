"""Promises about the settings of client certificates."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.settings.canonical import digest
from pomeriumd.settings.changes import changes
from pomeriumd.settings.load import load
from pomeriumd.settings.model import DownstreamMTLS, Settings
from pomeriumd.settings.pem import split_lists
from tests.support.certificates import BEGIN, END
from tests.support.clients import others, people, revoking
from tests.support.settings_files import (
    authorize,
    inline,
    minimal,
    problems,
    route,
    settings,
    yaml,
)

CA, CRL = people().pem.decode(), revoking().decode()
PRINT = "ab" * 32


def file(**more: Any) -> dict[str, Any]:
    """Return settings with TLS, and more."""
    return minimal(**{"insecure_server": None, **inline(), **more})


def good(**more: Any) -> Settings:
    """Return the settings of such a file."""
    return settings(**{"insecure_server": None, **inline(), **more})


class ReadTests(SynchronousTestCase):
    """What is taken, from where."""

    def test_all_of_it(self) -> None:
        """Each key of the map arrives."""
        found = good(
            downstream_mtls={
                "ca": CA,
                "crl": base64.b64encode(CRL.encode()).decode(),
                "enforcement": "reject_connection",
                "match_subject_alt_names": [
                    {"dns": r"[^.]+\.example\.com"},
                    {"email": ".*@example.com", "uri": "spiffe://x/.*"},
                ],
                "max_verify_depth": 0,
            }
        ).downstream_mtls
        wanted = DownstreamMTLS(
            ca=CA.encode(),
            crl=CRL.encode(),
            enforcement="reject_connection",
            match_subject_alt_names=(
                (("dns", r"[^.]+\.example\.com"),),
                (("email", ".*@example.com"), ("uri", "spiffe://x/.*")),
            ),
            max_verify_depth=0,
        )
        self.assertEqual(found, wanted)

    def test_older_names(self) -> None:
        """client_ca and client_crl are the same under older names."""
        new = good(downstream_mtls={"ca": CA, "crl": CRL})
        self.assertEqual(good(client_ca=CA, client_crl=CRL), new)
        self.assertEqual(new.downstream_mtls, DownstreamMTLS(ca=CA.encode(), crl=CRL.encode()))
        self.assertIsNone(good().downstream_mtls)

    def test_files_and_environment(self) -> None:
        """Files may hold them, in PEM or DER; the older names may come from the environment."""
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        place = Path(temporary.name)
        (place / "ca.pem").write_text(CA)
        (place / "crl.pem").write_text(CRL)
        (place / "crl.der").write_bytes(split_lists(CRL.encode())[0].public_bytes(Encoding.DER))
        path = place / "settings.yaml"
        wanted = DownstreamMTLS(ca=CA.encode(), crl=CRL.encode())
        for name in ("crl.pem", "crl.der"):
            path.write_text(yaml(file(downstream_mtls={"ca_file": "ca.pem", "crl_file": name})))
            self.assertEqual(load(str(path), {}).downstream_mtls, wanted)
        path.write_text(yaml(file()))
        there = {"CLIENT_CA_FILE": str(place / "ca.pem"), "CLIENT_CRL": CRL}
        self.assertEqual(load(str(path), there).downstream_mtls, wanted)

    def test_hashes(self) -> None:
        """A certificate's hash is taken with and without colons, a key's in base64."""
        key = base64.b64encode(bytes(32)).decode()
        found = good(
            downstream_mtls={"ca": CA},
            policy=[route(allowed_client_certificates=[PRINT, ":".join(["AB"] * 32), key])],
        )
        self.assertEqual(found.routes[0].allowed_client_certificates, (PRINT, PRINT, key))

    def test_changes_are_told(self) -> None:
        """A reload that changes the map says which keys, and is another digest."""
        none, one = good(), good(downstream_mtls={"ca": CA})
        other = good(downstream_mtls={"ca": others().pem.decode(), "max_verify_depth": 3})
        self.assertEqual(changes(none, one), ("downstream_mtls added",))
        self.assertEqual(changes(one, none), ("downstream_mtls removed",))
        self.assertEqual(changes(one, other), ("downstream_mtls changed: ca, max_verify_depth",))
        self.assertEqual(changes(one, good(client_ca=CA)), ())
        self.assertEqual(len({digest(none), digest(one), digest(other)}), 3)


class RefusedTests(SynchronousTestCase):
    """Each fault is told at its place, with what to do."""

    def test_values(self) -> None:
        """A value that cannot be used says why."""
        delta = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(people().certificate.subject)
            .last_update(BEGIN)
            .next_update(END)
            .add_extension(x509.DeltaCRLIndicator(1), critical=True)
            .sign(people().key, hashes.SHA256())
            .public_bytes(Encoding.PEM)
            .decode()
        )
        for more, text in (
            ({"ca": "x"}, "ca: want a certificate in PEM or base64 of it, got neither"),
            ({"crl": CA}, "crl: holds no revocation list; want -----BEGIN X509 CRL-----"),
            (
                {"crl": delta},
                "crl: the list of 'CN=people' is a partial one; want one with all that is revoked",
            ),
            (
                {"enforcement": "off"},
                (
                    "enforcement: want policy_with_default_deny, policy or reject_connection, "
                    "got 'off'"
                ),
            ),
            ({"max_verify_depth": -1}, "max_verify_depth: want 0 to 100, got -1"),
            (
                {"match_subject_alt_names": [{"cn": "x"}]},
                (
                    "match_subject_alt_names[0].cn: want dns, email, ip_address, uri or "
                    "user_principal_name, got 'cn'"
                ),
            ),
            (
                {"match_subject_alt_names": [{"dns": "(a+)+"}]},
                (
                    "match_subject_alt_names[0].dns: '(a+)+' repeats something that can be read in "
                    "two ways, so that a long path would stall us; begin what is repeated with a "
                    "character of its own"
                ),
            ),
            ({"crls": "x"}, "unknown setting 'crls'; did you mean crl?"),
        ):
            found = problems(file(downstream_mtls={"ca": CA, **more}))
            where = "downstream_mtls" + (": " if text.startswith("unknown") else ".")
            self.assertEqual(found, [where + text])
        self.assertEqual(
            problems(file(downstream_mtls="on")), ["downstream_mtls: want a map, got text"]
        )

    def test_together(self) -> None:
        """Settings that say nothing together are refused."""
        mtls = {"ca": CA}
        ask = "tls_downstream_client_certificate"
        listed = {"allowed_client_certificates": [PRINT]}
        untrusted = (
            "no client certificate is trusted here; want tls_downstream_client_ca or ca in "
            "downstream_mtls too"
        )
        blind = "means nothing with insecure_server: whoever ends TLS in front sees the certificate"
        for given, wanted in (
            (
                file(downstream_mtls=mtls, client_ca=CA),
                "client_ca: downstream_mtls is there too; want this as ca in it, or not at all",
            ),
            (
                file(downstream_mtls={"crl": CRL}),
                "downstream_mtls.ca: missing; without it no client certificate is trusted",
            ),
            (
                file(client_crl=CRL),
                "client_ca: missing; without it no client certificate is trusted",
            ),
            (file(policy=[route(**{ask: "require"})]), f"policy[0].{ask}: {untrusted}"),
            (
                file(policy=[route(**listed)]),
                f"policy[0].allowed_client_certificates: {untrusted}",
            ),
            (
                file(downstream_mtls=mtls, policy=[route(**{ask: "request"}, **listed)]),
                (
                    f"policy[0].{ask}: nobody is on allowed_client_certificates without one; want "
                    "require, got request"
                ),
            ),
            (minimal(downstream_mtls=mtls), f"downstream_mtls: {blind}"),
            (minimal(client_ca=CA), f"client_ca: {blind}"),
            (
                minimal(policy=[route(tls_downstream_client_ca=CA)]),
                f"policy[0].tls_downstream_client_ca: {blind}",
            ),
            (
                file(
                    downstream_mtls={**mtls, "enforcement": "reject_connection"},
                    policy=[route(**{ask: "none"})],
                ),
                (
                    f"policy[0].{ask}: every connection has to show one, since enforcement is "
                    "reject_connection; take the line out, or want policy_with_default_deny"
                ),
            ),
        ):
            self.assertEqual(problems(given), [wanted])

    def test_placeholders(self) -> None:
        """A placeholder that is unknown, or that nothing would fill, is told at its place."""
        mtls = {"ca": CA}

        def with_header(value: str, **more: Any) -> list[str]:
            one = route(set_request_headers={"X-A": value}, **more)
            return problems(file(downstream_mtls=mtls, policy=[one]))

        place = "policy[0].set_request_headers"
        self.assertEqual(with_header("a ${pomerium.client_cert_subject} $$ $ b"), [])
        (unknown,) = with_header("${pomerium.client_cert_nonce}")
        self.assertTrue(
            unknown.startswith(
                f"{place}.X-A: unknown placeholder ${{pomerium.client_cert_nonce}}; want one of "
                "client_cert_fingerprint, "
            )
        )
        for value, text in (
            ("${pomerium.id_token}", "not yet: ${pomerium.id_token}"),
            ('${pomerium.request.headers["A"]}', 'not yet: ${pomerium.request.headers["A"]}'),
            ("${secret}", "holds a placeholder that is not ours; write $$ for a dollar sign"),
            ("${pomerium.client_cert", "holds ${ without its }; write $$ for a dollar sign"),
            ("$pomerium.id_token", "want ${pomerium.NAME}, got $pomerium.NAME"),
        ):
            self.assertEqual(with_header(value), [f"{place}.X-A: {text}"])
        self.assertEqual(
            with_header(
                "${pomerium.client_cert_subject}", tls_downstream_client_certificate="none"
            ),
            [
                (
                    f"{place}: X-A tells of the client's certificate, and this route asks for "
                    "none; want tls_downstream_client_certificate: request, or require"
                )
            ],
        )

    def test_authorize_needs_no_authority(self) -> None:
        """Where no proxy runs, the list alone does: the proxies verify."""
        self.assertEqual(
            problems(authorize(routes=[route(allowed_client_certificates=[PRINT])])), []
        )

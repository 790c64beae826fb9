"""How the table is shown: to a person in columns, to a program as JSON. Pure but for colours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from pomeriumd.answers.safe import printable
from pomeriumd.cli.tls.facts import Severity
from pomeriumd.cli.tls.rows import Row, worst

HEADINGS = ("host", "certificate", "issuer", "days", "trusted by")

WIDEST = 40
"""Characters of a column; what is longer is cut."""

COLOURS = {Severity.WARNING: "yellow", Severity.ERROR: "red"}

NOBODY = "nobody known here"


def table(rows: Sequence[Row]) -> str:
    """Return the table for a person; what is missing stands below the row that it is about."""
    cells = [_cells(row) for row in rows]
    columns = zip(HEADINGS, *cells, strict=True)
    widths = [max(map(len, column)) for column in columns]
    return "\n".join(_lines(rows, cells, widths))


def _cells(row: Row) -> tuple[str, ...]:
    one = row.certificate
    file = Path(one.file).name if one.file else one.pair.place
    found = (row.host or "-", file, one.issuer, str(one.days), _trusted_by(row))
    *cut, last = map(printable, found)
    return (*(text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..." for text in cut), last)


def _trusted_by(row: Row) -> str:
    return ", ".join(trust.label for trust in row.certificate.trusts) or NOBODY


def _lines(
    rows: Sequence[Row], cells: Sequence[tuple[str, ...]], widths: Sequence[int]
) -> Iterator[str]:
    yield _padded(HEADINGS, widths)
    for row, texts in zip(rows, cells, strict=True):
        yield _padded(texts, widths)
        for one in row.missing:
            kind = one.severity.name.lower()
            yield f"  {click.style(kind, fg=COLOURS.get(one.severity))}: {printable(one.text)}"
    yield ""
    yield _verdict(rows)


def _padded(texts: Sequence[str], widths: Sequence[int]) -> str:
    """Return a row, its number to the right."""
    return "  ".join(
        text.rjust(width) if at == HEADINGS.index("days") else text.ljust(width)
        for at, (text, width) in enumerate(zip(texts, widths, strict=True))
    ).rstrip()


def _verdict(rows: Sequence[Row]) -> str:
    counts = [
        sum(one.severity == severity for row in rows for one in row.missing)
        for severity in (Severity.ERROR, Severity.WARNING)
    ]
    if not any(counts):
        return "Nothing is missing"
    words = [
        f"{count} {what}{'' if count == 1 else 's'}"
        for count, what in zip(counts, ("error", "warning"), strict=True)
        if count
    ]
    return ", ".join(words)


def document(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the same as what JSON can hold."""
    return {
        "worst": worst(rows).name.lower(),
        "rows": [
            {
                "host": row.host,
                "for": row.whose,
                "certificate": {
                    "place": row.certificate.pair.place,
                    "file": row.certificate.file,
                    "subject": row.certificate.subject,
                },
                "issuer": row.certificate.issuer,
                "good_until": row.certificate.end.isoformat(),
                "days_left": row.certificate.days,
                "trusted_by": [trust.label for trust in row.certificate.trusts],
                "missing": [
                    {"severity": one.severity.name.lower(), "text": one.text} for one in row.missing
                ],
            }
            for row in rows
        ],
    }

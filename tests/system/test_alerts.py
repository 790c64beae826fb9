"""Prometheus's own tool takes our metrics and alerts, and these go off when they should."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from twisted.trial.unittest import SynchronousTestCase

from pomeriumd.daemon.cells import Reading
from pomeriumd.daemon.exposition import exposition
from pomeriumd.daemon.merge import Totals
from pomeriumd.daemon.metrics import Facts
from pomeriumd.daemon.processes import Use
from pomeriumd.daemon.tally import Tally
from tests.support.exchanges import compiled, ended

pytestmark = [pytest.mark.system, pytest.mark.needs("promtool")]

RULES = Path(__file__).parents[2] / "etc" / "prometheus" / "pomerium.rules.yml"
JOB = 'instance="one",job="pomerium"'


def promtool(*arguments: str, given: bytes = b"", place: str | None = None) -> str:
    """Return what the tool complains of; nothing when all is well."""
    done = subprocess.run(
        ["promtool", *arguments], input=given, capture_output=True, cwd=place, check=False
    )
    return "" if done.returncode == 0 else (done.stdout + done.stderr).decode()


def requests(host: str, status: int, route: str = "r") -> str:
    """Return a series of requests."""
    labels = f'{JOB},host="{host}",route="{route}",http_method="GET",http_status="{status}"'
    return f"pomerium_http_server_requests_total{{{labels}}}"


class MetricsTests(SynchronousTestCase):
    """The text."""

    def test_the_text_is_good(self) -> None:
        """Promtool reads it; what it would name otherwise are names that Pomerium has."""
        tally = Tally()
        tally.count(
            [(ended(compiled(), decision="public", reasons=("accept",), upstream=0.1), 0.2)]
        )
        facts = Facts(
            version="0.1",
            services="all",
            digest="0123456789abcdef",
            since=1.0,
            routes=1,
            reload_good_at=1.0,
            restarts={"exit": 0},
            processes={"supervisor": Use(1.0, 2, 3, 4)},
        )
        text = b"".join(exposition(Totals(), lambda: [Reading(tally.memory)], lambda: facts))
        complaints = promtool("check", "metrics", given=text)
        self.assertNotIn("error", complaints)
        named = {line.partition(" ")[0] for line in complaints.splitlines()}
        self.assertLessEqual(
            named,
            {
                "pomerium_http_server_request_duration_ms",
                "pomerium_http_client_request_duration_ms",
                "pomerium_policy_count_total",
            },
            complaints,
        )


class AlertTests(SynchronousTestCase):
    """Each alert, when it should and when it should not."""

    def outcome(self, series: dict[str, str], alert: str, *, labels: Any, at: str = "20m") -> str:
        """Return how the tool's own test of an alert fails; ``labels`` None is no alert."""
        (rule,) = [
            rule
            for group in yaml.safe_load(RULES.read_text())["groups"]
            for rule in group["rules"]
            if rule["alert"] == alert
        ]
        # Texts are filled in by Prometheus; without them the test compares labels alone.
        del rule["annotations"]
        expected = [] if labels is None else [{"exp_labels": {"severity": "page", **labels}}]
        test = {
            "rule_files": ["rules.yml"],
            "evaluation_interval": "1m",
            "tests": [
                {
                    "interval": "1m",
                    "input_series": [
                        {"series": name, "values": values} for name, values in series.items()
                    ],
                    "alert_rule_test": [
                        {"eval_time": at, "alertname": alert, "exp_alerts": expected}
                    ],
                }
            ],
        }
        with tempfile.TemporaryDirectory() as place:
            rules = {"groups": [{"name": "one", "rules": [rule]}]}
            Path(place, "rules.yml").write_text(yaml.safe_dump(rules))
            Path(place, "test.yml").write_text(yaml.safe_dump(test))
            return promtool("test", "rules", "test.yml", place=place)

    def goes_off(self, series: dict[str, str], alert: str, **labels: str) -> None:
        """Assert that an alert goes off with these labels."""
        self.assertEqual(self.outcome(series, alert, labels=labels), "")

    def is_quiet(self, series: dict[str, str], alert: str) -> None:
        """Assert that it does not."""
        self.assertEqual(self.outcome(series, alert, labels=None), "")

    def test_the_file_is_good(self) -> None:
        """Promtool takes the file."""
        self.assertEqual(promtool("check", "rules", str(RULES)), "")

    def test_down(self) -> None:
        """A daemon that does not answer, and one without a worker."""
        up = f"up{{{JOB}}}"
        serving = f'pomerium_workers{{{JOB},state="serving"}}'
        here = {"instance": "one", "job": "pomerium"}
        self.goes_off({up: "1x5 0x20"}, "PomeriumDown", **here)
        self.goes_off({up: "1x30", serving: "2x5 0x20"}, "PomeriumDown", **here, state="serving")
        self.is_quiet({up: "1x30", serving: "2x30"}, "PomeriumDown")

    def test_application_fails(self) -> None:
        """An application that fails for many; not one that failed for two people at night."""
        bad, good = requests("a", 502), requests("a", 200)
        alert = "PomeriumApplicationFails"
        self.goes_off({bad: "0+50x30", good: "0+50x30"}, alert, host="a")
        self.is_quiet({bad: "0+1x30", good: "0+50x30"}, alert)
        self.is_quiet({bad: "0+1x2 2x30", good: "0x30"}, alert)
        self.is_quiet({requests("a", 500): "0+50x30"}, alert)

    def test_sign_in_fails(self) -> None:
        """A provider that is down; not an application that is."""
        alert = "PomeriumSignInFails"
        failed, wrong = (
            f'pomerium_errors_total{{{JOB},kind="{kind}"}}'
            for kind in ("ProviderError", "LoginFailed")
        )
        self.goes_off({failed: "0+10x30"}, alert)
        self.is_quiet({failed: "0+1x30", wrong: "0+10x30"}, alert)
        self.is_quiet({requests("a", 503): "0+10x30"}, alert)

    def test_undecided(self) -> None:
        """Decisions that nobody gives; not a few while authorize was restarted."""
        undecided = f"pomerium_undecided_total{{{JOB}}}"
        self.goes_off({undecided: "0+10x30"}, "PomeriumUndecided", instance="one")
        self.is_quiet({undecided: "0x16 8x14"}, "PomeriumUndecided")
        self.is_quiet({requests("a", 503): "0+50x30"}, "PomeriumUndecided")

    def test_full(self) -> None:
        """A port that is full, or nearly so for long."""
        here = {"instance": "one", "job": "pomerium"}
        paused, count, limit = (
            f"pomerium_{name}{{{JOB}}}"
            for name in ("accept_paused", "connections", "connections_limit")
        )
        self.goes_off({paused: "1x30"}, "PomeriumFull", **here)
        self.goes_off({paused: "0x30", count: "95x30", limit: "100x30"}, "PomeriumFull", **here)
        self.is_quiet({paused: "0x30", count: "50x30", limit: "100x30"}, "PomeriumFull")

    def test_must_staple(self) -> None:
        """A certificate that lacks its staple for long; not one whose first answer is under way."""
        required = f"pomerium_tls_staples_required{{{JOB}}}"
        here = {"instance": "one", "job": "pomerium"}
        self.goes_off({required: "1x30"}, "PomeriumMustStaple", **here)
        self.is_quiet({required: "1x2 0x28"}, "PomeriumMustStaple")

    def test_workers_die(self) -> None:
        """Workers that die again and again; not one that died."""
        restarts = f'pomerium_worker_restarts_total{{{JOB},reason="exit"}}'
        self.goes_off({restarts: "0+1x30"}, "PomeriumWorkersDie", instance="one")
        self.is_quiet({restarts: "0x10 1x20"}, "PomeriumWorkersDie")

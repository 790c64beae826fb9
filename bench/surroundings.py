"""What the figures hold for: this machine, these programs, this commit."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from cryptography.hazmat.backends.openssl import backend

from bench.chain import SYSTEM_PATH

PACKAGES = ("nginx-light", "haproxy", "caddy", "apache2-bin", "libapache2-mod-auth-openidc", "wrk")

LIBRARIES = ("twisted", "httptools", "pyopenssl", "cryptography")


def machine() -> dict[str, str | int]:
    """Return what the kernel says of the machine."""
    cpu = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text())
    return {
        "processor": cpu[1] if cpu else platform.processor(),
        "cores": os.cpu_count() or 0,
        "memory_mb": int(memory[1]) // 1024 if memory else 0,
        "kernel": platform.release(),
        "load_at_begin": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def versions(envoy: Path | None) -> dict[str, str]:
    """Return the version of everything that is measured or measures."""
    found = {
        "python": platform.python_version(),
        "openssl (ours)": backend.openssl_version_text(),
        **{name: version(name) for name in LIBRARIES},
    }
    for name in PACKAGES:
        said = _said("dpkg-query", "-W", "-f", "${Version}", name)
        if said:
            found[name] = said
    if envoy is not None:
        found["envoy"] = _said(str(envoy), "--version").rpartition("version: ")[2]
    return found


def commit(root: Path) -> str:
    """Return the commit of a checkout; with ``+`` if it has been changed since."""
    at = _said("git", "-C", str(root), "rev-parse", "--short=12", "HEAD")
    changed = _said("git", "-C", str(root), "status", "--porcelain", "--untracked-files=no")
    return f"{at}+" if changed else at


def _said(*command: str) -> str:
    """Return what a command says, "" if it fails or is not there."""
    try:
        done = subprocess.run(  # noqa: S603  # commands of our own
            command,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
            env={"PATH": SYSTEM_PATH, "HOME": os.environ.get("HOME", "/")},
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()

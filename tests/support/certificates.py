"""A certificate authority of the tests' own, and a server's certificate of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Certificates:
    """Files for a server that is called localhost, or 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("no openssl on PATH (apt-get install openssl)")
        self.authority = folder / "ca.pem"
        self.certificate = folder / "server.pem"
        self.key = folder / "server.key"
        (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        authority = ("-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=authority of the tests")
        _openssl(folder, "req", "-x509", *_KEY, *authority)
        _openssl(folder, "req", *_KEY, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
        _openssl(folder, "x509", "-req", "-in", "server.csr", *signing, "-out", "server.pem", "-days", "2")

    @property
    def options(self) -> list[str]:
        """For redis-server: TLS wherever it speaks to others, and no certificates asked of clients."""
        files = {"cert-file": self.certificate, "key-file": self.key, "ca-cert-file": self.authority}
        words = {"auth-clients": "no", "replication": "yes", "cluster": "yes"}
        return [word for name, value in (files | words).items() for word in (f"--tls-{name}", str(value))]


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

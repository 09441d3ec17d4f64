"""`r2d2 serve` with a certificate: TLS from the first byte, cookies and headers that keep browsers to it."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.web.serving import PATIENCE_S, Served, started

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")]


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Path]]:
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    made = started(folder, "--certificate", str(certificate), "--key", str(key))
    yield made, certificate
    made.process.terminate()
    made.process.wait(PATIENCE_S)


def test_a_browser_is_kept_to_tls(encrypted: tuple[Served, Path]) -> None:
    served, certificate = encrypted
    assert served.address.startswith("https://")
    session = requests.Session()
    session.trust_env, session.verify = False, str(certificate)  # whatever else the environment trusts
    page = session.get(f"{served.address}/login", timeout=PATIENCE_S)
    assert page.status_code == 200
    assert page.headers["Strict-Transport-Security"] == "max-age=31536000"
    found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert found is not None
    fields = {"csrf_token": found[1], "name": "admin", "password": served.password}
    for referrer, status in (("https://evil.example/", 400), (f"{served.address}/login", 302)):
        answer = session.post(
            f"{served.address}/login",
            data=fields,
            headers={"Referer": referrer},
            allow_redirects=False,
            timeout=PATIENCE_S,
        )
        assert answer.status_code == status, answer.text
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-r2d2=") and "Secure" in cookie and "HttpOnly" in cookie and "Path=/" in cookie
    assert "Log out" in session.get(f"{served.address}/", timeout=PATIENCE_S).text


def test_nothing_is_said_without_tls(encrypted: tuple[Served, Path]) -> None:
    served, certificate = encrypted
    with pytest.raises(requests.ConnectionError):
        requests.get(served.address.replace("https", "http") + "/health", timeout=PATIENCE_S)
    assert requests.get(f"{served.address}/health", verify=str(certificate), timeout=PATIENCE_S).ok

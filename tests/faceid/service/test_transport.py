"""TLS by certificate files, and a proxy in front: whose word counts about who asks, and by which address."""

import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from faceid.service import audit
from faceid.service.database import ServiceDatabase
from faceid.service.keys import make_key
from faceid.service.settings import SettingsError, make_settings
from tests.faceid.service.conftest import Live

VISITOR = "203.0.113.9"
PROXY = "127.0.0.1"  # from where every request of these tests comes


@pytest.fixture
def key(tmp_path: Path) -> str:
    """A key that opens everything."""
    with ServiceDatabase(tmp_path / "data") as database:
        return make_key(database, "front desk", {"*": "admin"})[1]


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, Any]:
    """The settings of a server with a certificate that it signed itself, for localhost."""
    x509 = pytest.importorskip("cryptography.x509", reason="no cryptography (pip install cryptography)")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(hours=1))
        .not_valid_after(today + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(secret, hashes.SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return {"tls_certificate": tmp_path / "cert.pem", "tls_key": tmp_path / "key.pem"}


def address_noted(service: Any) -> str:
    """The address that the newest entry of the audit log bears."""
    return [one["address"] for one in audit.entries(service.database)][-1]


def test_with_certificate_files_the_server_speaks_tls_alone_and_its_cookies_go_nowhere_else(
    live: Live, certificate: dict[str, Any], key: str
) -> None:
    port, _ = live(**certificate)
    trusting = ssl.create_default_context(cafile=str(certificate["tls_certificate"]))
    with httpx.Client(base_url=f"https://localhost:{port}", verify=trusting) as client:
        assert client.get("/v1/health").json()["ready"] is True
        entered = client.post("/login", data={"key": key}, headers={"Origin": f"https://localhost:{port}"})
        assert entered.status_code == 303
        assert "secure" in entered.headers["set-cookie"].lower()
    with pytest.raises(httpx.ConnectError):  # the client does not know who signed it
        httpx.get(f"https://localhost:{port}/v1/health")
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://localhost:{port}/v1/health")


def test_a_certificate_without_its_key_is_no_setting(certificate: dict[str, Any], tmp_path: Path) -> None:
    del certificate["tls_key"]
    with pytest.raises(SettingsError, match="go together"):
        make_settings({"galleries": {"default": tmp_path}, "data": tmp_path, **certificate})


@pytest.mark.parametrize(("trusted", "believed"), [([PROXY], VISITOR), (["10.9.9.9"], PROXY), ([], PROXY)])
def test_only_a_trusted_proxy_is_believed_about_who_asks(
    live: Live, key: str, trusted: list[str], believed: str
) -> None:
    port, service = live(trusted_proxies=trusted)
    answer = httpx.post(
        f"http://localhost:{port}/v1/galleries/default/people/1/remove",
        headers={"Authorization": f"Bearer {key}", "X-Forwarded-For": VISITOR},
    )
    assert answer.status_code == 200
    assert address_noted(service) == believed


@pytest.mark.slow
@pytest.mark.parametrize("trusted", [True, False])
def test_behind_a_proxy_that_speaks_tls_pages_are_their_own_site_where_the_proxy_is_trusted(
    live: Live, key: str, trusted: bool
) -> None:
    port, service = live(trusted_proxies=[PROXY] if trusted else [])
    said = {"Host": "faces.example", "X-Forwarded-Proto": "https", "X-Forwarded-For": VISITOR}
    entered = httpx.post(
        f"http://localhost:{port}/login", data={"key": key}, headers={**said, "Origin": "https://faces.example"}
    )
    assert entered.status_code == (303 if trusted else 403)
    if trusted:
        assert "secure" in entered.headers["set-cookie"].lower()
        assert address_noted(service) == VISITOR


def test_wrong_keys_slow_down_their_own_address_and_not_everybody_behind_the_proxy(live: Live, key: str) -> None:
    port, _ = live(trusted_proxies=[PROXY])

    def enter(tried: str, visitor: str) -> int:
        return httpx.post(
            f"http://localhost:{port}/login", data={"key": tried}, headers={"X-Forwarded-For": visitor}
        ).status_code

    assert [enter("faceid_wrong", VISITOR) for _ in range(8)][-1] == 429
    assert enter(key, "203.0.113.10") == 303

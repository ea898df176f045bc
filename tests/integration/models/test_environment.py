"""Proxies and certificates of the process: what models are asked with, and doctor too."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from plexus_scoring.cli.probes import model_endpoint
from plexus_scoring.engines.models import connections
from plexus_scoring.engines.models.base import ChatMessage, ChatRequest
from plexus_scoring.engines.models.environment import PROXIES
from plexus_scoring.engines.models.router import ModelRouter
from plexus_scoring.engines.models.settings import ModelSettings
from plexus_scoring.model.errors import EngineUnavailable
from tests.support.chat_server import ScriptedChatServer

REQUEST = ChatRequest(
    provider="ChatOpenAI", model="some-model", messages=(ChatMessage("user", "greeting?"),)
)
RULES = [{"when": "", "replies": ["Yes"]}]


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch):
    for name in (*PROXIES, "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    connections.tls.cache_clear()
    yield
    connections.tls.cache_clear()


class SocksServer:
    """SOCKS 5 without authentication (RFC 1928), for one kind of request: CONNECT to an IPv4 address or a name."""

    def __init__(self):
        self.asked: list[tuple[str, int]] = []
        self.port = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info):
        self._server.close()

    async def _serve(self, reader, writer):
        with (
            contextlib.closing(writer),
            contextlib.suppress(ConnectionError, asyncio.IncompleteReadError),
        ):
            _, methods = await reader.readexactly(2)
            await reader.readexactly(methods)
            writer.write(b"\x05\x00")
            kind = (await reader.readexactly(4))[3]
            if kind == 1:
                host = str(ipaddress.ip_address(await reader.readexactly(4)))
            else:
                host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
            port = int.from_bytes(await reader.readexactly(2), "big")
            self.asked.append((host, port))
            there, back = await asyncio.open_connection(host, port)
            writer.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
            with contextlib.closing(back):
                await asyncio.gather(self._pipe(reader, back), self._pipe(there, writer))

    @staticmethod
    async def _pipe(source, target):
        while data := await source.read(65_536):
            target.write(data)
        target.close()


async def ask(server):
    router = ModelRouter(
        ModelSettings.from_environment(server.environment() | {"PLEXUS_MODEL_ATTEMPTS": "1"})
    )
    try:
        return (await router.chat(REQUEST)).text
    finally:
        await router.aclose()


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_a_socks_proxy_works(scheme, monkeypatch):
    with ScriptedChatServer(RULES) as server:
        async with SocksServer() as socks:
            monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:{socks.port}")
            assert await ask(server) == "Yes"
            assert (await model_endpoint(server.environment())).status == "ok"
            assert len(socks.asked) == 2


async def test_no_proxy_leaves_the_socks_proxy_out(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:9")
    with ScriptedChatServer(RULES) as server:
        with pytest.raises(EngineUnavailable, match="no connection"):
            await ask(server)
        assert (await model_endpoint(server.environment())).status == "fail"
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert await ask(server) == "Yes"


@pytest.fixture
def certificate(tmp_path):
    """Return the file of a certificate for 127.0.0.1 and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path / "authorities"
    folder.mkdir()
    file, key_file = folder / "ours.pem", tmp_path / "key.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key_file)
    return file, context


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", None])
async def test_an_authority_of_our_own(variable, certificate, monkeypatch):
    file, context = certificate
    if variable is not None:
        monkeypatch.setenv(variable, str(file if variable == "SSL_CERT_FILE" else file.parent))
    with ScriptedChatServer(RULES, tls=context) as server:
        if variable is None:
            with pytest.raises(EngineUnavailable, match="no connection"):
                await ask(server)
        else:
            assert await ask(server) == "Yes"
            assert (await model_endpoint(server.environment())).status == "ok"

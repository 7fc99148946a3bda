"""Server-side request forgery (ASVS 5.0 1.3.6, rule S5): what the connectors' network refuses at the socket, not only on paper."""

import datetime as dt
import ipaddress
import socket
import ssl
import threading

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from apps.connectors import client
from apps.connectors.domain.addresses import parse_networks
from apps.connectors.errors import Unsafe
from apps.connectors.network import deadline, open_line
from tests.factories.connectors import LOOPBACK, make_connector

REFUSED_ADDRESSES = [
    "127.0.0.1",
    "::1",
    "::ffff:127.0.0.1",
    "10.0.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "198.18.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "fd00::1",
]


class Resolver:
    """Stands for a name server that an attacker controls: each question gets the next answer."""

    def __init__(self, *answers):
        self.answers = [[ipaddress.ip_address(each) for each in answer] for answer in answers]
        self.asked = 0

    def __call__(self, host, port):
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


class Server(threading.Thread):
    """A listener on loopback that answers every request and remembers what it was asked and by which name."""

    def __init__(self, *, tls=None, answer=b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"):
        super().__init__(daemon=True)
        self.requests, self.names, self.answer = [], [], answer
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.tls = tls
        if tls is not None:
            tls.sni_callback = lambda _socket, name, _context: self.names.append(name)

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
                if self.tls is not None:
                    connection = self.tls.wrap_socket(connection, server_side=True)
            except ssl.SSLError:
                continue
            except OSError:
                return
            with connection:
                self.requests.append(connection.recv(65536).decode())
                connection.sendall(self.answer)


@pytest.fixture
def serve():
    servers = []

    def start(**options):
        server = Server(**options)
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.listener.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Make a certificate for desk.example, its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "desk.example")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("desk.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "desk.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


def line(resolver, server, *, networks=(), scheme="https", host="desk.example", trust=None):
    return open_line(
        f"{scheme}://{host}:{server.port}", parse_networks(networks), headers={}, resolve=resolver, trust=trust
    )


@pytest.mark.parametrize("address", REFUSED_ADDRESSES)
def test_refused_list(serve, address):
    server, resolver = serve(), Resolver([address])

    with line(resolver, server) as opened, pytest.raises(Unsafe, match="Nothing was sent"):
        opened.get("/")

    assert server.requests == []


def test_one_refused_answer_among_good_ones_refuses_all(serve):
    server = serve()

    with (
        line(Resolver(["93.184.216.34", "127.0.0.1"]), server) as opened,
        pytest.raises(Unsafe, match=r"desk\.example leads to 127\.0\.0\.1"),
    ):
        opened.get("/")


def test_rebinding_uses_pinned_ip(serve, certificate):
    """The name is asked for once a connection; what it would answer a moment later cannot matter."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    server, resolver = serve(tls=tls), Resolver(["127.0.0.1"], ["10.0.0.1"])
    trust = ssl.create_default_context(cafile=str(certificate))

    with line(resolver, server, networks=[LOOPBACK], trust=trust) as opened:
        assert opened.get("/").status_code == 200
        assert resolver.asked == 1
        # The server closed the connection: the next one asks again, and its other answer is refused.
        with pytest.raises(Unsafe, match=r"10\.0\.0\.1"):
            opened.get("/")

    assert len(server.requests) == 1


def test_a_pinned_connection_keeps_the_original_host_and_server_name(serve, certificate):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    server = serve(tls=tls)
    trust = ssl.create_default_context(cafile=str(certificate))

    with line(Resolver(["127.0.0.1"]), server, networks=[LOOPBACK], trust=trust) as opened:
        opened.get("/tickets/1")

    assert server.names == ["desk.example"]
    assert f"host: desk.example:{server.port}\r\n" in server.requests[0].lower()


def test_a_certificate_of_another_name_is_refused_before_anything_is_sent(serve, certificate):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    server = serve(tls=tls)
    trust = ssl.create_default_context(cafile=str(certificate))

    with (
        line(Resolver(["127.0.0.1"]), server, networks=[LOOPBACK], host="other.example", trust=trust) as opened,
        pytest.raises(httpcore.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        opened.get("/")

    assert server.requests == []


@pytest.mark.django_db
def test_redirect_not_followed(serve, team):
    server = serve(answer=b"HTTP/1.1 302 Found\r\nlocation: http://10.0.0.1/\r\ncontent-length: 0\r\n\r\n")
    make_connector(team, key="moved", base_url=f"http://127.0.0.1:{server.port}", auth="none", allowed_cidrs=[LOOPBACK])

    client.forget()
    with pytest.raises(Unsafe, match="redirect"):
        client.read("moved:tickets/1")
    client.forget()

    assert len(server.requests) == 1


def test_a_connection_that_nobody_accepts_ends_at_the_deadline():
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    port = full.getsockname()[1]
    waiting = [socket.socket() for _ in range(4)]
    for each in waiting:
        each.setblocking(False)
        each.connect_ex(("127.0.0.1", port))
    opened = open_line(f"http://127.0.0.1:{port}", parse_networks([LOOPBACK]), headers={})

    with deadline(0.3), pytest.raises((httpcore.ConnectTimeout, httpcore.ReadTimeout)):
        opened.get("/")

    opened.close()
    for each in (*waiting, full):
        each.close()

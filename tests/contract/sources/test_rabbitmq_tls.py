"""A RabbitMQ behind TLS: what is read is the same, and a certificate that is not trusted is refused."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kato_tasks.adapters.rabbitmq.source import RabbitmqSource
from tests.contract.sources.brokers import Opened, read_all, troubled, values
from tests.contract.sources.on_rabbitmq import RabbitmqBroker


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    directory = tmp_path_factory.mktemp("certificate")
    cert, key = directory / "cert.pem", directory / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(words, check=True, capture_output=True)
    return cert, key


def pass_on(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := one.recv(65_536):
            other.sendall(piece)
    for end in (one, other):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def tls_port(rabbitmq: RabbitmqBroker, certificate: tuple[Path, Path]) -> Iterator[int]:
    """A port where the broker is reached by TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listener.accept()
                with contextlib.suppress(OSError):
                    client = context.wrap_socket(plain, server_side=True)
                    broker = socket.create_connection(("127.0.0.1", rabbitmq.server.port))
                    for ends in ((client, broker), (broker, client)):
                        threading.Thread(target=pass_on, args=ends, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed:ResourceWarning")
def test_messages_are_read_by_tls_however_large_they_are(
    rabbitmq: RabbitmqBroker, opened: Opened, certificate: tuple[Path, Path], tls_port: int
) -> None:
    bodies = [b"%04d" % number for number in range(500)] + [bytes(range(256)) * 4_000]
    source = opened(
        RabbitmqSource(
            f"amqps://guest:guest@127.0.0.1:{tls_port}//",
            rabbitmq.queue,
            exchange=rabbitmq.exchange,
            tls={"ca_certs": str(certificate[0])},
        )
    )
    rabbitmq.send(*bodies)
    messages = read_all(source, 501)
    assert values(messages) == bodies
    source.acknowledge(messages)
    assert source.lag() == 0


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_certificate_that_is_not_trusted_is_refused_with_the_reason(tls_port: int) -> None:
    source = RabbitmqSource(f"amqps://guest:hush@127.0.0.1:{tls_port}//")
    error = troubled(source.open)
    assert "certificate verify failed" in str(error)
    assert "hush" not in str(error)

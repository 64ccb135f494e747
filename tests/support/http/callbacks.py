"""What a callback needs in a test: a request, a resolver, certificates, and leave to call this machine."""

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mcp_queue.domain.callbacks.addresses import EgressPolicy
from mcp_queue.ports import CallbackRequest

LOOPBACK = EgressPolicy(allowed_networks=(ip_network("127.0.0.0/8"), ip_network("::1/128")))


class Names:
    """A resolver whose answers are given in advance, one after another, the last again and again."""

    def __init__(self, *answers: Sequence[str]) -> None:
        """Answer every name alike."""
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        """Return the next answer; an empty one is a name that does not exist."""
        self.asked.append(host)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if not answer:
            raise OSError("no such name")
        return answer


def a_request(url: str, **members: object) -> CallbackRequest:
    """Return a request that ends within 5 s."""
    values: dict[str, object] = {"url": url, "body": b"{}", "timeout": timedelta(seconds=5), **members}
    return CallbackRequest(**values)  # type: ignore[arg-type]  # the members are those of a request


def tls_for(host: str, directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's context with a certificate for ``host``, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    chain, secret = directory / "certificate.pem", directory / "key.pem"
    chain.write_bytes(certificate.public_bytes(Encoding.PEM))
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, secret)
    return server, ssl.create_default_context(cafile=str(chain))

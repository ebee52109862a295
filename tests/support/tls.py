"""A TLS proxy for a PostgreSQL without TLS, as in front of a hosted database."""

import contextlib
import datetime
import select
import socket
import socketserver
import ssl
import struct
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SSL_REQUEST = 80877103
"""What a client of PostgreSQL asks first where it wants TLS."""


def certificate(path):
    """Write a self-signed certificate, as that of a hosted database, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "database")])
    now = datetime.datetime.now(datetime.UTC)
    signed = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1)
    ).sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))


@contextlib.contextmanager
def hosted(unix_socket, pem=None):
    """A port that leads to the server at a Unix socket, through TLS; without `pem` it refuses TLS.

    Yields the port and a list of the TLS versions that were agreed, one a connection.
    """
    agreed = []
    context = None
    if pem:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)

    class Connection(socketserver.BaseRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError), self.request as plain:
                while struct.unpack("!ii", plain.recv(8, socket.MSG_WAITALL))[1] != SSL_REQUEST:
                    plain.sendall(b"N")
                if context is None:
                    plain.sendall(b"N")
                    return
                plain.sendall(b"S")
                with context.wrap_socket(plain, server_side=True) as front, socket.socket(socket.AF_UNIX) as back:
                    agreed.append(front.version())
                    back.connect(unix_socket)
                    carry(front, back)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Connection) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1], agreed
        finally:
            server.shutdown()
            thread.join()


def carry(front, back):
    """Carries bytes both ways until either side ends."""
    while True:
        ready = [front] if front.pending() else select.select([front, back], [], [])[0]
        for one in ready:
            data = one.recv(65536)
            if not data:
                return
            (back if one is front else front).sendall(data)

"""A certificate authority for one test, and certificates for brokers on this machine."""

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)


class Authority:
    """Signs certificates; its own is in `ca_file`."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        own = _unsigned(self._name, self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.ca_file = str(folder / f"{name.replace(' ', '-')}.pem")
        Path(self.ca_file).write_bytes(own.sign(self._key, SHA256()).public_bytes(Encoding.PEM))

    def certify(self, name: str, address: str = "127.0.0.1", *, days: tuple[int, int] = (-1, 1)) -> dict[str, str]:
        """Make a key and a certificate for an address; the answer names both files as a broker's settings do.

        `days` from now is when it begins and ends to be valid.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        place = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        certificate = _unsigned(_named(name), self._name, key, days).add_extension(place, critical=False)
        cert_file, key_file = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        cert_file.write_bytes(certificate.sign(self._key, SHA256()).public_bytes(Encoding.PEM))
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return {"cert_file": str(cert_file), "key_file": str(key_file)}


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: tuple[int, int] = (-1, 1)
) -> x509.CertificateBuilder:
    begin, end = (dt.datetime.now(dt.UTC) + number * DAY for number in days)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    return builder.serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(end)

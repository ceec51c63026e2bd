"""TLS to a broker: whom a client trusts, and how it shows who it is."""

import ssl

from messages.bus.settings import MqttSettings


def tls_context(settings: MqttSettings) -> ssl.SSLContext:
    """Verify the broker by `ca_file` or the system's authorities. Raises OSError and ValueError naming the file."""
    for path in filter(None, (settings.ca_file, settings.cert_file, settings.key_file)):
        with open(path, "rb"):  # noqa: PTH123 - OpenSSL's own error would not name the file
            pass
    what = f"ca_file {settings.ca_file}"
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
        if settings.cert_file:
            what = f"cert_file {settings.cert_file} with key_file {settings.key_file}"
            context.load_cert_chain(settings.cert_file, settings.key_file)
    except ssl.SSLError as error:
        raise ValueError(f"{what}: {error}") from error
    return context

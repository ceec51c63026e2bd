"""Keys as text, signatures over very bytes, and what is said of those that do not count."""

from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from messages.shapes import Signature
from messages.signing import DOMAIN, BadKey, Signer, problem, public_key
from tests.support.messages import SIGNER

OTHER = Signer(bytes(32))
TRUSTED = {SIGNER.public.id: SIGNER.public}
STATE = b"any bytes"


def test_a_key_is_read_as_it_is_written() -> None:
    assert str(SIGNER.public) == "ed25519:A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
    assert SIGNER.public.id == "56475aa75463474c"
    assert public_key(f" {SIGNER.public}\n", "keys[0]") == SIGNER.public


@pytest.mark.parametrize(
    "text", ["", "ed25519:", "rsa:AAAA", "ed25519:AAAA", str(SIGNER.public)[:-1], str(SIGNER.public)[8:], "ed25519:é"]
)
def test_text_that_is_no_key_is_named_with_its_place(text: str) -> None:
    with pytest.raises(BadKey, match=r"trust.keys\[3\] = .*: a public key is written"):
        public_key(text, "trust.keys[3]")


def test_one_signature_of_a_trusted_key_is_enough() -> None:
    assert problem(STATE, [OTHER.sign(STATE), SIGNER.sign(STATE)], TRUSTED) == ""


@pytest.mark.parametrize(
    ("signatures", "said"),
    [
        ((), "signed by key none, which is not trusted here"),
        ((OTHER.sign(STATE),), f"signed by key {OTHER.public.id}, which is not trusted here"),
        ((Signature(key=SIGNER.public.id, signature=OTHER.sign(STATE).signature),), "is wrong"),
        ((Signature(key=SIGNER.public.id, signature=b""),), "is wrong"),
        ((Signature(key=SIGNER.public.id, signature=bytes(10_000)),), "is wrong"),
        ((SIGNER.sign(b"other bytes"),), "is wrong"),
    ],
)
def test_what_does_not_count_is_said(signatures: tuple[Signature, ...], said: str) -> None:
    assert said in problem(STATE, signatures, TRUSTED)


def test_what_was_signed_for_another_purpose_does_not_count() -> None:
    bare = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).sign(STATE)
    assert problem(STATE, [Signature(key=SIGNER.public.id, signature=bare)], TRUSTED).endswith("is wrong")
    theirs = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).sign(DOMAIN + STATE)
    assert b64encode(theirs) == b64encode(SIGNER.sign(STATE).signature)


def test_where_no_key_is_trusted_it_is_said_what_to_do() -> None:
    assert problem(STATE, [SIGNER.sign(STATE)], {}) == (
        "no key is trusted here: put the hub's line into [trust] of agent.toml"
    )

"""Secrets of outside systems: AES-256-GCM with a key from the environment (rule S8). Bound to their connector, so that none can be moved."""

import base64
import binascii
import hashlib
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12


class NoSealingKey(Exception):
    """CREDENTIAL_KEY is missing, malformed, or not the one that sealed this secret."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """Nonce and ciphertext, and which key made it."""

    sealed: bytes
    key_id: str


def seal(secret: str, *, about: str, key: str) -> Sealed:
    """Seal a secret for one connector. `key` is 32 bytes in base64; raises NoSealingKey."""
    raw = _raw(key)
    nonce = os.urandom(NONCE_BYTES)
    return Sealed(nonce + AESGCM(raw).encrypt(nonce, secret.encode(), about.encode()), _key_id(raw))


def unseal(sealed: Sealed, *, about: str, key: str) -> str:
    """Open a secret. Raises NoSealingKey when the key is another one or the bytes are not what was sealed here."""
    raw = _raw(key)
    if _key_id(raw) != sealed.key_id:
        raise NoSealingKey(
            f"The credential was sealed with key {sealed.key_id}; CREDENTIAL_KEY is key {_key_id(raw)}."
            " Start with the old key, or store the credential again."
        )
    try:
        return AESGCM(raw).decrypt(sealed.sealed[:NONCE_BYTES], sealed.sealed[NONCE_BYTES:], about.encode()).decode()
    except InvalidTag:
        raise NoSealingKey("The stored credential was changed or moved. Store it again.") from None


def _raw(key: str) -> bytes:
    if not key:
        raise NoSealingKey("CREDENTIAL_KEY is not set, so credentials can be neither stored nor used. See the README.")
    try:
        raw = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != KEY_BYTES:
        raise NoSealingKey("CREDENTIAL_KEY must be 32 bytes in base64. See the README.")
    return raw


def _key_id(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:8]

"""The hashes of the log. Each kind starts with its own byte, so that no value can pass for another kind."""

from collections.abc import Sequence
from hashlib import sha256

from apps.audit.domain.canonical import canonical

_LEAF, _NODE, _PAYLOAD, _SEAL = b"\x00", b"\x01", b"\x02", b"\x03"

# So much randomness per event that a guessable payload cannot be tested against its commitment.
SALT_BYTES = 16


def digest_of(value: object) -> str:
    """Name a value by its content: "sha256:" and 64 hex digits of its canonical text."""
    return "sha256:" + sha256(canonical(value).encode()).hexdigest()


def payload_commitment(salt: bytes, payload: str) -> bytes:
    """Commit to a payload without telling it: 32 bytes that stay when payload and salt are erased."""
    return sha256(_PAYLOAD + salt + payload.encode()).digest()


def leaf(commitment: bytes, header: str) -> bytes:
    """Hash one event, the RFC 6962 leaf of commitment ‖ header."""
    return entry_leaf(commitment + header.encode())


def entry_leaf(entry: bytes) -> bytes:
    """Hash one entry of a tree (RFC 6962, 2.1)."""
    return sha256(_LEAF + entry).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Join two subtrees (RFC 6962, 2.1)."""
    return sha256(_NODE + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the Merkle root of leaf hashes (RFC 6962, 2.1): no padding; the empty tree is SHA-256 of nothing."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return node(root(leaves[:split]), root(leaves[split:]))


def seal_hash(body: bytes, signature: bytes) -> bytes:
    """Hash a signed seal; the next seal names it as its predecessor."""
    return sha256(_SEAL + body + signature).digest()

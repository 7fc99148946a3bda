"""Whether a stored event still says what it said when it was written."""

from dataclasses import dataclass

from apps.audit.domain.hashing import leaf, payload_commitment


@dataclass(frozen=True, slots=True)
class Bytes:
    """One event as stored. Without salt and payload it was erased; the leaf still proves the header."""

    header: str
    salt: bytes | None
    payload: str | None
    pc: bytes
    leaf: bytes


@dataclass(frozen=True, slots=True)
class Recomputed:
    """Both hashes computed anew. `pc` is None once the payload is erased."""

    pc: bytes | None
    leaf: bytes
    pc_holds: bool
    leaf_holds: bool

    @property
    def match(self) -> bool:
        return self.pc_holds and self.leaf_holds


def recompute(stored: Bytes) -> Recomputed:
    """Compute commitment and leaf from what is stored and compare; only an erased payload is not held against it."""
    is_erased = stored.payload is None and stored.salt is None
    pc = None
    if stored.payload is not None and stored.salt is not None:
        pc = payload_commitment(stored.salt, stored.payload)
    again = leaf(stored.pc, stored.header)
    return Recomputed(pc=pc, leaf=again, pc_holds=is_erased or pc == stored.pc, leaf_holds=again == stored.leaf)

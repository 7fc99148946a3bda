"""Static files with their hash in the name: kept by browsers for ever, compressed once."""

import brotli
from whitenoise.compress import Compressor
from whitenoise.storage import CompressedManifestStaticFilesStorage

# From this size on the last percent of compression costs seconds (the chart script: 22 s against 0.3 s for 6 % more).
LARGE_FROM_BYTES = 200_000
LARGE_QUALITY = 5
BEST_QUALITY = 11


class PatientCompressor(Compressor):  # type: ignore[misc]  # whitenoise ships no types
    """Compresses small files as well as it can, and large ones quickly."""

    @staticmethod
    def compress_brotli(data: bytes) -> bytes:
        return bytes(brotli.compress(data, quality=LARGE_QUALITY if len(data) >= LARGE_FROM_BYTES else BEST_QUALITY))


class HashedStaticFiles(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # whitenoise ships no types
    """Hashed, immutable, compressed once. Before the first collectstatic (tests) the plain names are used."""

    def stored_name(self, name: str) -> str:
        return str(super().stored_name(name)) if self.hashed_files else name

    def create_compressor(self, **kwargs: object) -> Compressor:
        return PatientCompressor(**kwargs)

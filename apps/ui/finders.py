"""Where static files come from that no app ships itself."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.contrib.staticfiles.finders import BaseFinder
from django.contrib.staticfiles.utils import matches_patterns
from django.core.files.storage import FileSystemStorage

# Pages know the chart script by this name, whichever bundle stands behind it.
PLOTLY_NAME: Final = "ui/plotly.min.js"


class PlotlyFinder(BaseFinder):
    """Serves exactly one file of the plotly wheel (settings.PLOTLY_BUNDLE), and nothing else of it."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.bundle = Path(settings.PLOTLY_BUNDLE)

    def find(self, path: str, find_all: bool = False, **_: Any) -> Any:  # noqa: FBT001, FBT002 - Django's signature
        """Answer the bundle's place on disk for its one name."""
        found = str(self.bundle) if Path(path).as_posix() == PLOTLY_NAME else None
        if find_all:
            return [found] if found else []
        return found or []

    def list(self, ignore_patterns: Iterable[str] | None) -> Iterator[tuple[str, FileSystemStorage]]:
        """Offer the bundle to collectstatic."""
        if not matches_patterns(PLOTLY_NAME, list(ignore_patterns or ())):
            yield PLOTLY_NAME, _OneFile(self.bundle)


class _OneFile(FileSystemStorage):
    """A storage in which every name is the same file."""

    def __init__(self, file: Path) -> None:
        super().__init__(location=file.parent)
        self.file = file

    def path(self, name: str) -> str:  # noqa: ARG002 - every name is this file
        return str(self.file)

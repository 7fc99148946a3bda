from collections.abc import Callable

from django.core.management.base import OutputWrapper

WIDTH = 30


def bar(stream: OutputWrapper, what: str) -> Callable[[int, int], None]:
    """Return a function that draws how far `what` is. On anything but a terminal it stays silent: logs need no pictures."""

    def draw(done: int, total: int) -> None:
        filled = WIDTH * done // max(1, total)
        text = f"\r{what} [{'#' * filled}{'.' * (WIDTH - filled)}] {done:,} of {total:,}"
        stream.write(text, style_func=str, ending="\n" if done >= total else "")
        stream.flush()

    return draw if stream.isatty() else _silent


def _silent(done: int, total: int) -> None:
    pass

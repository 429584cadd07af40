"""Write rendered files into a directory, never over somebody's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...errors import InvalidInputError


def write(rendered: Mapping[str, str], directory: Path, *, force: bool = False) -> tuple[Path, ...]:
    """Write files; nothing is written where one is there already that says something else.

    Args:
        rendered: text by relative path.
        directory: where to; it is made.
        force: write over files that differ.

    Returns:
        Those that were written; what was there and is the same is left alone.

    Raises:
        InvalidInputError: a file differs.
        OSError: a file cannot be read or written.
    """
    wanted = {directory / name: text for name, text in rendered.items()}
    different = [path for path, text in wanted.items() if _held(path) != text]
    taken = [str(path) for path in different if path.exists()]
    if taken and not force:
        raise InvalidInputError(
            f"{', '.join(taken)} {'is' if len(taken) == 1 else 'are'} there already and not the "
            "same; nothing was written",
            remedy="choose another directory, or write over them with --force",
        )
    for path in different:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], "utf-8")
        if path.suffix == ".sh":
            path.chmod(0o755)
    return tuple(different)


def _held(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        return ""

"""Files on an object store, by a URL that fsspec or Arrow knows: `s3://bucket/fleet`, `memory://fleet`.

Who may read there is for the store's own settings to say. A URL that holds a password is refused, and no message has
more of a URL than its host and path.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from phasescope.recordings.line_stream import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Iterator


class StoreError(OSError):
    """A store cannot be read; the text has no secrets."""


def is_url(place: str) -> bool:
    """Return whether it is a URL, and not a path."""
    scheme, mark, _ = place.partition("://")
    return bool(mark) and scheme.isascii() and scheme.replace("+", "").isalnum()


def shown(url: str) -> str:
    """Return a URL without user, password, query and fragment."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return SplitResult(parts.scheme, host, parts.path, "", "").geturl() if host else f"{parts.scheme}://{parts.path}"


class StoredFile(NamedTuple):
    """One file on a store."""

    store: Store
    path: str

    @property
    def name(self) -> str:
        """Its name without folders."""
        return self.path.rpartition("/")[2]

    def open(self, mode: str = "rb", /) -> Any:
        """Open it. Raises OSError."""
        return self.store.asked(self.store.filesystem.open, self.path, mode)


class Store:
    """A folder on an object store. `filesystem` is fsspec's."""

    def __init__(self, url: str) -> None:
        """Find the file system. Raises MissingDependencyError, StoreError."""
        self.url = shown(url)
        parts = urlsplit(url)
        if parts.username or parts.password or parts.query:
            raise StoreError(
                errno.EINVAL,
                f"{self.url}: a URL with a password or a token in it is not read; set it in the environment",
            )
        self.filesystem, self._folder = self._found(url.partition("#")[0])
        self._scheme = parts.scheme

    def _found(self, url: str) -> tuple[Any, str]:
        try:
            import fsspec
        except ImportError as error:
            raise MissingDependencyError(f"{self.url} needs fsspec: pip install 'phasescope[fleet]'") from error
        try:
            filesystem, folder = fsspec.core.url_to_fs(url)
        except ImportError as error:  # its package is missing; Arrow brings some stores of its own
            return self._of_arrow(url, error)
        except Exception as error:
            raise StoreError(errno.EINVAL, f"{self.url}: {type(error).__name__}") from None
        return filesystem, folder

    def _of_arrow(self, url: str, missing: ImportError) -> tuple[Any, str]:
        try:
            from fsspec.implementations.arrow import ArrowFSWrapper
            from pyarrow.fs import FileSystem

            filesystem, folder = FileSystem.from_uri(url)
        except Exception:
            raise MissingDependencyError(f"{self.url}: {missing}") from None
        wrapped = ArrowFSWrapper(filesystem)
        wrapped.protocol = urlsplit(url).scheme
        return wrapped, folder

    def files(self) -> Iterator[tuple[str, int]]:
        """Yield the path and the size of each Parquet file. Raises StoreError."""
        files: dict[str, Any] = self.asked(self.filesystem.find, self._folder, detail=True)
        if not files:
            raise FileNotFoundError(errno.ENOENT, "nothing there", self.url)
        for path, facts in files.items():
            if path.endswith(".parquet"):
                yield path, int(facts.get("size") or 0)

    def file(self, path: str) -> StoredFile:
        """Return a file by its path."""
        return StoredFile(self, path)

    def address_of(self, path: str) -> str:
        """Return what an engine calls a file."""
        return f"{self._scheme}://{path.lstrip('/') if self._scheme == 'memory' else path}"

    def asked(self, call: Any, *arguments: Any, **options: Any) -> Any:
        """Ask the store. Raises StoreError, whose text is our own: a library's may have more of the URL in it."""
        try:
            return call(*arguments, **options)
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "nothing there", self.url) from None
        except Exception as error:
            code = error.errno if isinstance(error, OSError) and error.errno else errno.EIO
            raise StoreError(code, f"{self.url}: {type(error).__name__}") from None

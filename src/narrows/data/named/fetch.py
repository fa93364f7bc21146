"""`get`: the files of a named set, from the data folder, the cache folder or a stable public address."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from narrows.core.check import RequestError, WorkError
from narrows.core.files import replacing, sha256
from narrows.core.progress import Progress as Bar
from narrows.data.named.registry import SYNTHETIC, File, Set, expand
from narrows.data.named.unpacked import cache_folder

__all__ = ["download", "get", "located"]

Progress = Callable[[str, int, int], None]
"""Called with the file's name, the bytes so far and the bytes in all (0 if unknown)."""
_CHUNK = 1 << 16


def get(name: str, progress: Progress | bool = False) -> list[Path]:
    """The files of a named set; they are downloaded where they are absent and have a stable public address.

    Looked for in the folder that NARROWS_DATA names, then in the cache folder. Every file's checksum is verified.

    Args:
        name: name of the set.
        progress: True shows a bar; a function is called with name, bytes so far and bytes in all.

    Raises:
        UnknownNameError: no such set.
        WorkError: a file is damaged, or absent without a public address; the text says where to put it.
    """
    if name in SYNTHETIC:
        raise RequestError(
            f"`{name}` is synthetic and needs no download. Open it with narrows.data.open({name!r})"
        )
    row = expand(name)
    found = located(row)
    if found is None and not row.downloads:
        raise _absent(row)
    if found is None:
        return _download_all(row, progress)
    if not found:  # bundled with another package
        return []
    listed = row.files if found[0].name == Path(row.files[0].path).name else row.downloads
    for path, file in zip(found, listed, strict=True):
        if sha256(path) != file.sha256:
            raise WorkError(
                f"{path} is damaged or another version: its SHA-256 is not {file.sha256[:12]}... "
                "Delete it and get it again."
            )
    return found


def located(row: Set) -> list[Path] | None:
    """Where a set's files lie, or None if they are not all in one place (checksums are not verified here)."""
    folders = [cache_folder() / "data"]
    own = os.environ.get("NARROWS_DATA")
    if own:
        folders.insert(0, Path(own))
    for files in (row.files, row.downloads):
        for folder in folders:
            paths = [folder / file.path for file in files]
            if paths and all(path.is_file() for path in paths):
                return paths
    return [] if not row.files else None


def _absent(row: Set) -> WorkError:
    missing = ", ".join(file.path for file in row.files[:3]) + (" ..." if len(row.files) > 3 else "")
    folder = os.environ.get("NARROWS_DATA") or cache_folder() / "data"
    return WorkError(
        f"The data `{row.name}` are not here, and no stable public address has this exact file. "
        f"Put {missing} into {folder} (or another folder, and set NARROWS_DATA to it). Made from: {row.source}."
    )


def _download_all(row: Set, progress: Progress | bool) -> list[Path]:
    with shown(row.title, progress) as tell:
        return [download(file, cache_folder() / "data" / file.path, tell) for file in row.downloads]


@contextmanager
def shown(title: str, progress: Progress | bool) -> Iterator[Progress | None]:
    """A callback (file, bytes so far, total bytes): a progress bar on stderr, the caller's own, or None."""
    if not isinstance(progress, bool):
        yield progress
        return
    if not progress:
        yield None
        return
    with Bar(brief=True) as bar:
        begun: set[str] = set()

        def tell(file: str, so_far: int, total: int) -> None:
            if file not in begun:
                begun.add(file)
                bar.begin(f"{title}: {file}", total, what="bytes")
            bar.advance(so_far)

        yield tell


def download(file: File, path: Path, tell: Progress | None = None) -> Path:
    """Download one file to a temporary name, verify its checksum, and only then give it its name.

    A `.gz` address is unpacked on the way; the checksum is of the unpacked content.

    Raises:
        WorkError: no answer, a broken connection, a truncated body, or a content that is not the expected one.
    """
    if path.is_file() and sha256(path) == file.sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with replacing(path) as out:
        for chunk in _content(file.url, tell):
            digest.update(chunk)
            out.write(chunk)
        if digest.hexdigest() != file.sha256:
            raise WorkError(
                f"What {file.url} sent is not the expected file: its SHA-256 is {digest.hexdigest()[:12]}..., "
                f"not {file.sha256[:12]}... Nothing was stored. "
                "Try again; if it stays so, the file has changed there."
            )
    return path


def _content(url: str, tell: Progress | None) -> Iterator[bytes]:
    """The body of an address in chunks, unpacked where it ends in .gz."""
    unpack = zlib.decompressobj(wbits=31) if url.endswith(".gz") else None
    try:
        with urlopen(Request(url, headers={"User-Agent": "narrows"}), timeout=60) as answer:
            total, so_far = int(answer.headers.get("Content-Length") or 0), 0
            while chunk := answer.read(_CHUNK):
                so_far += len(chunk)
                if tell is not None:
                    tell(url.rsplit("/", 1)[-1], so_far, total)
                yield unpack.decompress(chunk) if unpack else chunk
    except (URLError, HTTPException, OSError) as error:
        raise WorkError(
            f"{url} could not be downloaded: {error}. Check the connection and try again."
        ) from error
    except zlib.error as error:
        raise WorkError(
            f"What {url} sent is not a gzip file ({error}). Nothing was stored. Try again."
        ) from error
    if so_far < total or (unpack is not None and not unpack.eof):
        raise WorkError(
            f"{url} broke off after {so_far} of {total or 'unknown'} bytes. Nothing was stored. Try again."
        )

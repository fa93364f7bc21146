"""`Format`: how one library stores its dictionaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from narrows.core.check import RequestError
from narrows.exchange.description import Description, Losses
from narrows.exchange.files import write_files

__all__ = ["Files", "Format"]

Files = Mapping[str, Any]
"""The content of a folder by relative path: tensors of a ``.safetensors``, ``.npz`` or ``.pt``, an object of a
``.json``, text of any other."""


class Format:
    """How one library stores its dictionaries. A subclass reads its files, and may write them.

    A format that is only read defines neither `losses` nor `write`.
    """

    name: ClassVar[str]
    """The name that `--to` takes."""

    title: ClassVar[str]
    """The library, and the file names by which a folder is recognised, in a line."""

    def recognises(self, path: Path) -> bool:
        """Whether a folder or file has this format; only names and small configurations are read."""
        raise NotImplementedError(f"{type(self).__name__} must define recognises")

    def read(self, path: Path, *, allow_pickle: bool = False) -> Description:
        """Read a folder or file. Tensors stay in their file until they are used.

        Raises:
            RequestError: the files are damaged, incomplete, contradictory or of an unknown architecture.
        """
        raise NotImplementedError(f"{type(self).__name__} must define read")

    def members(self, path: Path) -> Mapping[str, Path]:
        """The dictionaries of a folder that holds several, by name; empty if it is one."""
        return {}

    def losses(self, description: Description) -> Losses:
        """What this format cannot hold of a description, but is written without.

        Raises:
            RequestError: this format is not written, or has nothing like the description.
        """
        raise RequestError(f"The format `{self.name}` is read, not written.")

    def cannot(self, description: Description, reason: str) -> RequestError:
        """The error for a description that cannot be written, not even in part."""
        return RequestError(
            f"``to={self.name!r}`` cannot hold this {description.title}: {reason}. Nothing was written."
        )

    def centre(self, description: Description) -> bool | None:
        """Whether the decoder's bias is subtracted in this format; None if it can say either."""
        return None

    def save(self, description: Description, folder: Path) -> None:
        """Write the files into an empty folder."""
        write_files(folder, self.write(description))

    def join(self, descriptions: Sequence[Description]) -> Files | None:
        """The files of a folder that holds several dictionaries; None if this format has none."""
        return None

    def write(self, description: Description) -> Files:
        """The files of a description, without what `losses` lists."""
        raise RequestError(f"The format `{self.name}` is read, not written.")

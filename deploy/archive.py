"""Writes zip files that are the same, byte for byte, on each machine."""

from __future__ import annotations

import zipfile
from pathlib import Path


def write_zip(path: Path, files: dict[str, bytes], executable: str | None = None) -> None:
    """Times, permissions and the order of the files don't depend on the machine."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, whose permissions follow
            entry.external_attr = (0o100755 if name == executable else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)

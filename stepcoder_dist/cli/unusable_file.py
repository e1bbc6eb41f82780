"""A file that the system does not open for this user: one line that names it."""

from __future__ import annotations

import errno

_FIXES = {
    errno.EACCES: "change its permissions or those of the folders above it",
    errno.EPERM: "change its permissions or its owner",
    errno.EISDIR: "a file is needed there",
    errno.ENOTDIR: "a folder is needed there",
    errno.ELOOP: "replace the link by what it should lead to",
    errno.ENAMETOOLONG: "give a shorter one",
}
"""What to do, by what the system answers. A missing file is not among them: code that does not
expect it is wrong."""


def is_one(error: OSError) -> bool:
    """Return whether it is about a file, and one that only the user can put right."""
    return error.errno in _FIXES and error.filename is not None


def message(error: OSError) -> str:
    """Say which file, what the system answered and what to do, in one line."""
    return f"{error.filename}: {error.strerror}; {_FIXES[error.errno or 0]}"

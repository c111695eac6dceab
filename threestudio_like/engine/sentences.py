"""Says what went wrong in one sentence, whatever it was."""

import errno

from threestudio_like.engine.run_folder import BUSY, BusyError
from threestudio_like.errors import RunError, UserError, brief
from threestudio_like.utils.run_log import keep_traceback

USER_ERRNOS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EMFILE,
}
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "not enough memory")


def sentence(error: Exception) -> tuple[str, int]:
    """Says in one line what went wrong, whatever it was, and which exit code it has."""
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    match error:
        case UserError():
            return str(error), BUSY if isinstance(error, BusyError) else 2
        case RunError():
            return f"{error}{notes}", 1
        case OSError() if error.errno in USER_ERRNOS:
            return f"{error.filename or ''}: {error.strerror or brief(error)}".lstrip(": "), 2
    if isinstance(error, MemoryError) or any(words in str(error).lower() for words in OUT_OF_MEMORY):
        return f"out of memory ({brief(error)}); ask for smaller sizes, or for fewer things at once{notes}", 1
    kind = type(error).__name__
    return f"unexpected {kind}: {brief(error)}; {keep_traceback(error)}", 1

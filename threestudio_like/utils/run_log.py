"""The `log.txt` of the run that this process carries out."""

import logging
import os
import tempfile
import traceback
from pathlib import Path


class RunLog(logging.FileHandler):
    """A run's `log.txt`."""


def log_to(path: Path) -> None:
    """Copies what is logged from now on into the file, and no longer into an earlier run's."""
    root = logging.getLogger()
    for earlier in [handler for handler in root.handlers if isinstance(handler, RunLog)]:
        root.removeHandler(earlier)
        earlier.close()
    handler = RunLog(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def current_log() -> Path | None:
    """Returns the `log.txt` that is written now, of this process's run; None where there is none."""
    logs = [Path(handler.baseFilename) for handler in logging.getLogger().handlers if isinstance(handler, RunLog)]
    return logs[-1] if logs else None


def keep_traceback(error: Exception) -> str:
    """Writes an error's traceback into the run's log, or into a file of its own, and says where it is."""
    told = "".join(traceback.format_exception(error))
    try:
        path = current_log()
        if path is None:
            handle, name = tempfile.mkstemp(prefix="threestudio-like-", suffix=".txt")
            os.close(handle)
            path = Path(name)
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(told)
    except OSError as problem:
        return f"its traceback could not be written ({problem.strerror})"
    return f"its traceback is in {path}"

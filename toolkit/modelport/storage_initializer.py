"""KServe's contract of a storage container: `python -m modelport.storage_initializer URI FOLDER`.

Fetches a model that MLflow keeps into the folder from which it is served. Exits with 1 and one
line on standard error where that fails.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from modelport import tracking
from modelport.errors import ModelportError, StorageError, TrackingError, UsageError
from modelport.models import ModelRef

_USAGE = "python -m modelport.storage_initializer SRC_URI DEST_PATH"


def fetch(uri: str, folder: Path) -> None:
    """Fetch the model that a URI names: the very version, alias or run, and nothing else.

    Args:
        uri: `models:/NAME/VERSION`, `models:/NAME@ALIAS`, `runs:/RUN_ID/PATH`, or the same after
            `mlflow://models/` and `mlflow://runs/`.
        folder: Where the model's files go, `MLmodel` among them.

    Raises:
        UsageError: The URI names no model of MLflow.
        ModelNotFound: MLflow has no such model.
        TrackingError: MLflow does not answer.
        StorageError: The folder cannot be written.
    """
    ref = ModelRef.parse(uri)
    if ref.kind == "folder":
        raise UsageError(f"{uri!r} names no model of MLflow", "write mlflow://models/NAME/VERSION")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tracking.download(ref, folder)
    except ModelportError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise StorageError(
                f"{folder} cannot be written ({error.strerror})",
                "mount a folder there with enough space",
            ) from error
        # An artifact store's own words may hold what signs its addresses.
        raise TrackingError(
            f"the files of {ref.uri} cannot be fetched ({type(error).__name__})",
            "check where MLflow keeps them, and the credentials given for that",
        ) from error


def main(arguments: Sequence[str]) -> int:
    """Run as a program; return its exit code."""
    try:
        if len(arguments) != 2:
            raise UsageError("a URI and a folder are wanted", f"run: {_USAGE}")
        fetch(arguments[0], Path(arguments[1]))
    except ModelportError as error:
        print(f"modelport: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

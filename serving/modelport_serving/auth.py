"""Bearer tokens: who may ask."""

from __future__ import annotations

import hmac
from pathlib import Path

from modelport_serving.errors import StartFailed

_SCHEME = "bearer "


class Token:
    """The one secret that callers must show."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    @classmethod
    def read(cls, file: Path) -> Token:
        """Read the secret from a file; `StartFailed` when there is none."""
        try:
            secret = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise StartFailed(f"the token file {file} cannot be read: {error}") from error
        if not secret:
            raise StartFailed(f"the token file {file} is empty: write a long random word into it")
        return cls(secret)

    def admits(self, authorization: str | None) -> bool:
        """Whether an Authorization header shows the secret, in a time that tells nothing of it."""
        if authorization is None or not authorization.lower().startswith(_SCHEME):
            return False
        shown = authorization[len(_SCHEME) :].strip().encode()
        return hmac.compare_digest(shown, self._secret)

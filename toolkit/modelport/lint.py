"""Whether InferenceServices can be applied, and what of them would be passed over."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from modelport import manifests, portability
from modelport.errors import UsageError
from modelport.portability import Said, Severity

if TYPE_CHECKING:
    from modelport.documents import Document

LOCAL, KUBERNETES = "local", "kubernetes"
PLACES = (LOCAL, KUBERNETES)

_ANCHORED = re.compile(r"/|[A-Za-z][-+.\w]*:")
_PATH = re.compile(r"(?:apiVersion|kind|metadata|spec)\b[^\s:]*")


@dataclass(frozen=True)
class Finding:
    """One remark about a field of a file."""

    source: str
    line: int
    severity: Severity
    path: str
    message: str

    def __str__(self) -> str:
        said = f"{self.path}: {self.message}" if self.path else self.message
        return f"{self.source}:{self.line}: {self.severity}: {said}"

    def json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)


def lint(documents: Sequence[Document], places: Sequence[str] = PLACES) -> list[Finding]:
    """Check documents by the local engine's rules, a cluster's, or both.

    Errors are what is refused there, warnings what is accepted and not acted on. Nothing is
    asked: no engine, no cluster, no storage.
    """
    return [finding for one in documents for finding in _of_document(one, places)]


def check(documents: Sequence[Document]) -> None:
    """Raise `UsageError` with the first thing that the local engine would refuse.

    Beyond `lint`, model folders are looked for.
    """
    errors = [one for one in lint(documents, (LOCAL,)) if one.severity == "error"]
    errors += [] if errors else [one for document in documents for one in _missing(document)]
    if errors:
        first = errors[0]
        where = f"{first.source}:{first.line}: {first.path}".rstrip(": ")
        more = f" (and {len(errors) - 1} more: see modelport lint)" if errors[1:] else ""
        raise UsageError(f"{where}: {first.message}{more}; nothing was changed")


def _of_document(document: Document, places: Sequence[str]) -> list[Finding]:
    if not isinstance(document.value, dict) or document.kind != manifests.KIND:
        # A cluster takes other kinds, of which we know nothing.
        said = [_other_kind(document)] if LOCAL in places else []
    else:
        said = list(_local(document.value)) if LOCAL in places else []
        wrong = {one.path for one in said if one.severity == "error"}
        if KUBERNETES in places:
            remarks = portability.remarks(document.value)
            said += [one for one in remarks if one.path not in wrong]
    findings = (
        Finding(document.source, document.line(one.path), one.severity, one.path, one.message)
        for one in said
    )
    return sorted(findings, key=lambda one: (one.line, one.severity, one.path))


def _other_kind(document: Document) -> Said:
    what = " ".join(filter(None, (document.kind or "what has no kind", document.name)))
    return Said("error", "kind", f"{what}: the local engine takes InferenceServices alone")


def _local(manifest: manifests.Manifest) -> Iterator[Said]:
    from modelport_engine import objects
    from modelport_engine.errors import InvalidObject

    relative = list(_relative(manifest))
    if relative:
        yield from relative
        return
    try:
        accepted = objects.parse(manifest)
    except InvalidObject as error:
        path = found.group() if (found := _PATH.match(error.what)) else ""
        message = error.what.removeprefix(path).strip()
        yield Said("error", path, ": ".join(filter(None, (message, error.todo))))
        return
    for field in accepted.unhonoured:
        path, _, note = field.partition(" ")
        why = f" {note}" if note else ""
        yield Said("warning", path.rstrip(":"), f"the local engine does not act on it{why}")


def _relative(manifest: manifests.Manifest) -> Iterator[Said]:
    """Find relative paths: the engine runs in another folder than who wrote them."""
    for path, uri in manifests.storages(manifest):
        if not _ANCHORED.match(uri):
            message = f"{uri!r} is a relative path, which the engine does not take"
            yield Said("error", path, f"{message}: write file:///the/whole/path")


def _missing(document: Document) -> Iterator[Finding]:
    """Find model folders that are not there."""
    from modelport_engine import objects
    from modelport_engine.errors import InvalidObject

    for path, uri in manifests.storages(document.value):
        try:
            objects.check_folder(uri)
        except InvalidObject as error:
            yield Finding(document.source, document.line(path), "error", path, str(error))

"""Moving a service from one state to another, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport import manifests

if TYPE_CHECKING:
    from modelport.manifests import Manifest
    from modelport.targets.base import Target


def restore(
    target: Target, name: str, namespace: str, release_id: str, previous: Manifest | None
) -> bool:
    """Put a service back to what it was before a release: its old spec, or nothing at all.

    Returns:
        False if the service does not carry that release, and so was left alone.
    """
    current = target.get(name, namespace)
    if current is None or manifests.annotation(current, manifests.RELEASE) != release_id:
        target.unstage(namespace, name, release_id)
        return False
    if previous is None:
        target.delete(name, namespace)
    else:
        target.apply(manifests.applied(previous))
        target.unstage(namespace, name, release_id)
    return True

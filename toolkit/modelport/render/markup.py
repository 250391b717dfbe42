"""HTML by construction: text is escaped unless it is already markup."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_VOID = frozenset({"meta"})


class Html(str):
    """Markup whose user-controlled parts are escaped."""

    __slots__ = ()


def tag(name: str, /, *children: str | None, **attributes: str | None) -> Html:
    """Return one element.

    Args:
        name: The element's name.
        children: Its content in order; plain strings are escaped, None is left out.
        attributes: Its attributes, escaped; a trailing underscore is dropped, other underscores
            become hyphens, None leaves the attribute out, "" gives one without a value.
    """
    start = f"<{name}{''.join(_attribute(key, value) for key, value in attributes.items())}>"
    return Html(start if name in _VOID else f"{start}{join(children)}</{name}>")


def join(children: Iterable[str | None]) -> Html:
    """Put parts one after the other, as `tag` does with children."""
    return Html("".join(_safe(child) for child in children if child is not None))


def link(url: str | None, text: str) -> Html:
    """Return a link, or the text alone where the address is not one of the web."""
    if url and url.startswith(("http://", "https://")):
        return tag("a", text, href=url, target="_blank", rel="noopener noreferrer")
    return tag("span", text)


def _safe(child: str) -> str:
    return child if isinstance(child, Html) else escape(child)


def _attribute(key: str, value: str | None) -> str:
    if value is None:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f' {name}="{escape(value)}"' if value else f" {name}"

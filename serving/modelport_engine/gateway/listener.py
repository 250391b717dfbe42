"""Envoy's listener: where it listens, who must show a token, and what it writes of each request."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from modelport_engine.errors import EngineStartFailed
from modelport_engine.gateway.xds import GATEWAY, Resource, discovery, extension, watched
from modelport_engine.replicas.ports import is_free

if TYPE_CHECKING:
    from pathlib import Path

LOOPBACK = "127.0.0.1"

ACCESS_LOG = "access.log"
"""Relative to Envoy's working folder. One JSON document a line, written once a second."""

_PATH = "modelport.path"
# The path as it was asked for: when a line is written, the request has the runtime's path.

_SAID = "%LOCAL_REPLY_BODY%"
_NOBODY = {"address_prefix": "255.255.255.255", "prefix_len": 32}

_LINE = {
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    # Without its query: some clients put credentials there. No header that holds any is written.
    "path": f"%FILTER_STATE({_PATH}:PLAIN)%",
    "authority": "%REQ(:AUTHORITY)%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS_NUMBER%",
    "flags": "%RESPONSE_FLAGS%",
    "duration_ms": "%DURATION%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "host": "%UPSTREAM_HOST%",
    "request_id": "%REQ(X-REQUEST-ID)%",
}


def check(host: str, token: str | None) -> None:
    """Refuse an address that the gateway must not or cannot listen on.

    Raises:
        EngineStartFailed: when it is none, or is not loopback and there is no proper token.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise EngineStartFailed(
            f"{host!r} is not an IP address", "give one of this machine, or 0.0.0.0 for all"
        ) from None
    if not is_free(0, [host]):
        raise EngineStartFailed(
            f"{host} is no address of this machine", "give one that it has, or 0.0.0.0 for all"
        )
    if token is not None and not (
        token.isascii() and token.isprintable() and token.split() == [token]
    ):
        raise EngineStartFailed(
            "the gateway's token is empty or has characters that no header can carry",
            "choose letters and digits",
        )
    if token is None and not address.is_loopback:
        raise EngineStartFailed(
            f"the gateway cannot listen on {host} without a token",
            "set one, which callers from other machines then send",
        )


def listeners(folder: Path, host: str, port: int, token: str | None) -> Resource:
    """Give the one listener: HTTP/1.1 and HTTP/2, routes from their own file.

    With a token, whoever calls from another machine must send `Authorization: Bearer TOKEN`.
    Callers of this machine never need one: transformers and explainers reach their predictors
    here. Envoy tells them apart by the address that a connection comes from. So requests that a
    program of this machine passes on for others (a reverse proxy, a tunnel, a forwarded port)
    count as this machine's: such a program has to ask for credentials itself.
    """
    first, *more = [{"address": _address(one, port)} for one in hosts(host)]
    listener = {
        "name": GATEWAY,
        **first,
        "additional_addresses": more,
        # A second Envoy on this port must fail, not share it.
        "enable_reuse_port": False,
        "filter_chains": _filter_chains(folder, token),
    }
    return discovery("config.listener.v3.Listener", [listener])


def hosts(host: str) -> list[str]:
    """Give all addresses to listen on: the engine's own requests always come over loopback."""
    return [host] if host in (LOOPBACK, "0.0.0.0", "::") else [host, LOOPBACK]  # noqa: S104


def _address(host: str, port: int) -> Resource:
    address: Resource = {"address": host, "port_value": port}
    if host == "::":
        address["ipv4_compat"] = True
    return {"socket_address": address}


def _filter_chains(folder: Path, token: str | None) -> list[Resource]:
    ours = {"filters": [_connection_manager(folder, [])]}
    if token is None:
        return [ours]
    theirs = {"filters": [_connection_manager(folder, _guards(token))]}
    return [
        {"filter_chain_match": {"source_type": "SAME_IP_OR_LOOPBACK"}, **ours},
        {"filter_chain_match": {"source_type": "EXTERNAL"}, **theirs},
    ]


def _connection_manager(folder: Path, guards: list[Resource]) -> Resource:
    """Give the filter that speaks HTTP; `guards` see a request before it is routed."""
    return extension(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=GATEWAY,
        rds={"route_config_name": GATEWAY, "config_source": watched(folder / "rds.json")},
        http_filters=[_remember_path(), *guards, _count_grpc(), _router()],
        access_log=[
            extension(
                "envoy.access_loggers.file",
                "access_loggers.file.v3.FileAccessLog",
                path=ACCESS_LOG,
                log_format={"json_format": _LINE},
            )
        ],
        use_remote_address=True,
        # Nobody's headers may change timeouts, or have a prediction made twice.
        internal_address_config={"cidr_ranges": [_NOBODY]},
        preserve_external_request_id=True,
        normalize_path=True,
        server_header_transformation="PASS_THROUGH",
        local_reply_config=_local_replies(),
    )


def _remember_path() -> Resource:
    return extension(
        "envoy.filters.http.set_filter_state",
        "filters.http.set_filter_state.v3.Config",
        on_request_headers=[
            {
                "object_key": _PATH,
                "factory_key": "envoy.string",
                "format_string": {"text_format_source": {"inline_string": "%PATH(NQ:PATH)%"}},
            }
        ],
    )


def _guards(token: str) -> list[Resource]:
    """Refuse requests without the token; once it has opened the gateway, nobody needs to see it."""
    bearer = {"name": "Authorization", "string_match": {"exact": f"Bearer {token}"}}
    policy = {"permissions": [{"any": True}], "principals": [{"header": bearer}]}
    return [
        extension(
            "envoy.filters.http.rbac",
            "filters.http.rbac.v3.RBAC",
            rules={"action": "ALLOW", "policies": {"token": policy}},
        ),
        extension(
            "envoy.filters.http.header_mutation",
            "filters.http.header_mutation.v3.HeaderMutation",
            mutations={"request_mutations": [{"remove": "Authorization"}]},
        ),
    ]


def _count_grpc() -> Resource:
    return extension(
        "envoy.filters.http.grpc_stats",
        "filters.http.grpc_stats.v3.FilterConfig",
        stats_for_all_methods=False,
    )


def _router() -> Resource:
    return extension(
        "envoy.filters.http.router", "filters.http.router.v3.Router", suppress_envoy_headers=True
    )


def _local_replies() -> Resource:
    """Give whatever Envoy itself answers the shape of the protocol's errors."""
    is_grpc = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    grpc = {"header_filter": {"header": is_grpc}}
    # Its message is a header of its own, and no document.
    plain = {"body_format_override": {"text_format_source": {"inline_string": _SAID}}}
    # Nothing but the guard answers 403; what it means is 401.
    is_403 = {"op": "EQ", "value": {"default_value": 403, "runtime_key": "modelport.refused"}}
    no_token = {"status_code_filter": {"comparison": is_403}}
    refused = {
        "status_code": 401,
        **_text("send the gateway's token: Authorization: Bearer TOKEN"),
        "headers_to_add": [{"header": {"key": "WWW-Authenticate", "value": "Bearer"}}],
    }
    # Envoy's own words for what became of a replica are for its developers.
    said = [
        (_flagged("UC", "UF"), _text("the replica that was to answer has ended; ask again")),
        (_flagged("UH"), _text("no replica of it is ready; ask again soon")),
        (no_token, refused),
    ]
    mappers: list[Resource] = []
    for when, answer in said:
        mappers.append({**answer, "filter": {"and_filter": {"filters": [when, grpc]}}, **plain})
        mappers.append({**answer, "filter": when})
    return {
        "mappers": [*mappers, {"filter": grpc, **plain}],
        "body_format": {"json_format": {"error": _SAID}},
    }


def _flagged(*flags: str) -> Resource:
    return {"response_flag_filter": {"flags": [*flags]}}


def _text(text: str) -> Resource:
    return {"body": {"inline_string": text}}

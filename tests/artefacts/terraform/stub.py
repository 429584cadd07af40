"""Stand in for the three providers, so that the real terraform checks and tests the modules.

`terraform validate` and `test` with mock providers ask a provider for its schema and for its
opinion on values, nothing more. This answers with the schemas that schema.py wrote, and has no
opinion: what a real provider would refuse, only the rules in the modules and in test_terraform.py
find.

Terraform finds it by TF_REATTACH_PROVIDERS. The protocol is tfplugin5.proto in Terraform's sources,
of which so little is needed that its messages are written here by hand.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

_NESTING = {"single": 1, "list": 2, "set": 3}
# The numbers of the fields in Schema.Attribute.
_FLAGS = {"required": 4, "optional": 5, "computed": 6, "sensitive": 7}


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value) if value else b""


def _bytes(field: int, value: bytes | str) -> bytes:
    encoded = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(encoded)) + encoded


def _block(block: Mapping[str, Any]) -> bytes:
    attributes = (
        _bytes(1, name)
        + _bytes(2, json.dumps(each["type"]))
        + b"".join(_number(field, flag in each) for flag, field in _FLAGS.items())
        for name, each in block.get("attributes", {}).items()
    )
    blocks = (
        _bytes(1, name)
        + _bytes(2, _block(each["block"]))
        + _number(3, _NESTING[each["nesting_mode"]])
        + _number(4, each.get("min_items", 0))
        + _number(5, each.get("max_items", 0))
        for name, each in block.get("block_types", {}).items()
    )
    return b"".join(_bytes(2, each) for each in attributes) + b"".join(
        _bytes(3, each) for each in blocks
    )


def _schemas(schemas: Mapping[str, Any]) -> bytes:
    provider = _bytes(2, _block(schemas.get("provider", {}).get("block", {})))
    reply = _bytes(1, provider)
    for field, kind in ((2, "resource_schemas"), (3, "data_source_schemas")):
        for name, each in schemas[kind].items():
            schema = _number(1, each["version"]) + _bytes(2, _block(each["block"]))
            reply += _bytes(field, _bytes(1, name) + _bytes(2, schema))
    return reply


class _Provider(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, schemas: Mapping[str, Any]) -> None:
        self._replies = {
            "GetSchema": _schemas(schemas),
            "ValidateResourceTypeConfig": b"",
            "ValidateDataSourceConfig": b"",
            "Stop": b"",
        }

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        method = handler_call_details.method.rpartition("/")[2]
        if method == "PrepareProviderConfig":
            return grpc.unary_unary_rpc_method_handler(lambda request, _: request)
        if (reply := self._replies.get(method)) is None:
            return None
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: reply)


@contextmanager
def providers(documents: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    """Serve what `documents` hold, while the block runs; the environment that tells terraform."""
    servers, reattach = [], {}
    try:
        for document in documents.values():
            for source, schemas in document["provider_schemas"].items():
                server = grpc.server(ThreadPoolExecutor(2))
                server.add_generic_rpc_handlers((_Provider(schemas),))
                port = server.add_insecure_port("127.0.0.1:0")
                server.start()
                servers.append(server)
                reattach[source] = {
                    "Protocol": "grpc",
                    "ProtocolVersion": 5,
                    "Pid": os.getpid(),
                    "Test": True,
                    "Addr": {"Network": "tcp", "String": f"127.0.0.1:{port}"},
                }
        yield {"TF_REATTACH_PROVIDERS": json.dumps(reattach)}
    finally:
        for server in servers:
            server.stop(None)

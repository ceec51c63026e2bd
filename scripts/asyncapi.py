"""Writes `docs/asyncapi.json`: what travels where, as AsyncAPI 3, from the channels and shapes themselves.

`send` and `receive` are the agent's. A message exists in two forms with the same fields, and so is there twice.
"""

import json
from pathlib import Path
from typing import Any, Final

import msgspec

from messages.channels import CHANNELS, NAME_PATTERN, VERSION, Channel
from messages.shapes import Envelope

FILE: Final = Path(__file__).parents[1] / "docs" / "asyncapi.json"
FORMS: Final = {"msgpack": "application/msgpack", "json": "application/json"}
NAMES: Final = {
    "namespace": "One hub and its nodes; `default` unless the configuration names another.",
    "node": "The device, by the name in its agent.toml.",
    "job": "The job, by the name of its section in agent.toml.",
}
"""The variable levels of a topic."""

ABOUT: Final = (
    "Messages are MessagePack maps or JSON objects, told apart by the first byte; bytes are binary in MessagePack and"
    " base64 in JSON. Everything travels at QoS 1. Unknown fields are to be ignored: later versions add some."
)


def document() -> dict[str, Any]:
    """The whole AsyncAPI document."""
    shapes = {channel.shape.__name__: channel.shape for channel in CHANNELS.values()}
    _, schemas = msgspec.json.schema_components(
        list(shapes.values()), schema_hook=_any, ref_template="#/components/schemas/{name}"
    )
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Skerry", "version": VERSION, "description": ABOUT, "license": {"name": "Apache-2.0"}},
        "defaultContentType": FORMS["msgpack"],
        "channels": {_id(channel): _channel(channel) for channel in CHANNELS.values()},
        "operations": {_id(channel): _operation(channel) for channel in CHANNELS.values()},
        "components": {
            "schemas": _older(schemas),
            "messages": {f"{name}.{form}": _message(shape, form) for name, shape in shapes.items() for form in FORMS},
            "parameters": {name: {"description": f"{text} {_SPELLED}"} for name, text in NAMES.items()},
        },
    }


def _channel(channel: Channel[Envelope]) -> dict[str, Any]:
    names = [name for name in NAMES if name != "job" or channel.per_job]
    place = f"{{namespace}}/skerry/{VERSION}/{{node}}/{channel.path}"
    reserved = " Reserved: this version reads only the envelope." if channel.reserved else ""
    kept = "Kept by its sender until a receipt comes." if channel.reliable else "The next one repairs a lost one."
    return {
        "address": f"{place}/{{job}}" if channel.per_job else place,
        "description": kept + reserved,
        "parameters": {name: _ref("components", "parameters", name) for name in names},
        "messages": {form: _ref("components", "messages", f"{channel.shape.__name__}.{form}") for form in FORMS},
    }


def _operation(channel: Channel[Envelope]) -> dict[str, Any]:
    return {
        "action": "send" if channel.path.startswith(("up/", "out")) else "receive",
        "channel": _ref("channels", _id(channel)),
        "messages": [_ref("channels", _id(channel), "messages", form) for form in FORMS],
        "bindings": {"mqtt": {"qos": 1, "retain": channel.retain, "bindingVersion": "0.2.0"}},
    }


def _message(shape: type[Envelope], form: str) -> dict[str, Any]:
    return {
        "name": shape.__name__,
        "contentType": FORMS[form],
        "payload": _ref("components", "schemas", shape.__name__),
    }


def _any(kind: type) -> dict[str, Any]:
    """Nested lists have no type of their own in the shapes: the job knows the depth."""
    assert kind is object
    return {"description": "A number, or a list of such."}


def _older(schema: Any) -> Any:
    """AsyncAPI writes JSON Schema as of draft 7, and says by name alone which field tells members of a union apart."""
    if isinstance(schema, list):
        return [_older(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed = dict(schema)
    if "prefixItems" in changed:
        changed["additionalItems"] = changed.pop("items", False)
        changed["items"] = changed.pop("prefixItems")
    if "discriminator" in changed:
        changed["discriminator"] = changed["discriminator"]["propertyName"]
    return {key: _older(value) for key, value in changed.items()}


def _id(channel: Channel[Envelope]) -> str:
    return channel.path.replace("/", ".")


def _ref(*path: str) -> dict[str, str]:
    return {"$ref": "/".join(("#", *path))}


_SPELLED: Final = f"Spelled as `{NAME_PATTERN.pattern}`."

if __name__ == "__main__":
    FILE.write_text(json.dumps(document(), indent=1) + "\n")

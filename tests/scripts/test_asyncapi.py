"""docs/asyncapi.json says what the channels and shapes say, and is AsyncAPI 3."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from messages.channels import CHANNELS, Channel, node_grants
from messages.shapes import Envelope
from scripts.asyncapi import FILE, document

WRITTEN: dict[str, Any] = json.loads(FILE.read_text())
NAMES = {"namespace": "default", "node": "cam-1", "job": "digits"}


def found(ref: str) -> Any:
    """What a reference leads to."""
    assert ref.startswith("#/")
    place: Any = WRITTEN
    for step in ref.removeprefix("#/").split("/"):
        place = place[step]
    return place


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from (value for key, value in part.items() if key == "$ref")
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from references(inner)


def test_the_file_is_what_scripts_asyncapi_writes_now() -> None:
    assert json.loads(json.dumps(document())) == WRITTEN


def test_every_reference_leads_somewhere() -> None:
    assert all(found(ref) for ref in references(WRITTEN))


def test_nothing_else_stands_at_the_top() -> None:
    assert set(WRITTEN) == {"asyncapi", "info", "defaultContentType", "channels", "operations", "components"}
    assert WRITTEN["asyncapi"].startswith("3.")


@pytest.mark.parametrize("channel", CHANNELS.values(), ids=CHANNELS)
def test_a_channel_says_where_and_what(channel: Channel[Envelope]) -> None:
    written = WRITTEN["channels"][channel.path.replace("/", ".")]
    names = {name: NAMES[name] for name in written["parameters"]}
    assert written["address"].format(**names) == channel.topic(**NAMES)
    messages = [found(message["$ref"]) for message in written["messages"].values()]
    assert {message["contentType"] for message in messages} == {"application/msgpack", "application/json"}
    for message in messages:
        assert message["name"] == channel.shape.__name__
        assert list(found(message["payload"]["$ref"])["properties"]) == list(channel.shape.__struct_fields__)


@pytest.mark.parametrize("channel", CHANNELS.values(), ids=CHANNELS)
def test_an_operation_is_what_the_agent_does(channel: Channel[Envelope]) -> None:
    operation = WRITTEN["operations"][channel.path.replace("/", ".")]
    assert found(operation["channel"]["$ref"])["address"].startswith("{namespace}/skerry/v1/{node}/" + channel.path)
    rights = node_grants("default", "cam-1")
    (right,) = [right for place, right in rights.items() if f"/{channel.path.split('/')[0]}/" in place]
    assert operation["action"] == {"write": "send", "read": "receive"}[right]
    assert operation["bindings"]["mqtt"]["retain"] is channel.retain
    of_channel = found(operation["channel"]["$ref"])["messages"].values()
    assert [found(message["$ref"]) for message in operation["messages"]] == list(of_channel)


VALIDATE = """
import { Parser } from "@asyncapi/parser";
import { readFileSync } from "fs";
const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
for (const found of diagnostics.filter((each) => each.severity === 0)) console.log(found.path.join("/"), found.message);
console.log(document ? document.channels().all().length : "no document");
"""


@pytest.mark.extra
@pytest.mark.timeout(300)
def test_asyncapis_own_parser_reads_it(tmp_path: Path) -> None:
    assert shutil.which("npm"), "npm and Node.js are not on this machine"
    install = ["npm", "install", "--no-audit", "--no-fund", "@asyncapi/parser@3"]
    subprocess.run(install, cwd=tmp_path, check=True)
    (tmp_path / "validate.mjs").write_text(VALIDATE)
    done = subprocess.run(["node", "validate.mjs", FILE], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"{len(CHANNELS)}\n"

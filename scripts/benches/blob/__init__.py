"""What large content costs on its way from a hub to an agent, over a real broker."""

from scripts.benches import Part
from scripts.benches.blob import command, throughput, version

PARTS: dict[str, Part] = {
    "throughput": throughput.throughput,
    "command_p50_ms": command.command,
    "second_version_share": version.share,
}

"""Topics are built and taken apart in one place, and nothing else passes."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from messages import channels
from messages.channels import CHANNELS, DOWN_ANSWER, IN, RESERVED, UP_SAMPLE, UP_STATUS, BadTopic, Channel, parse
from messages.shapes import Envelope

NAMES = st.from_regex(channels.NAME_PATTERN, fullmatch=True)


@given(st.sampled_from(sorted(CHANNELS)), NAMES, NAMES, NAMES)
def test_what_was_built_is_taken_apart_again(path: str, namespace: str, node: str, job: str) -> None:
    channel = CHANNELS[path]
    address = parse(channel.topic(namespace, node, job))
    assert (address.namespace, address.node, address.path, address.channel) == (namespace, node, path, channel)
    assert address.job == (job if channel.per_job else "")


@given(st.text())
def test_any_text_is_a_topic_or_a_bad_one(topic: str) -> None:
    with pytest.raises(BadTopic):
        parse(topic)


def test_the_table_is_spelled_once_and_for_all() -> None:
    assert UP_SAMPLE.topic("default", "cam-1") == "default/skerry/v1/cam-1/up/sample"
    assert IN.topic("default", "cam-1", "digits") == "default/skerry/v1/cam-1/in/digits"
    assert UP_SAMPLE.filter("default") == "default/skerry/v1/+/up/sample"
    assert IN.filter("default", "cam-1") == "default/skerry/v1/cam-1/in/+"
    assert channels.uplink("default") == "default/skerry/v1/+/up/#"
    assert channels.downlink("default", "cam-1") == "default/skerry/v1/cam-1/down/#"
    assert {path for path, channel in CHANNELS.items() if channel.retain} == {"up/status"}
    reliable = {path for path, channel in CHANNELS.items() if channel.reliable and not channel.reserved}
    assert reliable == {"up/sample", "up/report", "down/answer", "down/desired"}


def test_reserved_channels_have_a_place_and_only_an_envelope() -> None:
    assert {channel.path for channel in RESERVED} == {
        *("up/update", "up/frame", "down/round", "down/frame"),
    }
    assert all(channel.shape is Envelope and channel.reserved for channel in RESERVED)
    assert not any(channel.retain for channel in RESERVED)


@pytest.mark.parametrize("path", ["up/dream", "up", "up/sample/more", "sideways", "up/sample/"])
def test_an_unknown_channel_has_an_address_but_no_shape(path: str) -> None:
    address = parse(f"default/skerry/v1/cam-1/{path}")
    assert (address.node, address.path, address.channel) == ("cam-1", path, None)


RULE = "use 1 to 63 of A-Z a-z 0-9 . _ - and begin with a letter or digit"


@pytest.mark.parametrize(
    ("topic", "text"),
    [
        ("", "topic '': not {namespace}/skerry/v1/{node}/{channel}"),
        ("a/b", "topic 'a/b': not {namespace}/skerry/v1/{node}/{channel}"),
        ("d/skerry/v2/n/up/sample", "topic 'd/skerry/v2/n/up/sample': not {namespace}/skerry/v1/{node}/{channel}"),
        ("d/skerry/v1//up/sample", f"node '': {RULE}"),
        ("d/skerry/v1/-n/up/sample", f"node '-n': {RULE}"),
        ("d/skerry/v1/n\n/up/sample", rf"node 'n\n': {RULE}"),
        ("/skerry/v1/n/up/sample", f"namespace '': {RULE}"),
        ("d/skerry/v1/n/in/", f"job '': {RULE}"),
        ("d/skerry/v1/n/in", f"job '': {RULE}"),
        ("d/skerry/v1/n/out/a/b", f"job 'a/b': {RULE}"),
    ],
)
def test_bad_topics_say_what_is_wrong(topic: str, text: str) -> None:
    with pytest.raises(BadTopic) as caught:
        parse(topic)
    assert str(caught.value) == text


def test_the_error_of_an_endless_topic_is_short() -> None:
    with pytest.raises(BadTopic) as caught:
        parse("x" * 60_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "+", "#", "a" * 64, "ä", "a b", "a\0"])
def test_no_bad_name_gets_into_a_topic(name: str) -> None:
    builders: list[Channel[Envelope]] = [CHANNELS[UP_STATUS.path], CHANNELS[DOWN_ANSWER.path]]
    for channel in builders:
        with pytest.raises(BadTopic, match="node"):
            channel.topic("default", name)
        with pytest.raises(BadTopic, match="namespace"):
            channel.topic(name, "cam-1")
    with pytest.raises(BadTopic, match="job"):
        IN.topic("default", "cam-1", name)
    with pytest.raises(BadTopic, match="node"):
        channels.downlink("default", name)

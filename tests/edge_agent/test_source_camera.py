"""Frames of a video file, and cameras that are not there or end."""

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_agent.engines.protocol import TensorSpec
from edge_agent.sources.camera import Camera
from edge_agent.sources.feed import SourceError

BLUE = (255, 0, 0)  # OpenCV's order is blue, green, red


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Three blue frames."""
    file = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for _ in range(3):
        writer.write(np.full((48, 64, 3), BLUE, "uint8"))
    writer.release()
    return file


def frames(device: int | str, folder: Path, shape: tuple[int, ...] = (12, 16, 3)) -> list[Any]:
    return list(Camera(device=device).open(TensorSpec("float32", shape), folder))


def test_every_frame_of_a_video_is_a_sample_and_its_colours_are_right(video: Path) -> None:
    seen = frames(video.name, video.parent)
    assert [item.sample_id.partition("@")[0] for item in seen] == ["clip.avi:1", "clip.avi:2", "clip.avi:3"]
    for item in seen:
        assert np.allclose(item.x, (0.0, 0.0, 1.0), atol=0.05), "red, green, blue from 0 to 1"
        assert (item.x.dtype.name, item.x.shape) == ("float32", (12, 16, 3))


def test_frames_may_be_grey(video: Path) -> None:
    assert {item.x.shape for item in frames(video.name, video.parent, (12, 16))} == {(12, 16)}


def test_of_a_camera_the_newest_frame_is_wanted_of_a_file_every_one() -> None:
    live: list[int | str] = [0, "/dev/video0", "rtsp://127.0.0.1/door"]
    assert {Camera(device=device).keep for device in live} == {"newest"}
    assert Camera(device="clip.avi").keep == "every"


def test_a_camera_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="camera 99: cannot be opened"):
        frames(99, tmp_path)
    (tmp_path / "empty.avi").touch()
    with pytest.raises(SourceError, match="empty.avi: cannot be opened"):
        frames("empty.avi", tmp_path)


def test_a_stream_that_ends_is_no_end_but_a_failure(video: Path) -> None:
    with pytest.raises(SourceError, match=f"camera file://{video}: gives no more frames"):
        frames(f"file://{video}", video.parent)


def test_without_opencv_it_says_what_to_install(video: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(SourceError, match=r"pip install 'skerry\[camera\]'"):
        frames(video.name, video.parent)

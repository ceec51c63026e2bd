"""A camera or a video file as a source, through OpenCV: the extra `camera`."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from edge_agent.engines.protocol import TensorSpec
from edge_agent.sources.feed import Keep, Sample, SourceError
from edge_agent.sources.images import ImageOptions, fit, layout
from edge_agent.sources.progress import Found


class Camera(ImageOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`device` is a camera's number, an address like rtsp://, or a video file.

    A frame of a file is called by its number in it; one of a camera gets an id that is drawn.
    """

    device: int | str = 0

    @property
    def keep(self) -> Keep:
        """Of a camera the newest frame is wanted, of a file every one."""
        return "newest" if self._is_live else "every"

    def open(self, takes: TensorSpec, folder: Path) -> Iterator[Any]:
        """The frames. Raises SourceError when there is no such device, or a camera gives no more."""
        try:
            import cv2
            from PIL import Image
        except ModuleNotFoundError as error:
            raise SourceError("a camera needs OpenCV: pip install 'skerry[camera]'") from error

        to = layout(takes, self)
        where = self.device if self._is_live else str(folder / str(self.device))
        file = None if self._is_live else Found.of(Path(str(where)))
        capture = cv2.VideoCapture(where)
        try:
            if not capture.isOpened():
                raise SourceError(f"camera {where}: cannot be opened")
            for number in count(1):
                there, frame = capture.read()
                if not there:
                    break
                picture = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
                yield Sample(file.sample_id(f":{number}") if file else "", fit(picture, to, takes))
            if self._is_live:
                raise SourceError(f"camera {where}: gives no more frames")
        finally:
            capture.release()

    @property
    def _is_live(self) -> bool:
        return isinstance(self.device, int) or "://" in self.device or self.device.startswith("/dev/")

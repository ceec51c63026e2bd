"""A worker process: `python -m cloud_hub.workers.serve`, spoken to over stdin and stdout by `cloud_hub.workers.pool`.

It ends when its stdin does, even in the middle of a batch, so that a killed hub leaves no orphan behind.
"""

import os
import select
import sys
from hashlib import file_digest
from pathlib import Path
from threading import Thread
from typing import BinaryIO

from cloud_hub.workers import predictor
from cloud_hub.workers.frames import Answers, Batch, Broken, Load, Loaded, ToHub, framed, read_frame, to_worker


def main() -> int:
    """Serve until stdin closes. What the user's code prints goes to stderr: stdout belongs to the hub."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    Thread(target=_watch, args=(sys.stdin.fileno(),), name="watch the hub", daemon=True).start()
    order = to_worker(_hear())
    assert isinstance(order, Load)
    try:
        predict, digest = _load(order)
    except (predictor.PredictorFailed, OSError) as error:
        what = f"{order.predictor} with {order.model}" if order.model else order.predictor
        _say(replies, Broken(f"{what}: {error}"))
        return 1
    _say(replies, Loaded(digest))
    while True:
        batch = to_worker(_hear())
        assert isinstance(batch, Batch)
        _say(replies, Answers(tuple(predictor.answer(predict, batch.samples))))


def _watch(pipe: int) -> None:
    """Wait until the hub's end of the pipe is closed, and read nothing: the main thread does, without a detour."""
    watch = select.poll()
    watch.register(pipe, 0)
    watch.poll()
    os._exit(0)


def _hear() -> bytes:
    body = read_frame(sys.stdin.buffer)
    if body is None:
        os._exit(0)
    return body


def _load(order: Load) -> tuple[predictor.Predict, str]:
    sys.path.append(order.folder)
    digest = ""
    if order.model:
        with Path(order.model).open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
    return predictor.load(order.predictor, order.model), digest


def _say(pipe: BinaryIO, message: ToHub) -> None:
    pipe.write(framed(message))
    pipe.flush()


if __name__ == "__main__":
    sys.exit(main())

"""Large content between a hub and its nodes, in both directions: verified, resumed, and nothing sent twice.

Content is named by its SHA-256. A `BlobRef` (see `messages/shapes.py`) stands for it in other messages. On either side

    ref = await blobs.add(path)                 whoever has content: it is cut, copied and kept
    blobs.refer(node, ref)                      node may have it; say so again after every start: it is in memory
    blobs.forget(node, ref)                     node has no need of it any more; when nobody has, it goes

    path = await blobs.want(ref, urls=[...], progress=told)

`want` gives a whole and verified file, at once if it is here. It waits through lost links and restarts of the other end
as long as its caller does; cancelled, it leaves what has come for the next call, also in another process. `progress` is
called with the bytes that are still missing, `urls` (https) are tried before the peer. It raises BlobRefused when the
content is not what the reference says or is too large (remembered, and not fetched again), NoRoom, and BlobError where
`blobs.fetching.patience_s` is set. The file is the folder's own: link or copy it before it is used for long, or let
`blobs.fetching.kept` name what must stay; else it may go when others need its room.

A hub's are `Hub.blobs` (`want` needs `peer=node`), an agent's `Agent.blobs.get()`, with `Agent.blobs.want` for short.

How it works: `units.py` cuts content and lists the digests of its pieces; `fetch.py` decides what to ask for and which
bytes are right, `window.py` how much may be under way, `serve.py` whose turn it is: all pure. `folder.py` is the disk,
`fetching.py`, `sending.py` and `exchange.py` the run time, `wire.py` and `urls.py` the ways.
"""

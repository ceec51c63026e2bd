"""How nothing is lost and nothing is stored twice, over any bus.

A row enters the outbox before it is published and leaves it when the other end's receipt says that it is durable there.
`sender.py` decides what to send and when again, `receiver.py` tells new from seen, `bounds.py` keeps the outbox small,
`ledger.py` closes the books. All of it is pure over `store.py`; `sqlite.py` and `memory.py` are the two stores.
"""

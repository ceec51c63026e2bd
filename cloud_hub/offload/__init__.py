"""The offload policy seen from the hub: what it does on each node, and what it is fitted from, once and again."""

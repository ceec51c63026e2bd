"""The hub without time, network and disk: what a node's message means, what is stored, and what goes back."""

"""The command ``ipfs-kit``: Kubo's words, answered by a running daemon or by a node for the command's length."""

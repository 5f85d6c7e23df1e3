"""The node over HTTP on loopback: the verbs of the command line in the form of Kubo's RPC."""

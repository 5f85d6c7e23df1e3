"""The verbs in Kubo's words and shapes, whoever calls them: the command line, the daemon's RPC, the synchronous kit."""

"""Values, errors, configuration and Protocols: no I/O, no clock."""

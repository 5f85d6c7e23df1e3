"""The verbs on content: add, read, fetch, pin, CAR in and out; over a store and, where there is one, an exchange."""

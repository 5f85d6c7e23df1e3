"""Content routing: the DHT, who is asked for what, and how peers are found."""

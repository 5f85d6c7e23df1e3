"""Finding peers: mDNS, bootstrap lists, walks through the DHT, configured peers."""

"""The DHT's own engines in a simulated network of tens of thousands of nodes. ``scripts/simulate`` runs it; what is
modelled, and how, is in docs/routing.md, section Size."""

"""The demo: real jobs through the whole Lambda path on this machine, and a proof of what became of each."""

"""The worker: the heartbeat that drains sync, outbox and sweeps."""

"""The outbox: queue a mail in the transaction that causes it; render; send."""

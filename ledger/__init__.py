"""Credits: wallets, buckets, transactions, entries, holds. Knows nothing of Stripe or of plans."""

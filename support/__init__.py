"""Support: what people ask, by when they were promised an answer, and the mails about it."""

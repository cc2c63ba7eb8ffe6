"""The people: users, accounts (the billing entity), members, sessions."""

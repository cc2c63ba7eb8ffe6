"""What makes two spellings of an e-mail address the same person."""

from __future__ import annotations

import unicodedata


def email_key(address: str) -> str:
    """Return the identity of an address: compatible characters unified and case removed.

    It is for looking people up, never for sending mail: `straße@` and `strasse@` are one key but two mailboxes, so
    the second cannot be registered beside the first, and mail goes to the stored spelling only. Dots and plus tags
    stay, because their meaning is the mail host's own business.
    """
    unified = unicodedata.normalize("NFKC", address.strip()).casefold()
    return unicodedata.normalize("NFKC", unified)


def mailbox_key(address: str) -> str:
    """Return the mailbox that an address most likely leads to: its identity without what follows a plus sign.

    For what one person shall have once, however their address is tagged; never for telling people apart.
    """
    name, _, host = email_key(address).rpartition("@")
    return f"{name.partition('+')[0]}@{host}"

"""Files that are given as evidence: which ones Stripe takes, and how one gets to a dispute."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from billing import stripe_reversals
from billing.reversals import Dispute

# What Stripe takes for evidence: https://docs.stripe.com/file-upload
MAX_BYTES = 5 * 1024 * 1024
BEGINNINGS = {b"%PDF-": "pdf", b"\xff\xd8\xff": "jpg", b"\x89PNG\r\n\x1a\n": "png"}
KINDS = {
    "receipt": "Receipt or invoice",
    "customer_communication": "What was written back and forth",
    "service_documentation": "Proof of what was delivered",
    "refund_policy": "Terms on refunds",
    "cancellation_policy": "Terms on cancelling",
    "uncategorized_file": "Anything else",
}


class NotEvidence(Exception):
    """The file is none that a bank looks at: empty, too large, or no PDF, JPEG or PNG."""


@dataclass(frozen=True)
class EvidenceFile:
    """A file that was looked at, under a name that says nothing of whoever had it."""

    kind: str
    name: str
    content: bytes

    @property
    def in_words(self) -> str:
        """Say which file it was, for the audit log: its fingerprint, not its content."""
        return f"{self.name}, {len(self.content):,} bytes, SHA-256 {hashlib.sha256(self.content).hexdigest()}"


def read(kind: str, content: bytes) -> EvidenceFile:
    """Look at a file by its first bytes, whatever it is called; raises NotEvidence."""
    ending = next((ending for beginning, ending in BEGINNINGS.items() if content.startswith(beginning)), None)
    if ending is None or len(content) > MAX_BYTES:
        raise NotEvidence(kind)
    return EvidenceFile(kind, f"{kind}.{ending}", content)


def attach(stripe_id: str, file: EvidenceFile, *, key: str) -> None:
    """Upload a file and keep it with a dispute as a draft, once per key; one of the same kind takes its place.

    Both requests have keys of their own, so that after a failure between them the second sending ends the first.
    """
    file_id = stripe_reversals.upload_evidence(file.name, file.content, idempotency_key=f"evidence-file:{key}")["id"]
    draft = {"evidence": {file.kind: file_id}, "submit": False}
    stripe_reversals.update_dispute(stripe_id, draft, idempotency_key=f"evidence-kept:{key}")


def held(dispute: Dispute) -> list[tuple[str, str]]:
    """Return which files Stripe holds for a dispute: what each is for, in words, and its id there."""
    saved: dict[str, str] = json.loads(dispute.evidence)
    return [(words, saved[kind]) for kind, words in KINDS.items() if kind in saved]

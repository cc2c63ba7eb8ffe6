"""A file is given as evidence: looked at here, uploaded to Stripe, kept with the dispute, sent with the rest."""

from __future__ import annotations

import json
from io import BytesIO

import pytest
import stripe as sdk
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from billing.evidence_files import MAX_BYTES
from stripe_sandbox.faults import ApiFault
from tests.admin.office import Office
from tests.admin.test_disputes import answer, disputed
from tests.billing.forms import hidden_fields

PDF = b"%PDF-1.7\nAn invoice\n"
PNG = b"\x89PNG\r\n\x1a\nA picture"


def attach(office: Office, content: bytes = PDF, kind: str = "receipt", times: int = 1) -> TestResponse:
    path = f"/admin/disputes/{office.dispute().stripe_id}"
    page = office.staff.client.get(path)
    form = {**hidden_fields(page.text, f"{path}/files"), "kind": kind}
    return [post(office, f"{path}/files", form, content) for _ in range(times)][-1]


def post(office: Office, to: str, form: dict[str, str], content: bytes = PDF) -> TestResponse:
    """Send a form with a file, made in memory: the client's own temporary files are left for nobody to close."""
    boundary, body = encode_multipart({**form, "file": FileStorage(BytesIO(content), "../Ann's secret.exe")})
    kind = f'multipart/form-data; boundary="{boundary}"'
    return office.staff.client.post(to, data=body, content_type=kind, headers={"Sec-Fetch-Site": "same-origin"})


def files(office: Office) -> list[sdk.File]:
    return list(office.stripe.api.v1.files.list({"purpose": "dispute_evidence"}).data)


def held(office: Office) -> dict[str, str]:
    evidence: dict[str, str] = json.loads(office.dispute().evidence)
    return evidence


@pytest.mark.parametrize(("content", "ending"), [(PDF, "pdf"), (PNG, "png"), (b"\xff\xd8\xff\xe0 a photo", "jpg")])
def test_a_file_is_kept_with_the_dispute_and_sent_with_the_words(office: Office, content: bytes, ending: str) -> None:
    disputed(office)
    assert attach(office, content, times=2).status_code == 303
    [file] = files(office)
    assert (file.filename, file.type, file.size) == (f"receipt.{ending}", ending, len(content))
    assert office.stripe.api.v1.files.retrieve(file.id).id == file.id
    assert held(office) == {"receipt": file.id}
    assert office.dispute().submissions == 0
    assert [line for line in office.audit() if line[0].startswith("evidence")] == [
        ("evidence.saved", "staff@example.com")
    ]
    assert "SHA-256" in office.changes()[1]["evidence"]["receipt"]
    assert file.id in office.words(f"/admin/disputes/{office.dispute().stripe_id}")
    answer(office, "submit", uncategorized_text="winning_evidence")
    assert held(office)["receipt"] == file.id
    assert office.dispute().submissions == 1
    page = office.staff.client.get(f"/admin/disputes/{office.dispute().stripe_id}").text
    assert ("Attach the file" in page, file.id in page) == (False, True)


def test_a_second_file_of_one_kind_takes_the_place_of_the_first(office: Office) -> None:
    disputed(office)
    attach(office)
    attach(office, PNG)
    attach(office, PDF, "customer_communication")
    latest, second, _ = files(office)
    assert held(office) == {"receipt": second.id, "customer_communication": latest.id}


@pytest.mark.parametrize("content", [b"", b"MZ a program", b"%PDF-" + b"x" * MAX_BYTES])
def test_what_no_bank_looks_at_is_refused_before_stripe_is_asked(office: Office, content: bytes) -> None:
    disputed(office)
    refused = attach(office, content)
    assert refused.status_code == 422
    assert "Choose a PDF, JPEG or PNG of at most 5 MB" in refused.text
    assert (files(office), held(office), office.audit()) == ([], {}, [])


def test_what_is_much_too_large_is_not_even_read(office: Office) -> None:
    disputed(office)
    assert attach(office, PDF + b"x" * (MAX_BYTES + 100_000)).status_code == 413


def test_a_file_of_the_largest_size_is_taken(office: Office) -> None:
    disputed(office)
    assert attach(office, PDF + b"x" * (MAX_BYTES - len(PDF))).status_code == 303
    assert files(office)[0].size == MAX_BYTES


@pytest.mark.parametrize("path", ["/v1/files", "/v1/disputes"])
def test_a_file_whose_answer_was_lost_is_uploaded_once(office: Office, path: str) -> None:
    disputed(office)
    office.stripe.sandbox.faults.api.append(ApiFault("unreachable_after", remaining=1, path=path))
    assert attach(office, times=2).status_code == 303
    [file] = files(office)
    assert held(office) == {"receipt": file.id}


def test_nothing_is_attached_after_the_evidence_was_sent(office: Office) -> None:
    disputed(office)
    path = f"/admin/disputes/{office.dispute().stripe_id}"
    form = {**hidden_fields(office.staff.client.get(path).text, f"{path}/files"), "kind": "receipt"}
    answer(office, "submit", uncategorized_text="Here it is")
    assert post(office, f"{path}/files", form).status_code == 303
    assert "Evidence can no longer be given" in office.staff.client.get(path).text
    assert files(office) == []


def test_stripe_takes_as_evidence_only_what_was_uploaded_as_such(office: Office) -> None:
    disputed(office)
    api, dispute = office.stripe.api.v1, office.dispute().stripe_id
    logo = BytesIO(PNG)
    other = api.files.create({"purpose": "business_logo", "file": logo})
    for file_id in (other.id, "file_unknown"):
        office.stripe.expect_violation("")
        with pytest.raises(sdk.InvalidRequestError):
            api.disputes.update(dispute, {"evidence": {"receipt": file_id}, "submit": False})
    with pytest.raises(sdk.InvalidRequestError, match="PDF, JPEG or PNG"):
        api.files.create({"purpose": "dispute_evidence", "file": BytesIO(b"words")})

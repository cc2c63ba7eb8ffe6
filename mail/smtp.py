"""Hands messages to the mail server named by MAIL_URL, and tells a refused mail from an absent server."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

from flask import current_app

TIMEOUT_SECONDS = 10
SMTPS_PORT = 465
SUBMISSION_PORT = 587
SMTP_PORT = 25
PERMANENT = 500


class Refused(Exception):
    """The server will never take this mail: sending it again is pointless."""


class Unreachable(Exception):
    """The server cannot be talked to at present, or does not let us in: no mail can leave."""


class Mailer:
    """A connection to the mail server that is opened by the first mail; without MAIL_URL it sends nothing."""

    def __init__(self) -> None:
        self._url = urlsplit(current_app.config["TOLLGATE"].mail_url)
        self._connection: smtplib.SMTP | None = None

    @property
    def is_configured(self) -> bool:
        """Whether mails leave this machine."""
        return bool(self._url.hostname)

    def send(self, message: EmailMessage) -> None:
        """Send a message; raise Refused, Unreachable, or smtplib's error when a later try may succeed."""
        if not self.is_configured:
            return
        connection = self._connected()
        try:
            connection.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            code, text = next(iter(error.recipients.values()))
            self._reset()
            raise _refusal(code, text) from error
        except smtplib.SMTPDataError as error:
            self._reset()
            raise _refusal(error.smtp_code, error.smtp_error) from error
        except smtplib.SMTPNotSupportedError as error:
            raise Refused(str(error)) from error
        except (smtplib.SMTPException, OSError) as error:
            self.close()
            raise Unreachable(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Hang up, politely when the server still listens."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.quit()
        except (smtplib.SMTPException, OSError):
            connection.close()

    def _reset(self) -> None:
        try:
            if self._connection is not None:
                self._connection.rset()
        except (smtplib.SMTPException, OSError):
            self.close()

    def _connected(self) -> smtplib.SMTP:
        if self._connection is None:
            try:
                self._connection = self._connect()
            except (smtplib.SMTPException, OSError) as error:
                raise Unreachable(f"{type(error).__name__}: {error}") from error
        return self._connection

    def _connect(self) -> smtplib.SMTP:
        host = self._url.hostname or ""
        context = ssl.create_default_context()
        if self._url.scheme == "smtps":
            port = self._url.port or SMTPS_PORT
            connection: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_SECONDS, context=context)
        else:
            port = self._url.port or (SUBMISSION_PORT if self._url.username else SMTP_PORT)
            connection = smtplib.SMTP(host, port, timeout=TIMEOUT_SECONDS)
        try:
            self._introduce(connection, context)
        except BaseException:
            connection.close()
            raise
        return connection

    def _introduce(self, connection: smtplib.SMTP, context: ssl.SSLContext) -> None:
        connection.ehlo()
        # A password never travels in the clear: with credentials STARTTLS is a must, else it is used if offered.
        if self._url.scheme != "smtps" and (self._url.username or connection.has_extn("starttls")):
            connection.starttls(context=context)
        if self._url.username:
            connection.login(unquote(self._url.username), unquote(self._url.password or ""))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _refusal(code: int, text: bytes | str) -> Exception:
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    if code >= PERMANENT:
        return Refused(f"{code} {words}")
    return smtplib.SMTPResponseException(code, words)

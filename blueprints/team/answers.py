"""What is said when an invitation or a change of members is refused."""

from __future__ import annotations

from accounts.invitations import InvitationGone, State
from accounts.memberships import OwnerDecides, OwnerStays
from accounts.ownership import CannotOwn
from blueprints.team.mails import EnoughMails
from web.answers import SEE_ACCOUNTS, Action, Answer

SEE_TEAM = Action("Go to the team", ("team.index",))
WHY = {
    State.ACCEPTED: "It was accepted before, and works once.",
    State.WITHDRAWN: "It was withdrawn.",
    State.EXPIRED: "It was good for a week, and that is over.",
}


def _gone(error: InvitationGone) -> str:
    return f"{WHY[error.state]} Nothing has changed. Ask {error.owner} for a new one if you need it."


ANSWERS: dict[type[Exception], Answer] = {
    InvitationGone: Answer(
        410,
        "invitation-gone",
        "This invitation no longer works",
        _gone,
        lambda e: {"state": e.state.value},
        SEE_ACCOUNTS,
        about="The invitation was accepted or withdrawn, or has run out: `state` says which.",
    ),
    OwnerStays: Answer(
        409,
        "owner-stays",
        "The owner stays",
        lambda e: (
            "The account is billed to its owner, who can neither be removed nor leave. Nothing was changed. The owner "
            "can hand the account over first."
        ),
        action=SEE_TEAM,
        about="The owner of an account can neither be removed nor leave, nor take another role.",
    ),
    OwnerDecides: Answer(
        403,
        "owner-decides",
        "The owner decides this",
        lambda e: f"Only {e.owner}, to whom the account is billed, can do this. Nothing was changed.",
        lambda e: {"owner": e.owner},
        SEE_TEAM,
        about="The person is an admin of the account, and this is for its owner alone.",
    ),
    CannotOwn: Answer(
        409,
        "cannot-own",
        "This person cannot own the account",
        lambda e: "Their address is not confirmed, or their account is disabled. Nothing was changed.",
        action=SEE_TEAM,
        about="Whoever owns an account is active and has confirmed their e-mail address.",
    ),
    EnoughMails: Answer(
        429,
        "enough-mails",
        "Enough mails for now",
        lambda e: "You have sent this address several mails within the hour. Try again later; nothing was changed.",
        action=SEE_TEAM,
        about="The account has sent this address as many mails within the hour as it may.",
    ),
}

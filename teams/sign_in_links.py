"""One-time sign-in links: signed, valid for an hour, invalidated by the person's next sign-in."""

from datetime import datetime, timedelta
from typing import Final

from django.core import signing
from django.db.models import Q

from teams.errors import ApiError
from teams.links import absolute
from teams.models import User

LIFETIME: Final = timedelta(hours=1)
_SALT: Final = "teams.sign-in"


def _last_sign_in(user: User) -> str:
    return user.last_login.isoformat() if user.last_login else ""


def sign_in_url(user: User, *, break_glass: bool = False) -> str:
    """A link that signs this person in once; with `break_glass`, also where a team requires single sign-on."""
    payload = {"user": user.pk, "after": _last_sign_in(user)}
    token = signing.dumps({**payload, "break_glass": True} if break_glass else payload, salt=_SALT)
    return absolute("teams:sign-in", token)


def breaks_glass(token: str) -> bool:
    """Whether a valid link was made for an emergency."""
    return bool(signing.loads(token, salt=_SALT, max_age=LIFETIME).get("break_glass"))


def find_person(token: str) -> User:
    """The person a link signs in, without redeeming it.

    Raises 404 `link_ended` for an invalid, used or expired link.
    """
    try:
        payload = signing.loads(token, salt=_SALT, max_age=LIFETIME)
    except signing.SignatureExpired:
        raise ApiError(404, "link_ended", "This sign-in link has expired. Request a new one.") from None
    except signing.BadSignature:
        raise ApiError(404, "link_ended", "This sign-in link is incomplete. Copy the whole link.") from None
    user = User.objects.filter(pk=payload["user"], is_active=True).first()
    if user is None or _last_sign_in(user) != payload["after"]:
        raise _used()
    return user


def redeem(token: str, *, now: datetime) -> User:
    """Use up the link; if two requests race, one of them fails. Raises the errors of `find_person`."""
    user = find_person(token)
    unchanged = Q(last_login=user.last_login) if user.last_login else Q(last_login__isnull=True)
    if not User.objects.filter(unchanged, pk=user.pk).update(last_login=now):
        raise _used()
    user.last_login = now
    return user


def _used() -> ApiError:
    return ApiError(404, "link_ended", "This sign-in link was already used. Request a new one.")

"""One-time sign-in links: signed, good for a day, and used up by the first sign-in after they were made."""

from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.core import signing
from django.db.models import Q
from django.urls import reverse

from teams.errors import ApiError
from teams.models import User

LIFETIME: Final = timedelta(hours=24)
_SALT: Final = "teams.sign-in"


def _stamp(user: User) -> str:
    return user.last_login.isoformat() if user.last_login else ""


def sign_in_url(user: User) -> str:
    """A link that signs this person in once."""
    token = signing.dumps({"user": user.pk, "after": _stamp(user)}, salt=_SALT)
    return f"{settings.BASE_URL}{reverse('teams:sign-in', args=[token])}"


def person_behind(token: str) -> User:
    """Whom a link signs in; looking does not use it up. Raises 404 `link_ended` for a wrong, used or expired one."""
    try:
        said = signing.loads(token, salt=_SALT, max_age=LIFETIME)
    except signing.SignatureExpired:
        raise ApiError(404, "link_ended", "This sign-in link has expired. Ask for a new one.") from None
    except signing.BadSignature:
        raise ApiError(404, "link_ended", "This sign-in link is not whole. Copy all of it.") from None
    user = User.objects.filter(pk=said["user"], is_active=True).first()
    if user is None or _stamp(user) != said["after"]:
        raise ApiError(404, "link_ended", "This sign-in link was already used. Ask for a new one.")
    return user


def use(token: str, *, now: datetime) -> User:
    """Take the link: of two at the same moment only one gets in. Raises like `person_behind`."""
    user = person_behind(token)
    since = Q(last_login=user.last_login) if user.last_login else Q(last_login__isnull=True)
    if not User.objects.filter(since, pk=user.pk).update(last_login=now):
        raise ApiError(404, "link_ended", "This sign-in link was already used. Ask for a new one.")
    user.last_login = now
    return user

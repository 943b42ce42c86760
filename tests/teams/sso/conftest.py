"""A team with single sign-on."""

from tests.sign_on import connection, enforced, provider

__all__ = ["connection", "enforced", "provider"]

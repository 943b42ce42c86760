"""allauth makes the forms of accounts; this puts them into the words of the product."""

from __future__ import annotations

from typing import Final

from django import template
from django.forms.boundfield import BoundField

register = template.Library()

LABELS: Final = {
    "Email": "E-mail",
    "Remember Me": "Keep me signed in",
    "Current Password": "Current password",
    "New Password": "New password",
    "New Password (again)": "New password, again",
    "Password (again)": "Password, again",
    "Authenticator code": "Code of the app",
    "Passwordless": "Sign in with it alone, without a password",
}
HELP: Final = {
    "password1": "At least 10 characters, not a common word.",
    "passwordless": "Your device then asks for its PIN, your finger or your face.",
}


@register.filter
def in_our_words(field: BoundField) -> BoundField:
    """The field with our label and help, and without a placeholder that repeats them."""
    field.label = LABELS.get(str(field.label), field.label)
    field.help_text = HELP.get(field.name, field.help_text)
    field.field.widget.attrs.pop("placeholder", None)
    if field.name == "code":
        field.field.widget.attrs |= {"autofocus": True, "autocapitalize": "off", "spellcheck": "false"}
    return field

"""Product wording for the form fields that allauth builds."""

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
    "New Password (again)": "New password (again)",
    "Password (again)": "Password (again)",
    "Authenticator code": "Code from your app",
    "Passwordless": "Use it to sign in without a password (passkey)",
}
HELP_TEXTS: Final = {
    "password1": "At least 10 characters, not a common word.",
    "passwordless": "Your device will ask for its PIN, fingerprint or face.",
}


@register.filter
def with_product_wording(field: BoundField) -> BoundField:
    """The field with our label and help text, and without a placeholder that repeats the label."""
    field.label = LABELS.get(str(field.label), field.label)
    field.help_text = HELP_TEXTS.get(field.name, field.help_text)
    field.field.widget.attrs.pop("placeholder", None)
    if field.name == "code":
        field.field.widget.attrs |= {"autofocus": True, "autocapitalize": "off", "spellcheck": "false"}
    return field

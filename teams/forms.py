"""Forms outside the admin, and form fields that several apps share."""

from typing import Any
from zoneinfo import available_timezones

from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget

from teams import labels, networks, prices
from teams.models import User

# Lowercase names such as `posixrules` are no places.
TIME_ZONES = [(name, name.replace("_", " ")) for name in sorted(available_timezones()) if name[0].isupper()]


class TeamForm(forms.Form):
    name = forms.CharField(label="Team name", max_length=100)


class NamesForm(forms.Form):
    """Names of a team and one of its projects."""

    team_name = forms.CharField(label="Team", max_length=100)
    project_name = forms.CharField(label="Project", max_length=100)


class ProfileForm(forms.ModelForm[User]):
    time_zone = forms.ChoiceField(choices=TIME_ZONES)

    class Meta:
        model = User
        fields = ["name", "time_zone"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].widget.attrs["autocomplete"] = "name"


class LinesField(forms.CharField):
    """A value stored as JSON and edited as lines of text. `parse` raises ValueError with a message for the user."""

    @staticmethod
    def parse(text: str, /) -> Any:
        raise NotImplementedError

    @staticmethod
    def format_lines(value: Any, /) -> str:
        raise NotImplementedError

    def __init__(self, *, rows: int = 3, **kwargs: Any) -> None:
        widget = UnfoldAdminTextareaWidget(attrs={"rows": rows, "spellcheck": "false", "autocapitalize": "off"})
        super().__init__(**{"widget": widget, "required": False, **kwargs})

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) else self.format_lines(value or ())

    def to_python(self, value: Any) -> Any:
        try:
            return self.parse(value if isinstance(value, str) else self.prepare_value(value))
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def run_validators(self, value: Any) -> None:
        """Skip CharField's validators, which expect text; `parse` has validated the value."""


class LabelsField(LinesField):
    parse = staticmethod(labels.parse)
    format_lines = staticmethod(lambda value: labels.format_lines(value or {}))


class NetworksField(LinesField):
    parse = staticmethod(networks.parse)
    format_lines = staticmethod(networks.format_lines)


class PricesField(LinesField):
    parse = staticmethod(prices.parse)
    format_lines = staticmethod(prices.format_lines)

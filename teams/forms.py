"""What people fill in: the forms outside the admin, and fields that several forms share."""

from typing import Any
from zoneinfo import available_timezones

from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget

from teams import labels, prices
from teams.models import User

# `Factory` and the like are no places; the rest is what a person would look for.
TIME_ZONES = [(name, name.replace("_", " ")) for name in sorted(available_timezones()) if name[0].isupper()]


class TeamForm(forms.Form):
    name = forms.CharField(label="Team name", max_length=100)


class NamesForm(forms.Form):
    """What a team and one of its projects are called."""

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
    """A value that is stored as JSON and written in lines. `read` raises ValueError in words for the person."""

    @staticmethod
    def read(text: str, /) -> Any:
        raise NotImplementedError

    @staticmethod
    def written(value: Any, /) -> str:
        raise NotImplementedError

    def __init__(self, *, rows: int = 3, **kwargs: Any) -> None:
        widget = UnfoldAdminTextareaWidget(attrs={"rows": rows, "spellcheck": "false", "autocapitalize": "off"})
        super().__init__(**{"widget": widget, "required": False, **kwargs})

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) else self.written(value or ())

    def to_python(self, value: Any) -> Any:
        try:
            return self.read(value if isinstance(value, str) else self.prepare_value(value))
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def run_validators(self, value: Any) -> None:
        """`read` has checked it; CharField's own are about text."""


class LabelsField(LinesField):
    read = staticmethod(labels.read)
    written = staticmethod(lambda value: labels.written(value or {}))


class PricesField(LinesField):
    read = staticmethod(prices.read)
    written = staticmethod(prices.lines)

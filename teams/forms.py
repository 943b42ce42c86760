"""What people fill in outside the admin."""

from typing import Any
from zoneinfo import available_timezones

from django import forms

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

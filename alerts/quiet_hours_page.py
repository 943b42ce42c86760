"""The page on which people set their quiet hours."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.views.decorators.http import require_http_methods

from alerts import people
from alerts.models import QuietHours
from alerts.quiet_hours import DAYS
from teams.models import User

DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class QuietHoursForm(forms.ModelForm[QuietHours]):
    days = forms.MultipleChoiceField(
        label="Beginning on",
        choices=list(zip(DAYS, DAY_NAMES, strict=True)),
        initial=list(DAYS),
        widget=forms.CheckboxSelectMultiple,
    )

    class Meta:
        model = QuietHours
        fields = ["start", "end", "days", "critical_passes"]
        widgets = {name: forms.TimeInput(attrs={"type": "time"}, format="%H:%M") for name in ("start", "end")}

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        whole_days = cleaned.get("start") is not None and cleaned.get("start") == cleaned.get("end")
        if whole_days and len(cleaned.get("days", ())) == len(DAYS):
            raise forms.ValidationError("That would be always. Choose fewer days, or two different times.")
        return cleaned


@login_required
@require_http_methods(["GET", "POST"])
def quiet_hours(request: HttpRequest) -> HttpResponse:
    """Set them, or have none."""
    person = User.objects.get(pk=request.user.pk or 0)
    row = QuietHours.objects.filter(user=person).first()
    if request.method == "POST" and request.POST.get("do") == "end":
        people.set_quiet_hours(person, None)
        messages.success(request, "You have no quiet hours.")
        return redirect("quiet_hours")
    form = QuietHoursForm(request.POST or None, initial=_values(row) if row else None)
    if form.is_valid():
        people.set_quiet_hours(person, form.cleaned_data)
        messages.success(request, "Saved.")
        return redirect("quiet_hours")
    return render(request, "alerts/quiet_hours.html", {"form": form, "row": row})


def _values(row: QuietHours) -> dict[str, Any]:
    return {name: getattr(row, name) for name in QuietHoursForm.Meta.fields}


urlpatterns = [path("quiet-hours/", quiet_hours, name="quiet_hours")]

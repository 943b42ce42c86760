"""One form for all kinds of channel; the fields come from each kind's Config."""

from __future__ import annotations

from typing import Any, get_type_hints

from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from alerts import channels
from alerts.channels.base import ChannelKind, ConfigError
from alerts.models import Channel
from teams.forms import LabelsField


def field_name(kind: str, setting: str) -> str:
    """The form field of a setting: `webhook_url` for `url` of a webhook."""
    return f"{kind}_{setting}"


def settings_of(kind: ChannelKind) -> dict[str, Any]:
    """The settings a person enters, with their annotations. Generated settings have no annotation."""
    hints = get_type_hints(kind.Config, include_extras=True)
    return {name: hint for name, hint in hints.items() if hasattr(hint, "__metadata__")}


def _field(hint: Any) -> forms.CharField:
    (meta,) = hint.__metadata__
    widget = UnfoldAdminTextInputWidget() if hint.__origin__ is str else UnfoldAdminTextareaWidget(attrs={"rows": 3})
    return forms.CharField(label=meta.title, help_text=meta.description, widget=widget, required=False)


def _fields() -> dict[str, forms.Field]:
    return {
        field_name(kind.KIND, name): _field(hint) for kind in channels.ALL for name, hint in settings_of(kind).items()
    }


class BaseChannelForm(forms.ModelForm[Channel]):
    labels = LabelsField(
        label="Only agents with labels",
        help_text="One name=value per line, such as env=production. Agents must have all of them. Empty: all agents.",
    )

    class Meta:
        model = Channel
        fields = ["project", "kind", "name", "severity", "labels"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "severity" in self.fields:
            self.fields["severity"].required = False
        if self.instance.pk:
            for name in {"project", "kind"} & self.fields.keys():
                self.fields[name].disabled = True
            self._show_settings()

    def _show_settings(self) -> None:
        """Fill in current settings. A secret is only hinted at, and kept if its field stays empty."""
        kind = channels.BY_KIND[self.instance.kind]
        shown = kind.public(self.instance.config)
        for name in settings_of(kind):
            stored, field = self.instance.config.get(name), self.fields[field_name(kind.KIND, name)]
            if shown.get(name) == stored:
                self.initial[field_name(kind.KIND, name)] = "\n".join(stored) if isinstance(stored, list) else stored
            else:
                field.widget.attrs["placeholder"] = shown.get(name, "")
                field.help_text = f"Leave empty to keep the current value. {field.help_text}"

    def clean_severity(self) -> str:
        severity: str = self.cleaned_data["severity"] or self.instance.severity
        return severity

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        kind = channels.BY_KIND.get(self.instance.kind if self.instance.pk else cleaned.get("kind", ""))
        if kind:
            cleaned["config"] = self._parse_config(kind, cleaned)
            self._check(kind, cleaned["config"])
        return cleaned

    def _parse_config(self, kind: ChannelKind, cleaned: dict[str, Any]) -> dict[str, Any]:
        texts = {name: cleaned.get(field_name(kind.KIND, name), "") for name in settings_of(kind)}
        lists = {name for name, hint in settings_of(kind).items() if hint.__origin__ is not str}
        return {name: text.split() if name in lists else text for name, text in texts.items() if text}

    def _check(self, kind: ChannelKind, config: dict[str, Any]) -> None:
        try:
            kind.parse({**(self.instance.config if self.instance.pk else kind.generate()), **config})
        except ConfigError as error:
            self.add_error(field_name(kind.KIND, error.field), str(error))


ChannelForm: type[BaseChannelForm] = type("ChannelForm", (BaseChannelForm,), _fields())

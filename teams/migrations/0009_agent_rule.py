"""How a project names agents that telemetry does not name."""

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("teams", "0008_stored_bytes")]
    operations = [
        migrations.AddField(
            model_name="project",
            name="agent_rule",
            field=models.CharField(
                blank=True,
                default="",
                help_text="Where OpenTelemetry names no agent: “{service} on {host}”, for example. Default: its service.",
                max_length=200,
                validators=[
                    django.core.validators.RegexValidator(
                        "^([^{}]|\\{(service|session|host|instance)\\})*\\Z",
                        "Use only {service}, {session}, {host} and {instance} in braces.",
                    )
                ],
                verbose_name="names from telemetry",
            ),
        ),
    ]

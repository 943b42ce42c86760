"""Incidents can be snoozed."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0012_event_stream"),
    ]

    operations = [
        migrations.AddField(
            model_name="incident",
            name="snoozed_until",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddIndex(
            model_name="incident",
            index=models.Index(
                fields=["snoozed_until"],
                name="incidents_snoozed",
                condition=models.Q(snoozed_until__isnull=False),
            ),
        ),
    ]

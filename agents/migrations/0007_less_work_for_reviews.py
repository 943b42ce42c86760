"""What the detector planned, so that it can tell agents of which only the time is up; what the last roll-up saw."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("agents", "0006_unread")]
    operations = [
        migrations.AddField("agentstate", "planned_at", models.DateTimeField(null=True)),
        migrations.AddField("agentstate", "reviewed_at", models.DateTimeField(null=True)),
        migrations.AddField("pulse", "seen_to", models.BigIntegerField(default=0)),
        migrations.AddField("pulse", "seen", models.BigIntegerField(default=0)),
    ]

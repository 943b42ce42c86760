"""Holds by people."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0010_jobs"),
    ]

    operations = [
        migrations.AddField(
            model_name="agentstate",
            name="hold_reason",
            field=models.CharField(db_default="", default="", max_length=300),
        ),
    ]

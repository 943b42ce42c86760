"""The event stream."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0011_holds_by_people"),
        ("teams", "0009_agent_rule"),
    ]

    operations = [
        migrations.CreateModel(
            name="StreamEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("agent_id", models.BigIntegerField()),
                ("number", models.BigIntegerField(null=True, unique=True)),
                ("type", models.CharField(max_length=30)),
                ("data", models.JSONField(default=dict)),
                ("at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                (
                    "project",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="teams.project",
                    ),
                ),
            ],
            options={
                "ordering": ["number"],
                "indexes": [
                    models.Index(fields=["project", "number"], name="stream_of_a_project"),
                    models.Index(
                        condition=models.Q(("number__isnull", True)), fields=["id"], name="stream_not_numbered"
                    ),
                ],
            },
        ),
    ]

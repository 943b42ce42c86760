"""Agents with heartbeats to read, apart from the hot row: marking one costs the hot row's update nothing."""

import django.db.models.deletion
from django.db import migrations, models

# The table is always almost empty, but every row lives only for a second.
VACUUM_OFTEN = "ALTER TABLE agents_unread SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000)"


def on_postgresql(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(VACUUM_OFTEN)


class Migration(migrations.Migration):
    dependencies = [("agents", "0005_who_to_ask")]
    operations = [
        migrations.CreateModel(
            name="Unread",
            fields=[
                (
                    "agent",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="agents.agent",
                    ),
                ),
            ],
        ),
        migrations.RunPython(on_postgresql, migrations.RunPython.noop),
    ]

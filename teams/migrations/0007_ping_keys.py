"""A key per project for the addresses of pings. Each existing project gets its own."""

from django.db import migrations, models

import teams.keys


def make_keys(apps, schema_editor):
    project_model = apps.get_model("teams", "Project")
    projects = project_model.objects.using(schema_editor.connection.alias)
    for pk in projects.values_list("pk", flat=True):
        projects.filter(pk=pk).update(ping_key=teams.keys.generate_ping_key())


class Migration(migrations.Migration):
    dependencies = [("teams", "0006_shared_cache")]
    operations = [
        # One default for all rows would break the constraint.
        migrations.AddField("project", "ping_key", models.CharField(editable=False, max_length=22, null=True)),
        migrations.RunPython(make_keys, migrations.RunPython.noop, elidable=True),
        migrations.AlterField(
            "project",
            "ping_key",
            models.CharField(default=teams.keys.generate_ping_key, editable=False, max_length=22, unique=True),
        ),
    ]

from django.db import migrations, models


def runners_have_just_reported(apps, schema_editor):
    """Runners known at the upgrade keep their targets until they have been silent for two minutes."""
    states = apps.get_model("agents", "AgentState").objects.using(schema_editor.connection.alias).exclude(runner="")
    states.update(runner_at=models.F("last_beat_at"))


class Migration(migrations.Migration):
    dependencies = [("agents", "0003_pauses_and_outcomes")]
    operations = [
        migrations.AddField("agentstate", "runner_at", models.DateTimeField(null=True)),
        migrations.AddField("agentstate", "instances", models.JSONField(null=True)),
        migrations.RunPython(runners_have_just_reported, migrations.RunPython.noop),
    ]

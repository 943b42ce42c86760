from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("agents", "0011_rollups_of_a_span")]

    operations = [
        migrations.AddField(
            model_name="maintenance",
            name="agent_names",
            field=models.JSONField(
                blank=True, default=list, help_text="Only these. Empty: all of the project.", verbose_name="agents"
            ),
        ),
    ]

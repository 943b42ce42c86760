import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("agents", "0003_postgresql"), ("teams", "0001_initial")]
    operations = [
        migrations.CreateModel(
            name="Runner",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("source", models.CharField(max_length=80)),
                ("polled_at", models.DateTimeField(help_text="When it last asked, to within half a minute.")),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="runners", to="teams.project"
                    ),
                ),
            ],
            options={
                "ordering": ["project", "source"],
                "constraints": [
                    models.UniqueConstraint(fields=("project", "source"), name="runner_once_a_project")
                ],
            },
        ),
    ]

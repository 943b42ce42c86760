"""Schedules of jobs, and the kinds of what can be wrong with them. Jobs that exist get a row without a schedule."""

import uuid

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models
from django.utils.text import slugify


def add_jobs(apps, schema_editor):
    alias = schema_editor.connection.alias
    agents = apps.get_model("agents", "Agent").objects.using(alias).filter(kind="job").values_list("pk", "name")
    apps.get_model("agents", "Job").objects.using(alias).bulk_create(
        [apps.get_model("agents", "Job")(agent_id=pk, slug=slugify(name)[:200]) for pk, name in agents.iterator()],
        batch_size=500,
    )


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0009_door_notes"),
    ]

    operations = [
        migrations.AlterField(
            model_name="incident",
            name="kind",
            field=models.CharField(
                choices=[
                    ("missed_heartbeat", "missed heartbeat"),
                    ("stalled", "stalled"),
                    ("loop", "loop"),
                    ("cost", "budget exceeded"),
                    ("error", "error"),
                    ("crash", "crash"),
                    ("memory", "memory growth"),
                    ("restart_failed", "restart failed"),
                    ("did_not_start", "did not start"),
                    ("took_too_long", "took too long"),
                    ("job_failed", "job failed"),
                    ("ran_too_often", "ran too often"),
                ],
                max_length=20,
            ),
        ),
        migrations.AlterField(
            model_name="signal",
            name="kind",
            field=models.CharField(
                choices=[
                    ("missed_heartbeat", "missed heartbeat"),
                    ("stalled", "stalled"),
                    ("loop", "loop"),
                    ("cost", "budget exceeded"),
                    ("error", "error"),
                    ("crash", "crash"),
                    ("memory", "memory growth"),
                    ("restart_failed", "restart failed"),
                    ("did_not_start", "did not start"),
                    ("took_too_long", "took too long"),
                    ("job_failed", "job failed"),
                    ("ran_too_often", "ran too often"),
                ],
                max_length=20,
            ),
        ),
        migrations.CreateModel(
            name="Job",
            fields=[
                (
                    "agent",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="job",
                        serialize=False,
                        to="agents.agent",
                    ),
                ),
                ("ping_id", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                (
                    "slug",
                    models.CharField(
                        blank=True, help_text="Its name in ping addresses with a ping key.", max_length=200
                    ),
                ),
                (
                    "schedule",
                    models.CharField(
                        choices=[
                            ("none", "none: runs at any time"),
                            ("period", "period: at least once in this time"),
                            ("cron", "cron expression"),
                            ("on_calendar", "OnCalendar expression of systemd"),
                        ],
                        default="none",
                        help_text="None: as declared by clevagent run --cron, else no run is expected.",
                        max_length=12,
                    ),
                ),
                ("period", models.FloatField(default=86400.0, help_text="Seconds from one run to the next.")),
                ("expression", models.CharField(blank=True, help_text="0 2 * * *", max_length=200)),
                ("time_zone", models.CharField(default="UTC", max_length=50)),
                ("grace", models.FloatField(default=3600.0, help_text="Seconds that a run may start late.")),
                (
                    "max_duration",
                    models.FloatField(
                        blank=True, help_text="Seconds that a run may take. Empty: the grace period.", null=True
                    ),
                ),
                ("is_default", models.BooleanField(default=False, editable=False)),
                ("scheduled_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                "indexes": [models.Index(fields=["slug"], name="job_by_slug")],
            },
        ),
        migrations.RunPython(add_jobs, migrations.RunPython.noop, elidable=True),
    ]

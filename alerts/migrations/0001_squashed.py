import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import alerts.models


class Migration(migrations.Migration):
    initial = True
    replaces = [("alerts", "0002_routes")]

    dependencies = [
        ("agents", "0001_squashed"),
        ("teams", "0001_squashed"),
    ]

    operations = [
        migrations.CreateModel(
            name="Channel",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(choices=alerts.models.kinds, max_length=20)),
                ("name", models.CharField(max_length=100)),
                ("config", models.JSONField(default=dict)),
                ("enabled", models.BooleanField(default=True)),
                ("disabled_reason", models.CharField(blank=True, default="", editable=False, max_length=300)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("last_sent_at", models.DateTimeField(editable=False, null=True)),
                ("failing_since", models.DateTimeField(editable=False, null=True)),
                ("failures", models.PositiveIntegerField(default=0, editable=False)),
                ("retry_at", models.DateTimeField(editable=False, null=True)),
                ("last_error", models.CharField(blank=True, default="", editable=False, max_length=300)),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="channels", to="teams.project"
                    ),
                ),
                (
                    "labels",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text='Agents must have all of these labels, e.g. {"env": "production"}. Empty: all agents.',
                        verbose_name="only agents with labels",
                    ),
                ),
                (
                    "severity",
                    models.CharField(
                        choices=[("warning", "All alerts"), ("critical", "Only critical alerts")],
                        default="warning",
                        max_length=10,
                        verbose_name="severity",
                    ),
                ),
            ],
            options={
                "ordering": ["project", "name"],
            },
        ),
        migrations.CreateModel(
            name="Delivery",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "waiting"),
                            ("sent", "sent"),
                            ("failed", "failed"),
                            ("skipped", "cancelled"),
                        ],
                        default="pending",
                        max_length=10,
                    ),
                ),
                (
                    "message_id",
                    models.CharField(
                        help_text="The same for every retry.", max_length=40, unique=True, verbose_name="message ID"
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="created")),
                ("next_try_at", models.DateTimeField(null=True, verbose_name="next attempt")),
                ("lease_until", models.DateTimeField(null=True)),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("sent_at", models.DateTimeField(null=True, verbose_name="sent")),
                ("last_error", models.CharField(blank=True, default="", max_length=300, verbose_name="error")),
                (
                    "channel",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="deliveries", to="alerts.channel"
                    ),
                ),
                (
                    "event",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="deliveries",
                        to="agents.incidentevent",
                    ),
                ),
            ],
            options={
                "verbose_name": "notification",
                "verbose_name_plural": "notification log",
                "ordering": ["-id"],
                "indexes": [
                    models.Index(condition=models.Q(("state", "pending")), fields=["next_try_at"], name="delivery_due"),
                    models.Index(
                        condition=models.Q(("state", "pending")), fields=["channel", "id"], name="delivery_waiting"
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("event", "channel"), name="one_delivery_an_event_and_channel")
                ],
            },
        ),
    ]

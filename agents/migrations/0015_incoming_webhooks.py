"""Webhooks that come in, and what they told."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import teams.encryption
import teams.keys

ID = models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")
KINDS = [("github", "GitHub"), ("gitlab", "GitLab"), ("alertmanager", "Alertmanager"), ("sentry", "Sentry")]


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0014_oldest_unread_first"),
    ]

    operations = [
        migrations.CreateModel(
            name="IncomingWebhook",
            fields=[
                ("id", ID),
                ("kind", models.CharField(choices=KINDS, max_length=15, verbose_name="sender")),
                ("name", models.CharField(help_text="For example the repository that sends to it.", max_length=100)),
                (
                    "address",
                    models.CharField(default=teams.keys.generate_ping_key, editable=False, max_length=40, unique=True),
                ),
                ("secret", teams.encryption.EncryptedJSONField(editable=False)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("created_by", models.CharField(default="", editable=False, max_length=255)),
                (
                    "received_at",
                    models.DateTimeField(editable=False, help_text="When the last request was accepted.", null=True),
                ),
                (
                    "refused_at",
                    models.DateTimeField(editable=False, help_text="Set while requests are refused.", null=True),
                ),
                ("outcome", models.CharField(default="", editable=False, max_length=300)),
                (
                    "agent",
                    models.ForeignKey(
                        blank=True,
                        help_text="Events that name no agent appear on this agent’s timeline. Leave it empty for every agent’s.",
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="agents.agent",
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="webhooks", to="teams.project"
                    ),
                ),
            ],
            options={"ordering": ["project", "name", "id"]},
        ),
        migrations.CreateModel(
            name="OutsideEvent",
            fields=[
                ("id", ID),
                (
                    "key",
                    models.BigIntegerField(
                        help_text="A hash of what the sender calls it: told twice, it is stored once."
                    ),
                ),
                ("kind", models.CharField(choices=[("deploy", "deploy"), ("alert", "alert")], max_length=10)),
                ("tone", models.CharField(max_length=10)),
                ("text", models.CharField(max_length=300)),
                ("url", models.CharField(default="", max_length=500)),
                (
                    "version",
                    models.BigIntegerField(
                        help_text="Grows with each change at the sender; older news changes nothing."
                    ),
                ),
                ("began_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "agent",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="agents.agent"
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="teams.project",
                    ),
                ),
                (
                    "webhook",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="events",
                        to="agents.incomingwebhook",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["project", "-began_at"], name="outside_events_newest_first")],
                "constraints": [models.UniqueConstraint(fields=("webhook", "key"), name="outside_event_once")],
            },
        ),
    ]

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    replaces = [("agents", "0013_rollups_of_gaps_memory_and_tools")]

    dependencies = [
        ("teams", "0001_squashed"),
    ]

    operations = [
        migrations.CreateModel(
            name="Maintenance",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "reason",
                    models.CharField(help_text="Shown on the agents' pages.", max_length=200),
                ),
                ("starts_at", models.DateTimeField(verbose_name="from")),
                ("ends_at", models.DateTimeField(verbose_name="until")),
                (
                    "labels",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text='Only agents with all these labels, e.g. {"host": "worker-3"}. Empty: all agents of the project.',
                    ),
                ),
                ("created_by", models.CharField(editable=False, max_length=255)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("opened_at", models.DateTimeField(editable=False, null=True, verbose_name="started at")),
                ("closed_at", models.DateTimeField(editable=False, null=True, verbose_name="ended at")),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="maintenances", to="teams.project"
                    ),
                ),
                (
                    "agent_names",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="Only these. Empty: all agents of the project.",
                        verbose_name="agents",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "maintenance",
                "verbose_name": "maintenance window",
                "ordering": ["-starts_at", "-id"],
                "indexes": [
                    models.Index(condition=models.Q(("closed_at", None)), fields=["starts_at"], name="maintenance_due")
                ],
            },
        ),
        migrations.CreateModel(
            name="Agent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=200)),
                (
                    "kind",
                    models.CharField(
                        choices=[("agent", "agent: runs until stopped"), ("job", "job: ends on its own")],
                        default="agent",
                        max_length=10,
                    ),
                ),
                (
                    "agent_type",
                    models.CharField(
                        blank=True, help_text="As reported by the client: openai, claude, …", max_length=50
                    ),
                ),
                ("labels", models.JSONField(blank=True, default=dict)),
                (
                    "interval",
                    models.FloatField(
                        blank=True,
                        help_text="Seconds between heartbeats. Empty: declared by the client, else learned, else 60.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "grace",
                    models.FloatField(
                        blank=True,
                        help_text="Seconds after the interval until the agent is down. Empty: the project's, else one interval.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(5)],
                    ),
                ),
                (
                    "progress_timeout",
                    models.FloatField(
                        blank=True,
                        help_text="Seconds without progress until the agent is stalled. Empty: declared by the client, else learned.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(5)],
                    ),
                ),
                ("daily_budget_usd", models.DecimalField(blank=True, decimal_places=6, max_digits=12, null=True)),
                ("daily_token_limit", models.PositiveBigIntegerField(blank=True, null=True)),
                (
                    "restart_policy",
                    models.CharField(
                        choices=[
                            ("off", "off: never restart"),
                            ("manual", "manual: only on request"),
                            ("auto", "auto: restart automatically, within limits"),
                        ],
                        default="manual",
                        max_length=10,
                    ),
                ),
                (
                    "restart_type",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("docker", "Docker"),
                            ("systemd", "systemd"),
                            ("launchd", "launchd"),
                            ("process", "process"),
                            ("k8s", "Kubernetes"),
                        ],
                        max_length=10,
                    ),
                ),
                ("restart_target", models.CharField(blank=True, max_length=300)),
                (
                    "rules",
                    models.JSONField(blank=True, default=dict, help_text="Per rule: {'off': true} or thresholds."),
                ),
                ("paused_at", models.DateTimeField(editable=False, null=True)),
                ("resumed_at", models.DateTimeField(editable=False, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="agents", to="teams.project"
                    ),
                ),
                ("run_budget_usd", models.DecimalField(blank=True, decimal_places=6, max_digits=12, null=True)),
                (
                    "unsafe_to_repeat",
                    models.BooleanField(
                        default=False,
                        help_text="Not idempotent, as with payments: never restarted automatically.",
                    ),
                ),
                (
                    "over_plan_at",
                    models.DateTimeField(
                        editable=False, help_text="Over the plan's agent limit since then.", null=True
                    ),
                ),
                (
                    "maintenance",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="agents",
                        to="agents.maintenance",
                    ),
                ),
            ],
            options={
                "ordering": ["project", "name"],
                "constraints": [models.UniqueConstraint(fields=("project", "name"), name="agent_name_once_a_project")],
            },
        ),
        migrations.CreateModel(
            name="Outage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("part", models.CharField(max_length=20)),
                ("started_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(db_index=True)),
            ],
            options={
                "ordering": ["-ended_at"],
            },
        ),
        migrations.CreateModel(
            name="Pulse",
            fields=[
                ("name", models.CharField(max_length=20, primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                (
                    "read_to",
                    models.BigIntegerField(
                        default=0, help_text="Of `rollup`: all heartbeats up to this id are rolled up."
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="AgentMemory",
            fields=[
                (
                    "agent",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="memory",
                        serialize=False,
                        to="agents.agent",
                    ),
                ),
                ("read_to", models.BigIntegerField(default=0)),
                ("rules", models.JSONField(default=dict)),
            ],
        ),
        migrations.CreateModel(
            name="AgentName",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=200)),
                (
                    "agent",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="names", to="agents.agent"
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="teams.project"
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
                "constraints": [models.UniqueConstraint(fields=("project", "name"), name="name_means_one_agent")],
            },
        ),
        migrations.CreateModel(
            name="Heartbeat",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField()),
                ("received_at", models.DateTimeField()),
                ("beat_id", models.CharField(max_length=64, null=True)),
                ("status", models.CharField(max_length=10)),
                ("progress", models.BooleanField(default=False)),
                ("tokens", models.BigIntegerField(default=0)),
                ("cost", models.BigIntegerField(default=0, help_text="micro-dollars that count")),
                ("tool_calls", models.IntegerField(default=0)),
                ("iteration", models.BigIntegerField(null=True)),
                ("memory_mb", models.FloatField(null=True)),
                ("content", models.JSONField(null=True)),
                ("answer", models.JSONField(help_text="The answer, if it carried a warning.", null=True)),
                (
                    "agent",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="heartbeats",
                        to="agents.agent",
                    ),
                ),
                ("priced", models.BigIntegerField(default=0, help_text="micro-dollars of them that the server priced")),
                (
                    "spent_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now,
                        help_text="When it was sent, by the client’s clock as far as that is plausible.",
                    ),
                ),
                ("unpriced", models.BigIntegerField(default=0, help_text="tokens without a known price")),
                (
                    "gap",
                    models.FloatField(
                        help_text="Seconds since the previous heartbeat, where that is a gap.", null=True
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [models.Index(fields=["agent", "id"], name="beats_of_an_agent")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("beat_id__isnull", False)),
                        fields=("agent", "beat_id", "day"),
                        name="beat_once",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Incident",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("missed_heartbeat", "missed heartbeat"),
                            ("stalled", "stalled"),
                            ("loop", "loop"),
                            ("cost", "budget exceeded"),
                            ("error", "error"),
                            ("crash", "crash"),
                            ("memory", "memory growth"),
                            ("restart_failed", "restart failed"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "severity",
                    models.CharField(choices=[("warning", "warning"), ("critical", "critical")], max_length=10),
                ),
                ("reason", models.CharField(max_length=500)),
                (
                    "together",
                    models.BooleanField(
                        default=False, help_text="Caused by a host, a runner or the network, not by one agent."
                    ),
                ),
                (
                    "started_at",
                    models.DateTimeField(help_text="When the problem began, e.g. when the heartbeat was due."),
                ),
                ("opened_at", models.DateTimeField(help_text="When it was detected.")),
                ("acknowledged_at", models.DateTimeField(null=True)),
                ("acknowledged_by", models.CharField(blank=True, default="", max_length=255)),
                ("resolved_at", models.DateTimeField(null=True)),
                ("resolved_by", models.CharField(blank=True, default="", max_length=255)),
                (
                    "reopened",
                    models.SmallIntegerField(default=0, help_text="How often it was reopened soon after its recovery."),
                ),
                ("cost_before", models.BigIntegerField(default=0)),
                ("cost", models.BigIntegerField(default=0)),
                (
                    "agent",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="incidents", to="agents.agent"
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="incidents", to="teams.project"
                    ),
                ),
                (
                    "recovered_in",
                    models.FloatField(help_text="Seconds from the restart to the progress that proved it.", null=True),
                ),
                (
                    "restarted_at",
                    models.DateTimeField(help_text="When the last restart was, unless it failed.", null=True),
                ),
                ("restarts", models.SmallIntegerField(default=0, help_text="Restarts that were handed to a runner.")),
                ("priced", models.BigIntegerField(default=0)),
                ("priced_before", models.BigIntegerField(default=0)),
                ("unpriced", models.BigIntegerField(default=0)),
                ("unpriced_before", models.BigIntegerField(default=0)),
                ("muted_at", models.DateTimeField(null=True)),
            ],
            options={
                "ordering": ["-opened_at", "-id"],
                "indexes": [models.Index(fields=["project", "-opened_at"], name="incidents_newest_first")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("resolved_at__isnull", True)),
                        fields=("agent",),
                        name="one_open_incident_an_agent",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Command",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("action", models.CharField(choices=[("restart", "restart"), ("stop", "stop")], max_length=10)),
                (
                    "type",
                    models.CharField(
                        choices=[
                            ("docker", "Docker"),
                            ("systemd", "systemd"),
                            ("launchd", "launchd"),
                            ("process", "process"),
                            ("k8s", "Kubernetes"),
                        ],
                        max_length=10,
                    ),
                ),
                ("target", models.CharField(max_length=300)),
                (
                    "runner",
                    models.CharField(blank=True, help_text="The runner that last reported the target.", max_length=80),
                ),
                (
                    "refused_by",
                    models.JSONField(default=list, help_text="Runners that do not manage the target."),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "waiting for the runner"),
                            ("leased", "handed to the runner"),
                            ("completed", "completed"),
                            ("failed", "failed"),
                            ("rejected", "rejected"),
                            ("expired", "expired"),
                        ],
                        default="pending",
                        max_length=10,
                    ),
                ),
                ("requested_by", models.CharField(max_length=255)),
                ("reason", models.CharField(blank=True, default="", max_length=300)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("expires_at", models.DateTimeField()),
                ("leased_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("result", models.CharField(blank=True, default="", max_length=500)),
                (
                    "agent",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="commands", to="agents.agent"
                    ),
                ),
                (
                    "incident",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="commands",
                        to="agents.incident",
                    ),
                ),
                (
                    "evidence_at",
                    models.DateTimeField(help_text="When the reason for it was last confirmed.", null=True),
                ),
                (
                    "origin",
                    models.CharField(
                        choices=[
                            ("person", "a person"),
                            ("runner", "the runner"),
                            ("watchdog", "the watchdog"),
                        ],
                        default="person",
                        max_length=10,
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "restarts & stops",
                "ordering": ["-id"],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state__in", ["pending", "leased"])),
                        fields=("agent",),
                        name="one_live_command_an_agent",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="IncidentEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("opened", "opened"),
                            ("updated", "new signal"),
                            ("reopened", "came back"),
                            ("acknowledged", "acknowledged"),
                            ("resolved", "resolved"),
                            ("reminder", "reminder"),
                            ("escalated", "escalated"),
                            ("command", "command"),
                            ("note", "note"),
                        ],
                        max_length=15,
                    ),
                ),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                ("actor", models.CharField(default="watchdog", max_length=255)),
                ("text", models.CharField(max_length=500)),
                ("data", models.JSONField(default=dict)),
                (
                    "incident",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="events", to="agents.incident"
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="Rollup",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("span", models.CharField(choices=[("m", "minute"), ("h", "hour"), ("d", "day")], max_length=1)),
                ("start", models.DateTimeField()),
                ("beats", models.IntegerField(default=0)),
                ("errors", models.IntegerField(default=0)),
                ("progress", models.IntegerField(default=0)),
                ("tokens", models.BigIntegerField(default=0)),
                ("cost", models.BigIntegerField(default=0, help_text="micro-dollars")),
                ("tool_calls", models.IntegerField(default=0)),
                (
                    "agent",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="rollups",
                        to="agents.agent",
                    ),
                ),
                ("priced", models.BigIntegerField(default=0, help_text="micro-dollars of them that the server priced")),
                ("unpriced", models.BigIntegerField(default=0, help_text="tokens without a known price")),
                ("gap", models.FloatField(help_text="longest, in seconds", null=True)),
                ("memory_mb", models.FloatField(help_text="maximum", null=True)),
                ("tools", models.JSONField(help_text="Calls by name: see `agents/domain/tool_counts.py`.", null=True)),
            ],
            options={
                "indexes": [models.Index(fields=["span", "start"], name="rollups_of_a_span")],
                "constraints": [models.UniqueConstraint(fields=("agent", "span", "start"), name="one_rollup_a_span")],
            },
        ),
        migrations.CreateModel(
            name="Runner",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("source", models.CharField(max_length=80)),
                ("polled_at", models.DateTimeField(help_text="When it last polled, to within 30 seconds.")),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="runners", to="teams.project"
                    ),
                ),
            ],
            options={
                "ordering": ["project", "source"],
                "constraints": [models.UniqueConstraint(fields=("project", "source"), name="runner_once_a_project")],
            },
        ),
        migrations.CreateModel(
            name="Signal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("missed_heartbeat", "missed heartbeat"),
                            ("stalled", "stalled"),
                            ("loop", "loop"),
                            ("cost", "budget exceeded"),
                            ("error", "error"),
                            ("crash", "crash"),
                            ("memory", "memory growth"),
                            ("restart_failed", "restart failed"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "severity",
                    models.CharField(choices=[("warning", "warning"), ("critical", "critical")], max_length=10),
                ),
                ("reason", models.CharField(max_length=500)),
                ("evidence", models.JSONField(default=dict)),
                ("started_at", models.DateTimeField()),
                ("opened_at", models.DateTimeField()),
                ("cleared_at", models.DateTimeField(null=True)),
                (
                    "agent",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="signals", to="agents.agent"
                    ),
                ),
                (
                    "incident",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="signals", to="agents.incident"
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("cleared_at__isnull", True)),
                        fields=("agent", "kind"),
                        name="one_open_signal_a_kind",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="AgentState",
            fields=[
                (
                    "agent",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="state",
                        serialize=False,
                        to="agents.agent",
                    ),
                ),
                ("check_at", models.DateTimeField(null=True)),
                ("beats", models.BigIntegerField(default=0)),
                ("last_beat_at", models.DateTimeField(null=True)),
                ("last_progress_at", models.DateTimeField(null=True)),
                ("usual_gap", models.FloatField(null=True)),
                ("declared_interval", models.FloatField(null=True)),
                ("declared_progress_timeout", models.FloatField(null=True)),
                ("waiting_for", models.CharField(default="", max_length=100)),
                ("waiting_until", models.DateTimeField(null=True)),
                ("reported", models.CharField(default="", max_length=10)),
                ("crashed", models.BooleanField(default=False)),
                ("iteration", models.BigIntegerField(null=True)),
                ("message_hash", models.BigIntegerField(null=True)),
                ("prompts_hash", models.BigIntegerField(null=True)),
                ("calls_hash", models.BigIntegerField(null=True)),
                ("memory_mb", models.FloatField(null=True)),
                ("instance", models.CharField(default="", max_length=64)),
                ("body_hash", models.BigIntegerField(null=True)),
                ("body_at", models.DateTimeField(null=True)),
                ("stored_after", models.FloatField(default=0)),
                ("day", models.DateField(null=True)),
                ("tokens_today", models.BigIntegerField(default=0)),
                ("cost_today", models.BigIntegerField(default=0)),
                (
                    "cost_limit",
                    models.BigIntegerField(help_text="micro-dollars a day, as declared by the client", null=True),
                ),
                ("cost_total", models.BigIntegerField(default=0)),
                ("source", models.CharField(default="", max_length=80)),
                ("runner", models.CharField(default="", max_length=80)),
                ("runner_down", models.BooleanField(default=False)),
                ("restart_type", models.CharField(default="", max_length=10)),
                ("restart_target", models.CharField(default="", max_length=300)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("down", "down"),
                            ("stalled", "stalled"),
                            ("warning", "warning"),
                            ("late", "late"),
                            ("waiting", "waiting"),
                            ("ok", "ok"),
                            ("new", "new"),
                            ("stopped", "stopped"),
                            ("paused", "paused"),
                        ],
                        default="new",
                        max_length=10,
                    ),
                ),
                ("incident_kind", models.CharField(default="", max_length=20)),
                ("warnings", models.JSONField(null=True)),
                ("warned", models.CharField(default="", max_length=300)),
                ("hold", models.BooleanField(default=False)),
                (
                    "incident",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="agents.incident",
                    ),
                ),
                (
                    "held",
                    models.BooleanField(default=False, help_text="Stopped on purpose: never restarted automatically."),
                ),
                ("learned_progress_timeout", models.FloatField(null=True)),
                ("quiet_until", models.DateTimeField(null=True)),
                ("cost_month", models.BigIntegerField(default=0)),
                ("month", models.DateField(help_text="Its first day.", null=True)),
                ("priced_month", models.BigIntegerField(default=0)),
                ("priced_today", models.BigIntegerField(default=0)),
                ("priced_total", models.BigIntegerField(default=0)),
                ("run_at", models.DateTimeField(null=True)),
                ("run_cost", models.BigIntegerField(default=0)),
                ("tokens_month", models.BigIntegerField(default=0)),
                ("tokens_total", models.BigIntegerField(default=0)),
                ("unpriced", models.JSONField(help_text="Today's tokens by model.", null=True)),
                ("unpriced_month", models.BigIntegerField(default=0)),
                ("unpriced_total", models.BigIntegerField(default=0)),
                ("lifted", models.JSONField(null=True)),
                ("run_priced", models.BigIntegerField(default=0)),
                ("run_unpriced", models.BigIntegerField(default=0)),
            ],
            options={
                "indexes": [
                    models.Index(condition=models.Q(("check_at__isnull", False)), fields=["check_at"], name="state_due")
                ],
            },
        ),
        migrations.CreateModel(
            name="MonthSpend",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("month", models.DateField(help_text="Its first day.")),
                ("tokens", models.BigIntegerField(default=0)),
                ("cost", models.BigIntegerField(default=0)),
                ("priced", models.BigIntegerField(default=0)),
                ("unpriced", models.BigIntegerField(default=0)),
                ("level", models.CharField(default="", max_length=60)),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="months", to="teams.project"
                    ),
                ),
            ],
            options={
                "ordering": ["project", "-month"],
                "constraints": [models.UniqueConstraint(fields=("project", "month"), name="one_month_a_project")],
            },
        ),
    ]

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    # Every app has one squashed migration, and the files it replaces are gone. `replaces` lists only the last of them: a
    # database that recorded it has the whole schema. One that stopped earlier fails with InconsistentMigrationHistory
    # before anything changes, whereas with the full list Django would skip the squashed migration without a word.
    # Such a database has to be migrated with the last version before the squash first.
    replaces = [("teams", "0006_people_and_failed_sign_ins")]

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("axes", "0010_accessattemptexpiration"),
    ]

    operations = [
        migrations.CreateModel(
            name="Team",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("ended_at", models.DateTimeField(editable=False, null=True)),
            ],
            options={
                "ordering": ["name", "id"],
            },
        ),
        migrations.CreateModel(
            name="Project",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100)),
                (
                    "strict",
                    models.BooleanField(
                        default=False,
                        help_text="Reject heartbeats from agents that were not created beforehand.",
                        verbose_name="strict mode",
                    ),
                ),
                (
                    "default_grace",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Extra time after the interval before an agent is down. Default: one interval.",
                        verbose_name="default grace period (seconds)",
                        null=True,
                    ),
                ),
                (
                    "time_zone",
                    models.CharField(
                        default="UTC", help_text="Budget and report days start at midnight in this zone.", max_length=50
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "team",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="projects", to="teams.team"
                    ),
                ),
                (
                    "monthly_budget_usd",
                    models.DecimalField(
                        blank=True,
                        decimal_places=2,
                        help_text="For all agents together, per calendar month. Warns at 80 %; at 100 %, all agents are on hold.",
                        max_digits=12,
                        null=True,
                        verbose_name="monthly budget ($)",
                    ),
                ),
                (
                    "prices",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="USD per million tokens by model, overriding the price list.",
                    ),
                ),
                (
                    "rules",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text="Per rule: whether it is on, and its thresholds. Agents can override them.",
                    ),
                ),
                (
                    "status_address",
                    models.CharField(
                        blank=True,
                        help_text="Name in the URL: lowercase letters, digits and hyphens. Unlisted pages get a random one.",
                        max_length=64,
                        null=True,
                        unique=True,
                        verbose_name="page name",
                    ),
                ),
                (
                    "status_page",
                    models.CharField(
                        choices=[
                            ("off", "Off"),
                            ("secret", "Unlisted: anyone with the link"),
                            ("named", "Public, under a name"),
                        ],
                        default="off",
                        help_text="Shows names and statuses of all agents, and badges. No reasons, no spend.",
                        max_length=10,
                    ),
                ),
            ],
            options={
                "ordering": ["team", "name"],
                "constraints": [models.UniqueConstraint(fields=("team", "name"), name="project_name_once_a_team")],
            },
        ),
        migrations.CreateModel(
            name="User",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("password", models.CharField(max_length=128, verbose_name="password")),
                ("last_login", models.DateTimeField(blank=True, null=True, verbose_name="last login")),
                (
                    "is_superuser",
                    models.BooleanField(
                        default=False,
                        help_text="Designates that this user has all permissions without explicitly assigning them.",
                        verbose_name="superuser status",
                    ),
                ),
                ("email", models.EmailField(max_length=254, unique=True, verbose_name="e-mail")),
                ("name", models.CharField(blank=True, max_length=100)),
                ("time_zone", models.CharField(default="UTC", max_length=50)),
                ("is_staff", models.BooleanField(default=False)),
                ("is_active", models.BooleanField(default=True)),
                ("date_joined", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "groups",
                    models.ManyToManyField(
                        blank=True,
                        help_text="The groups this user belongs to. A user will get all permissions granted to each of their groups.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.group",
                        verbose_name="groups",
                    ),
                ),
                (
                    "user_permissions",
                    models.ManyToManyField(
                        blank=True,
                        help_text="Specific permissions for this user.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.permission",
                        verbose_name="user permissions",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "verbose_name": "person",
                "verbose_name_plural": "people",
            },
        ),
        migrations.CreateModel(
            name="Membership",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "role",
                    models.CharField(
                        choices=[("owner", "Owner"), ("admin", "Admin"), ("member", "Member"), ("viewer", "Viewer")],
                        max_length=10,
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="memberships",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "team",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="memberships", to="teams.team"
                    ),
                ),
            ],
            options={
                "verbose_name": "member",
                "ordering": ["team", "id"],
                "constraints": [models.UniqueConstraint(fields=("team", "user"), name="one_membership_a_team")],
            },
        ),
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(default="default", max_length=100)),
                (
                    "scope",
                    models.CharField(
                        choices=[
                            ("agent", "agent: send heartbeats, fetch commands, read statuses"),
                            ("read", "read: read everything, change nothing"),
                            ("act", "act: read everything, restart, stop and hold agents, work on incidents"),
                            ("full", "full: full API access"),
                        ],
                        default="agent",
                        max_length=10,
                    ),
                ),
                ("prefix", models.CharField(editable=False, max_length=16)),
                ("hash", models.CharField(editable=False, max_length=64, unique=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("last_used_at", models.DateTimeField(editable=False, null=True)),
                (
                    "expires_at",
                    models.DateTimeField(
                        editable=False, help_text="Set by a rotation: until when the old key works.", null=True
                    ),
                ),
                ("revoked_at", models.DateTimeField(editable=False, null=True)),
                (
                    "created_by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="api_keys", to="teams.project"
                    ),
                ),
            ],
            options={
                "verbose_name": "API key",
                "ordering": ["project", "-created_at"],
            },
        ),
        migrations.CreateModel(
            name="Invitation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("email", models.EmailField(max_length=254, verbose_name="e-mail")),
                (
                    "role",
                    models.CharField(
                        choices=[("owner", "Owner"), ("admin", "Admin"), ("member", "Member"), ("viewer", "Viewer")],
                        default="member",
                        max_length=10,
                    ),
                ),
                ("token_hash", models.CharField(editable=False, max_length=64, unique=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("expires_at", models.DateTimeField(editable=False)),
                ("accepted_at", models.DateTimeField(editable=False, null=True)),
                (
                    "invited_by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "team",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="invitations", to="teams.team"
                    ),
                ),
            ],
            options={
                "ordering": ["-created_at"],
            },
        ),
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "actor",
                    models.CharField(
                        help_text="A person's e-mail, `key:PREFIX`, `runner:…` or `watchdog`.", max_length=255
                    ),
                ),
                ("action", models.CharField(max_length=50)),
                ("target", models.CharField(max_length=300)),
                ("data", models.JSONField(default=dict)),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "team",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="audit", to="teams.team"
                    ),
                ),
                (
                    "of",
                    models.CharField(default="", help_text="The affected row: `alerts.channel:5`.", max_length=60),
                ),
            ],
            options={
                "verbose_name": "audit entry",
                "verbose_name_plural": "audit log",
                "ordering": ["-at", "-id"],
                "indexes": [models.Index(fields=["team", "-at"], name="audit_newest_first")],
            },
        ),
        migrations.CreateModel(
            name="FailedSignIn",
            fields=[],
            options={
                "verbose_name": "failed sign-in",
                "proxy": True,
            },
            bases=("axes.accessattempt",),
        ),
        migrations.AddField(
            model_name="team",
            name="members",
            field=models.ManyToManyField(related_name="teams", through="teams.Membership", to=settings.AUTH_USER_MODEL),
        ),
    ]

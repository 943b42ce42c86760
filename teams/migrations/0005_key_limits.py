"""Limits of API keys, names that belong to keys, and counts per window of time."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("teams", "0004_saved_views"),
    ]

    operations = [
        migrations.CreateModel(
            name="RateCount",
            fields=[
                ("key", models.CharField(max_length=100, primary_key=True, serialize=False)),
                ("used", models.BigIntegerField()),
                ("ends_at", models.DateTimeField(db_index=True)),
            ],
        ),
        migrations.AddField(
            model_name="apikey",
            name="agent",
            field=models.CharField(
                blank=True,
                default="",
                help_text="The one name that the key may report as. Empty: any name. Needs the scope agent.",
                max_length=200,
                verbose_name="only for agent",
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="allowed_networks",
            field=models.JSONField(
                blank=True,
                default=list,
                help_text="Addresses or networks that may use the key, such as 10.0.0.0/8 or 2001:db8::/32. Empty: all.",
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="first",
            field=models.ForeignKey(
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="successors",
                to="teams.apikey",
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="last_used_address",
            field=models.CharField(default="", editable=False, max_length=45),
        ),
        migrations.AddField(
            model_name="apikey",
            name="lifetime",
            field=models.DurationField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="apikey",
            name="new_agents_per_hour",
            field=models.PositiveIntegerField(
                default=2000, help_text="How many agents the key may create per hour with their first heartbeats."
            ),
        ),
        migrations.AddField(
            model_name="project",
            name="bind_names",
            field=models.BooleanField(
                default=False,
                help_text="The API key that first reports as a name owns it: other keys cannot report as that agent.",
                verbose_name="names belong to keys",
            ),
        ),
        # Projects that exist keep the default of before.
        migrations.AlterField(
            model_name="project",
            name="bind_names",
            field=models.BooleanField(
                default=True,
                help_text="The API key that first reports as a name owns it: other keys cannot report as that agent.",
                verbose_name="names belong to keys",
            ),
        ),
        migrations.AlterField(
            model_name="apikey",
            name="expires_at",
            field=models.DateTimeField(
                blank=True, help_text="Until when the key works. Empty: until revoked.", null=True
            ),
        ),
    ]

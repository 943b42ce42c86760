"""Reviews that are behind begin with the agent that has waited for longest."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0013_snoozes"),
    ]

    operations = [
        migrations.AddField(
            model_name="unread",
            name="since",
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
        ),
    ]

"""Which API key owns the names that agents report under."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0007_less_work_for_reviews"),
    ]

    operations = [
        migrations.AddField(
            model_name="agentname",
            name="bound_to",
            field=models.BigIntegerField(editable=False, null=True),
        ),
    ]

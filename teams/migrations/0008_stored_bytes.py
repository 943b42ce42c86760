"""Until when a team's heartbeats are stored without details."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("teams", "0007_ping_keys")]
    operations = [
        migrations.AddField(
            model_name="team",
            name="details_off_until",
            field=models.DateTimeField(editable=False, null=True),
        ),
    ]

from django.db import migrations

from teams.encryption import EncryptedJSONField


class Migration(migrations.Migration):
    """The column stays as it is. A task encrypts what is stored, so that an interrupted upgrade loses nothing."""

    dependencies = [("alerts", "0002_senders_and_recipients")]
    operations = [migrations.AlterField("channel", "config", EncryptedJSONField(default=dict))]

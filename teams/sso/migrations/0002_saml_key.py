from django.db import migrations

import teams.encryption


class Migration(migrations.Migration):
    dependencies = [("sso", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="singlesignon",
            name="saml_key",
            field=teams.encryption.EncryptedJSONField(blank=True, default=dict, editable=False),
        )
    ]

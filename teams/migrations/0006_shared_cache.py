"""The table of the cache that counts attempts for all processes, without Redis and while it is away."""

from django.core.management import call_command
from django.db import migrations


def create_table(apps, schema_editor):
    call_command("createcachetable", "watchdog_cache", database=schema_editor.connection.alias, verbosity=0)


class Migration(migrations.Migration):
    dependencies = [("teams", "0005_key_limits")]
    operations = [migrations.RunPython(create_table, migrations.RunPython.noop)]

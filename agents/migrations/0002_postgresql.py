"""What only PostgreSQL has: heartbeats partitioned by day, and storage settings of tables with hot or wide rows."""

from django.db import migrations

# Days without a partition go to the default one, so no heartbeat is refused for lack of a partition. The rollup task
# creates the partitions of the coming days.
PARTITION_HEARTBEATS = """
CREATE TABLE agents_heartbeat_by_day (LIKE agents_heartbeat INCLUDING DEFAULTS) PARTITION BY RANGE (day);
DROP TABLE agents_heartbeat;
ALTER TABLE agents_heartbeat_by_day RENAME TO agents_heartbeat;
CREATE SEQUENCE agents_heartbeat_id_seq OWNED BY agents_heartbeat.id CACHE 1;
ALTER TABLE agents_heartbeat ALTER COLUMN id SET DEFAULT nextval('agents_heartbeat_id_seq');
ALTER TABLE agents_heartbeat ADD PRIMARY KEY (id, day);
CREATE UNIQUE INDEX beat_once ON agents_heartbeat (agent_id, beat_id, day) WHERE beat_id IS NOT NULL;
CREATE INDEX beats_of_an_agent ON agents_heartbeat (agent_id, id);
CREATE TABLE agents_heartbeat_default PARTITION OF agents_heartbeat DEFAULT;
"""
# Free space in each page keeps updates of the hot row heap-only.
RESERVE_PAGE_SPACE = "ALTER TABLE agents_agentstate SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05)"
# Charts sum very many rollups and read no tool names: stored out of line, the names do not slow down these scans.
STORE_TOOLS_OUT_OF_LINE = """
ALTER TABLE agents_rollup ALTER COLUMN tools SET STORAGE EXTERNAL;
ALTER TABLE agents_rollup SET (toast_tuple_target = 128);
"""


def on_postgresql(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for statements in (PARTITION_HEARTBEATS, RESERVE_PAGE_SPACE, STORE_TOOLS_OUT_OF_LINE):
            schema_editor.execute(statements)


class Migration(migrations.Migration):
    dependencies = [("agents", "0001_squashed")]
    operations = [migrations.RunPython(on_postgresql, migrations.RunPython.noop)]

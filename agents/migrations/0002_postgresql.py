"""What only PostgreSQL has: heartbeats partitioned by day, and room in the hot row's pages for heap-only updates."""

from django.db import migrations

# Rows of a day without a partition land in the default one, so a heartbeat is never refused for want of one;
# `agents.rollups.make_partitions` makes the coming days' partitions ahead of time.
PARTITIONED = """
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
ROOM = "ALTER TABLE agents_agentstate SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05)"


def on_postgresql(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(PARTITIONED)
        schema_editor.execute(ROOM)


class Migration(migrations.Migration):
    dependencies = [("agents", "0001_initial")]
    operations = [migrations.RunPython(on_postgresql, migrations.RunPython.noop)]

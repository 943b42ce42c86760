"""Makes the database slow for a while: hot rows locked, commits delayed, or connections refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psycopg

from bench.fleet_parts import Services

COMMIT_DELAY = 0.5
LOCKED_SHARE = 10
# Every commit of a transaction that wrote to one of these waits.
DELAYED_TABLES = ("agents_agentstate", "agents_incident", "alerts_delivery")
PREPARE_COMMIT = f"""
CREATE TABLE fleet_delay (seconds float);
CREATE FUNCTION fleet_delay_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- A deferred trigger runs at the commit, once per row: only the first one of a transaction waits.
    IF current_setting('fleet.delayed', true) IS DISTINCT FROM txid_current()::text THEN
        PERFORM set_config('fleet.delayed', txid_current()::text, true);
        PERFORM pg_sleep(seconds) FROM fleet_delay;
    END IF;
    RETURN NULL;
END $$;
{
    "".join(
        f'''
CREATE CONSTRAINT TRIGGER fleet_delay AFTER INSERT OR UPDATE ON {table}
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fleet_delay_commit();'''
        for table in DELAYED_TABLES
    )
}
"""


def lock(services: Services, seconds: float) -> None:
    """Lock every tenth hot row."""
    with psycopg.connect(services.database) as connection:
        sql = "SELECT count(*) FROM (SELECT FROM agents_agentstate WHERE agent_id %% %s = 0 FOR UPDATE) AS locked"
        connection.execute(sql, [LOCKED_SHARE])
        time.sleep(seconds)


def commit(services: Services, seconds: float) -> None:
    """Let each commit of heartbeats, incidents and deliveries take 500 ms."""
    with psycopg.connect(services.database, autocommit=True) as connection:
        connection.execute("INSERT INTO fleet_delay VALUES (%s)", [COMMIT_DELAY])
        time.sleep(seconds)
        connection.execute("DELETE FROM fleet_delay")


def refuse(services: Services, seconds: float) -> None:
    """End all connections to the database and accept no new ones."""
    name = services.name
    with psycopg.connect(services.admin, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        try:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            time.sleep(seconds)
        finally:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())


FAULTS: dict[str, Callable[[Services, float], None]] = {"lock": lock, "commit": commit, "refuse": refuse}


def prepare(kind: str, services: Services) -> None:
    """What a fault needs beforehand, since changing tables under load would be a fault itself."""
    if kind == "commit":
        with psycopg.connect(services.database) as connection:
            connection.execute(PREPARE_COMMIT.encode())


def start(kind: str, services: Services, seconds: float) -> threading.Thread:
    thread = threading.Thread(target=FAULTS[kind], args=(services, seconds), daemon=True)
    thread.start()
    return thread

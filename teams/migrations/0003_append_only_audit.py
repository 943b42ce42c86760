"""The database itself refuses changes of the audit log. On PostgreSQL it also refuses deletions, except of a deleted
team's entries and of those that the plan no longer keeps (`teams/audit_retention.py`).
"""

from django.db import migrations

POSTGRESQL = """
CREATE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND (
        current_setting('watchdog.audit_retention', true) = 'on'
        OR NOT EXISTS (SELECT FROM teams_team WHERE id = OLD.team_id AND ended_at IS NULL)
    ) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only';
END $$;
CREATE TRIGGER audit_log_is_append_only BEFORE UPDATE OR DELETE ON teams_auditentry
    FOR EACH ROW EXECUTE FUNCTION audit_log_is_append_only();
"""
UNDO_POSTGRESQL = """
DROP TRIGGER audit_log_is_append_only ON teams_auditentry;
DROP FUNCTION audit_log_is_append_only();
"""
SQLITE = """
CREATE TRIGGER audit_log_is_append_only BEFORE UPDATE ON teams_auditentry
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
"""
UNDO_SQLITE = "DROP TRIGGER audit_log_is_append_only;"


def protect(apps, schema_editor):
    _run(schema_editor, POSTGRESQL, SQLITE)


def unprotect(apps, schema_editor):
    _run(schema_editor, UNDO_POSTGRESQL, UNDO_SQLITE)


def _run(schema_editor, postgresql, sqlite):
    # As one statement each: SQLite's trigger contains semicolons.
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(postgresql if schema_editor.connection.vendor == "postgresql" else sqlite)


class Migration(migrations.Migration):
    dependencies = [("teams", "0002_sessions_and_second_factors")]
    operations = [migrations.RunPython(protect, unprotect)]

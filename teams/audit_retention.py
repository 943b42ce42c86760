"""Deletes audit entries that a plan no longer keeps. The database refuses every other deletion (migration 0003)."""

from __future__ import annotations

from django.db import connection, transaction
from django.db.models import QuerySet

from teams.models import AuditEntry


@transaction.atomic
def delete_some(rows: QuerySet[AuditEntry], most: int) -> bool:
    """Delete at most so many of these entries. Returns whether there was any."""
    found = list(rows.order_by().values_list("pk", flat=True)[:most])
    if found and connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('watchdog.audit_retention', 'on', true)")
    AuditEntry.objects.filter(pk__in=found).delete()
    return bool(found)

from django.db import migrations

# A5: the caller gives header, salt and payload; the database computes the rest, on its own clock.
# recorded_at comes from the column's default, because it has already chosen the partition when the trigger runs.
FILL = r"""
CREATE FUNCTION audit_fill() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told jsonb := NEW.header::jsonb;
BEGIN
    IF octet_length(NEW.salt) IS DISTINCT FROM 16 THEN
        RAISE EXCEPTION 'an audit event needs a salt of 16 bytes' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.payload IS NULL OR octet_length(NEW.payload) > 65536 THEN
        RAISE EXCEPTION 'an audit event needs a payload of at most 64 KiB' USING ERRCODE = 'check_violation';
    END IF;
    IF (told ->> 'ts') IS NULL
        OR abs(extract(epoch FROM clock_timestamp() - (told ->> 'ts')::timestamptz)) > 300 THEN
        RAISE EXCEPTION 'the header''s ts is more than 5 min off the database''s clock'
            USING ERRCODE = 'check_violation';
    END IF;
    IF abs(extract(epoch FROM clock_timestamp() - NEW.recorded_at)) > 5 THEN
        RAISE EXCEPTION 'recorded_at is the database''s to set' USING ERRCODE = 'check_violation';
    END IF;
    NEW.epoch := 1;
    NEW.xid := pg_current_xact_id();
    NEW.pc := sha256('\x02'::bytea || NEW.salt || convert_to(NEW.payload, 'UTF8'));
    NEW.leaf := sha256('\x00'::bytea || NEW.pc || convert_to(NEW.header, 'UTF8'));
    NEW.event_id := (told ->> 'id')::uuid;
    NEW.team := told ->> 'team';
    NEW.actor := told ->> 'actor';
    NEW.action := told ->> 'action';
    NEW.object := told ->> 'object';
    NEW.proposal := told ->> 'proposal';
    RETURN NEW;
END $$;
CREATE TRIGGER audit_fill BEFORE INSERT ON audit_auditevent FOR EACH ROW EXECUTE FUNCTION audit_fill();
"""
DROP_FILL = "DROP TRIGGER audit_fill ON audit_auditevent; DROP FUNCTION audit_fill();"

# A6: row triggers reach the partitions by themselves; TRUNCATE triggers do not, so each partition gets its own.
GUARD = """
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit events are append-only' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_keep_rows BEFORE UPDATE OR DELETE ON audit_auditevent
    FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_keep_table BEFORE TRUNCATE ON audit_auditevent
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
"""
DROP_GUARD = """
DROP TRIGGER audit_keep_table ON audit_auditevent;
DROP TRIGGER audit_keep_rows ON audit_auditevent;
DROP FUNCTION audit_refuse();
"""

# Months are UTC months, whatever the session's time zone is.
PARTITIONS = """
CREATE FUNCTION audit_make_partition(month date) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    starts date := date_trunc('month', month)::date;
    name text := 'audit_auditevent_' || to_char(starts, 'YYYY_MM');
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format(
        'CREATE TABLE %I PARTITION OF audit_auditevent FOR VALUES FROM (%L) TO (%L)',
        name,
        to_char(starts, 'YYYY-MM-DD') || ' 00:00:00+00',
        to_char(starts + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00'
    );
    EXECUTE format(
        'CREATE TRIGGER audit_keep_table BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()',
        name
    );
    RETURN name;
END $$;
CREATE TABLE audit_auditevent_default PARTITION OF audit_auditevent DEFAULT;
CREATE TRIGGER audit_keep_table BEFORE TRUNCATE ON audit_auditevent_default
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
SELECT audit_make_partition(((now() AT TIME ZONE 'UTC') + make_interval(months => ahead))::date)
    FROM generate_series(0, 3) AS ahead;
"""
DROP_PARTITIONS = """
DO $$ DECLARE part regclass; BEGIN
    FOR part IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'audit_auditevent'::regclass LOOP
        EXECUTE format('DROP TABLE %s', part);
    END LOOP;
END $$;
DROP FUNCTION audit_make_partition(date);
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [
        migrations.RunSQL(FILL, DROP_FILL),
        migrations.RunSQL(GUARD, DROP_GUARD),
        migrations.RunSQL(PARTITIONS, DROP_PARTITIONS),
    ]

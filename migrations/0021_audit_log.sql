-- Who did what to accounts, events, jobs and money, and from where: for those who look into it
-- afterwards.
--
-- Locks: nobody can use jobs and payment_alerts, for milliseconds: no row is read.
CREATE TABLE audit_log (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    action TEXT NOT NULL,
    -- The user who did it. NULL: somebody who has not proved to be one, a worker, or an operator on
    -- the command line, whom the next column names. No foreign key: the log outlives accounts.
    actor INTEGER,
    -- The name under which PostgreSQL knows whoever wrote it.
    written_by TEXT NOT NULL DEFAULT session_user,
    -- What was done something to, and which one: account 7, event 12, job, alert …
    subject_kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- The network address, as a hash with a key of the API's: the same address is the same text.
    address TEXT,
    request_id TEXT,
    details JSONB NOT NULL DEFAULT '{}',
    -- Rule: what the code knows. A new word is allowed a release before code writes it.
    CONSTRAINT audit_log_action_check CHECK (action IN (
        'registered', 'signed_in', 'sign_in_failed', 'signed_out', 'sessions_ended',
        'email_proved', 'email_set', 'phone_proved', 'password_changed', 'password_reset',
        'role_changed', 'account_suspended', 'account_reinstated', 'account_exported',
        'account_erased', 'operator_signed_in', 'operator_sign_in_failed', 'operator_signed_out',
        'operator_totp_set', 'job_retried', 'job_discarded', 'jobs_retried', 'jobs_discarded',
        'alert_closed', 'refunds_held', 'refunds_released', 'tickets_resent', 'ledger_exported',
        'audit_exported', 'event_created', 'event_updated', 'event_cancelled', 'event_deleted',
        'event_taken_down', 'event_restored', 'seat_type_created', 'seat_type_updated',
        'seat_type_deleted')),
    CONSTRAINT audit_log_subject_check CHECK (subject_kind IN (
        'account', 'event', 'seat_type', 'job', 'job_kind', 'alert', 'booking', 'installation')),
    -- Rule: a row stays small, whatever a client sends.
    CONSTRAINT audit_log_details_check CHECK (length(details::text) <= 2000)
);
-- Serves: what was done to one account, event, job …, the newest first.
CREATE INDEX audit_log_subject ON audit_log (subject_kind, subject, id);
-- Serves: what one user did, the newest first.
CREATE INDEX audit_log_actor ON audit_log (actor, id) WHERE actor IS NOT NULL;
-- Serves: one kind of action, the newest first.
CREATE INDEX audit_log_action ON audit_log (action, id);
-- Serves: the export of a time, and the cleanup job, which removes the oldest.
CREATE INDEX audit_log_at ON audit_log (at, id);

-- Rule: the log only grows. The cleanup job alone removes rows, which are a month old at least.
CREATE FUNCTION audit_log_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('nexus.audit_retention', TRUE) = 'on'
        AND OLD.at < now() - interval '30 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit_log is append-only';
END $$;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION audit_log_append_only();
CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_append_only();

-- The operator who has retried or discarded a job last, or has closed an alert, and when: a user, or
-- the name under which PostgreSQL knows them.
ALTER TABLE jobs ADD COLUMN acted_by TEXT, ADD COLUMN acted_at TIMESTAMPTZ;
ALTER TABLE payment_alerts ADD COLUMN acted_by TEXT;

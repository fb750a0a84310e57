-- Webhooks that have been acted on, and alerts that somebody has dealt with, are kept for a while only (docs/retention.md). Building these lets
-- nobody write to their tables: a second or so for a million rows.

-- Serves: the cleanup job.
CREATE INDEX webhook_events_processed ON webhook_events (processed_at) WHERE processed_at IS NOT NULL;
-- Serves: the cleanup job.
CREATE INDEX payment_alerts_closed ON payment_alerts (closed_at) WHERE closed_at IS NOT NULL;

-- Serves: the job that issues tickets anew whose QR codes nobody has signed. Building it reads the whole table once, and lets nobody write to it
-- meanwhile; a transaction of its own, so that everybody can read.
CREATE INDEX tickets_unsigned ON tickets (id) WHERE qr_nonce IS NULL AND status <> 'cancelled';

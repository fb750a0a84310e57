-- no-transaction
-- Tickets of earlier releases, of whose codes only the picture is stored, by the key that signed them.
--
-- Locks: nobody.

-- Serves: the job that stores the codes of tickets that the present key has signed.
CREATE INDEX CONCURRENTLY tickets_unstored ON tickets (qr_key, id)
    WHERE qr_signature IS NULL AND qr_nonce IS NOT NULL;

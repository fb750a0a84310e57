-- A ticket's QR code holds a signed text (docs/tickets.md). It used to hold the ticket's id, which anybody who heard the broadcasts of a sale
-- could put together.

ALTER TABLE tickets
    -- The random part of the text that is good. NULL: the QR code is one of the Node service or of an earlier release.
    ADD COLUMN qr_nonce BIGINT,
    -- The id of the key that has signed it.
    ADD COLUMN qr_key TEXT;

-- What is in a ticket's code can be written again, drawn in any size and put into a pass: with its
-- signature, which only the bookings worker can make.
--
-- Locks: nobody can use tickets, for milliseconds: no row is read or written.
ALTER TABLE tickets
    -- Ed25519, by the key qr_key, over what the ticket is; tickets from before have only qr_code,
    -- the picture, which is not stored any more where only this service reads it.
    ADD COLUMN qr_signature BYTEA,
    -- Rule: the size of a signature.
    ADD CONSTRAINT tickets_qr_signature_check CHECK (octet_length(qr_signature) = 64) NOT VALID;

-- A job's row changes four times in its short life, and each time its entries in the partial indexes move. The share of dead rows at which
-- autovacuum comes by itself (a fifth of the table) would let the indexes over the few live jobs swell with the number of finished ones
-- that are kept; a fixed number does not.
ALTER TABLE jobs SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

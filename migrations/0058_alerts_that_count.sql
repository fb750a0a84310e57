-- What another shop sells on our account goes on and on: one alert counts it.

ALTER TABLE payment_alerts
    -- How often what it tells of has happened since it was raised.
    ADD COLUMN cases INTEGER NOT NULL DEFAULT 1;

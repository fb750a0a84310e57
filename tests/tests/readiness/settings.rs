//! Settings: secrets, credentials, pools, TLS, logs (findings 2, 12, 13, 14, 15, 23).

//! How often somebody may ask (finding 4).
